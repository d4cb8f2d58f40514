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

/// Most records of the journal that are held; few in tests, so that they go through several ranges.
const HELD_MAX: usize = if cfg!(test) { 3 } else { 50_000 };

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
        Reader { history: self.clone(), begins: None, held: BTreeMap::new(), covered: None, before }
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

/// Goes through the users that the history knows.
pub(super) struct Reader {
    history: LastKnown,
    /// The states that count, each with the number of its span; opened when somebody is asked for.
    begins: Option<Vec<(usize, Side)>>,
    /// What the journal last said, with the number of the span and the time.
    held: BTreeMap<UserId, (usize, Timestamp, User)>,
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
        let mut newest = self.held.get(id).cloned();
        for (span, side) in self.begins().await? {
            let found = side.take(id).await?;
            // The journal of a span is newer than the state that the span begins with.
            if newest.as_ref().is_none_or(|(at, ..)| at < span) && found.is_some() {
                newest = found.map(|user| (*span, user.updated_at, user));
            }
        }
        match (newest, &mut self.before) {
            (Some((_, time, user)), _) => Ok(Some((time, user))),
            (None, Some(before)) => Ok(before.of(id).await?.map(|user| (user.updated_at, user))),
            (None, None) => Ok(None),
        }
    }

    async fn begins(&mut self) -> Result<&mut Vec<(usize, Side)>, BackupError> {
        if self.begins.is_none() {
            let mut begins = Vec::new();
            for (number, span) in self.history.spans.iter().enumerate().filter(|(_, span)| span.begin_counts) {
                begins.push((number, Side::open(&span.begin, None, &|_| true).await?));
            }
            self.begins = Some(begins);
        }
        Ok(self.begins.get_or_insert_default())
    }

    /// Reads the journal for the ids after one, as many as may be held.
    async fn load(&mut self, after: Option<&UserId>) -> Result<(), BackupError> {
        self.held.clear();
        let mut covered = Covered::All;
        for (number, span) in self.history.spans.iter().enumerate() {
            let place = JournalPlace { timeline: span.timeline, ..self.history.place.clone() };
            let mut reader = JournalReader::open(place, span.from, span.to).await?;
            while let Some(changes) = reader.next().await? {
                for change in changes {
                    let (id, update) = match &change.change {
                        Change::Put(user) => (&user.id, None),
                        Change::Patch(id, update) => (id, Some(update)),
                        Change::Delete(_) => continue,
                    };
                    let beyond = matches!(&covered, Covered::To(last) if id > last);
                    if beyond || after.is_some_and(|after| id <= after) {
                        continue;
                    }
                    let user = match (change.change.clone(), update) {
                        (Change::Put(user), _) => Some(user),
                        (_, Some(update)) => patched(&self.held, number, span, id, update).await?,
                        _ => None,
                    };
                    if let Some(user) = user {
                        self.held.insert(user.id.clone(), (number, change.time, user));
                    }
                    if self.held.len() > HELD_MAX {
                        self.held.pop_last();
                        covered = self.held.last_key_value().map_or(Covered::All, |(id, _)| Covered::To(id.clone()));
                    }
                }
            }
        }
        self.covered = Some(covered);
        Ok(())
    }
}

/// What a foreign write made of a record; none where it left nothing that can be read.
async fn patched(
    held: &BTreeMap<UserId, (usize, Timestamp, User)>,
    number: usize,
    span: &Span,
    id: &UserId,
    update: &str,
) -> Result<Option<User>, BackupError> {
    let before = match held.get(id).filter(|(at, ..)| *at == number) {
        Some((.., user)) => Some(user.clone()),
        None => span.begin.user(id).await?,
    };
    Ok(patch::apply(before.as_ref(), update))
}
