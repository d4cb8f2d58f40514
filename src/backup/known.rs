//! What the history last knew of users that are gone: their hash and lock, so that bringing them back weakens nothing.
//!
//! Rule: every record between the wanted point and the live one counts, and a later delete does not make it forgotten.
//! Memory is bounded: what is held of the journal covers a range of ids, and the journal is read again for the next one.

use std::collections::BTreeMap;

use super::BackupError;
use super::journal_read::{JournalPlace, JournalReader, Point};
use super::kept_before::{self, KeptBefore};
use super::merge::Side;
use super::patch;
use super::state::State;
use crate::domain::clock::Timestamp;
use crate::domain::history::{Change, Timeline};
use crate::domain::ids::UserId;
use crate::domain::user::User;

/// Most records and patches of the journal that are held; few in tests, so that they go through several ranges.
const HELD_MAX: usize = if cfg!(test) { 3 } else { 50_000 };
/// Most patches that are held of one user.
const PATCHES_MAX: usize = if cfg!(test) { 2 } else { 16 };

/// A run of history without a break.
#[derive(Debug, Clone)]
pub struct Span {
    /// The line of history.
    pub timeline: Timeline,
    /// The state that it begins with.
    pub begin: State,
    /// Whether the records of that state count: not for the wanted one, which is what the rest is newer than.
    pub begin_counts: bool,
    /// Where it begins.
    pub from: Point,
    /// Where it ends.
    pub to: Point,
}

/// The history between the wanted point and the live one. Clones share the states.
#[derive(Debug, Clone)]
pub struct LastKnown {
    /// Where the journals lie; each span has its own timeline.
    pub place: JournalPlace,
    /// The runs, oldest first.
    pub spans: Vec<Span>,
    /// Backups that were kept from before the first run, where that does not begin with the wanted point.
    pub before: Option<KeptBefore>,
}

impl LastKnown {
    /// Goes through the users, who have to be asked for in the order of their ids.
    pub(super) fn reader(&self) -> Reader {
        let before = self.before.as_ref().map(KeptBefore::reader);
        let begins = self.spans.iter().map(|_| None).collect();
        Reader { history: self.clone(), begins, held: BTreeMap::new(), weight: 0, covered: None, before }
    }
}

/// What the histories of several departments last knew: an id lives in one of them at a time.
pub struct Histories(Vec<Reader>);

impl std::fmt::Debug for Histories {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Histories").field(&self.0.len()).finish()
    }
}

impl Histories {
    /// Goes through the users of all of them.
    pub fn new(histories: &[LastKnown]) -> Self {
        Self(histories.iter().map(LastKnown::reader).collect())
    }

    /// The newest record that any of them has of a user. Users have to be asked for in the order of their ids.
    ///
    /// # Errors
    /// When one of the histories cannot be read and verified.
    pub async fn of(&mut self, id: &UserId) -> Result<Option<User>, BackupError> {
        let mut newest: Option<(Timestamp, User)> = None;
        for reader in &mut self.0 {
            let found = reader.of(id).await?;
            if found.as_ref().is_some_and(|(at, _)| newest.as_ref().is_none_or(|(other, _)| other <= at)) {
                newest = found;
            }
        }
        Ok(newest.map(|(_, user)| user))
    }
}

/// Up to which id what is held is whole.
#[derive(Debug, PartialEq, Eq)]
enum Covered {
    To(UserId),
    All,
}

/// What the journal of a span last said of a user.
#[derive(Clone)]
enum Said {
    /// The whole record.
    Record(User),
    /// What foreign writes made of the record that the span begins with, which is read when somebody asks for the user.
    Patches(Vec<String>),
}

/// The last of what the journal said of a user.
#[derive(Clone)]
struct Held {
    /// Number of the span.
    span: usize,
    time: Timestamp,
    said: Said,
}

impl Held {
    fn weight(&self) -> usize {
        match &self.said {
            Said::Record(_) => 1,
            Said::Patches(patches) => patches.len(),
        }
    }
}

/// Goes through the users that the history knows.
pub(super) struct Reader {
    history: LastKnown,
    /// The state that each span begins with; opened when somebody is asked for.
    begins: Vec<Option<Side>>,
    held: BTreeMap<UserId, Held>,
    /// Records and patches that are held.
    weight: usize,
    /// Absent before anything was read.
    covered: Option<Covered>,
    before: Option<kept_before::Reader>,
}

impl Reader {
    /// The newest record that the history has of a user, with its time.
    pub(super) async fn of(&mut self, id: &UserId) -> Result<Option<(Timestamp, User)>, BackupError> {
        loop {
            match &self.covered {
                None => self.load(None).await?,
                Some(Covered::To(last)) if id > last => {
                    let last = last.clone();
                    self.load(Some(&last)).await?;
                }
                Some(_) => break,
            }
        }
        let held = self.held.get(id).cloned();
        let mut newest = None;
        for number in 0..self.history.spans.len() {
            let said = held.as_ref().filter(|held| held.span == number);
            let begin = self.begin_of(number, id, said).await?;
            // The journal of a span is newer than the state that the span begins with.
            let after = said.and_then(|held| Some((held.time, last_of(&held.said, begin.as_ref())?)));
            let begin = begin.filter(|_| self.history.spans[number].begin_counts).map(|user| (user.updated_at, user));
            newest = after.or(begin).or(newest);
        }
        match (newest, &mut self.before) {
            (Some(found), _) => Ok(Some(found)),
            (None, Some(before)) => Ok(before.of(id).await?.map(|user| (user.updated_at, user))),
            (None, None) => Ok(None),
        }
    }

    /// The record that a span begins with, where it counts or was changed by foreign writes.
    async fn begin_of(&mut self, number: usize, id: &UserId, said: Option<&Held>) -> Result<Option<User>, BackupError> {
        let span = &self.history.spans[number];
        if !span.begin_counts && !said.is_some_and(|held| matches!(held.said, Said::Patches(_))) {
            return Ok(None);
        }
        let begin = &mut self.begins[number];
        if begin.is_none() {
            *begin = Some(Side::open(&span.begin, None, &|_| true).await?);
        }
        match begin {
            Some(side) => side.take(id).await,
            None => Ok(None),
        }
    }

    /// Reads the journal for the ids after one, as many as may be held.
    async fn load(&mut self, after: Option<&UserId>) -> Result<(), BackupError> {
        self.held.clear();
        self.weight = 0;
        let mut covered = Covered::All;
        let history = self.history.clone();
        for (number, span) in history.spans.iter().enumerate() {
            let place = JournalPlace { timeline: span.timeline, ..history.place.clone() };
            let mut reader = JournalReader::open(place, span.from, span.to).await?;
            while let Some(changes) = reader.next().await? {
                for change in changes {
                    let id = match &change.change {
                        Change::Put(user) => &user.id,
                        Change::Patch(id, _) => id,
                        Change::Delete(_) => continue,
                    };
                    let beyond = matches!(&covered, Covered::To(last) if id > last);
                    if beyond || after.is_some_and(|after| id <= after) {
                        continue;
                    }
                    self.take_in(span, number, change.time, change.change).await?;
                    while self.weight > HELD_MAX && self.held.len() > 1 {
                        self.weight -= self.held.pop_last().map_or(0, |(_, held)| held.weight());
                        covered = self.held.last_key_value().map_or(Covered::All, |(id, _)| Covered::To(id.clone()));
                    }
                }
            }
        }
        self.covered = Some(covered);
        Ok(())
    }

    async fn take_in(
        &mut self,
        span: &Span,
        number: usize,
        time: Timestamp,
        change: Change,
    ) -> Result<(), BackupError> {
        let (id, said) = match change {
            Change::Put(user) => (user.id.clone(), Said::Record(user)),
            Change::Patch(id, update) => {
                let said = match self.held.get(&id).filter(|held| held.span == number).map(|held| &held.said) {
                    None => Said::Patches(vec![update]),
                    // One that leaves nothing that can be read changes nothing of what is known.
                    Some(Said::Record(user)) => Said::Record(patch::apply(Some(user), &update).unwrap_or(user.clone())),
                    Some(Said::Patches(patches)) => {
                        let patches = Said::Patches(patches.iter().cloned().chain([update]).collect());
                        settled(span, &id, patches).await?
                    }
                };
                (id, said)
            }
            Change::Delete(_) => return Ok(()),
        };
        let held = Held { span: number, time, said };
        self.weight += held.weight();
        self.weight -= self.held.insert(id, held).map_or(0, |before| before.weight());
        Ok(())
    }
}

/// Many patches of one user become its record.
async fn settled(span: &Span, id: &UserId, said: Said) -> Result<Said, BackupError> {
    let Said::Patches(patches) = &said else { return Ok(said) };
    if patches.len() <= PATCHES_MAX {
        return Ok(said);
    }
    let record = last_of(&said, span.begin.user(id).await?.as_ref());
    Ok(record.map_or(Said::Patches(Vec::new()), Said::Record))
}

/// The record after what the journal said, given the one that the span begins with.
fn last_of(said: &Said, begin: Option<&User>) -> Option<User> {
    match said {
        Said::Record(user) => Some(user.clone()),
        Said::Patches(patches) => {
            patches.iter().fold(begin.cloned(), |user, update| patch::apply(user.as_ref(), update).or(user))
        }
    }
}
