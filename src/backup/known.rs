//! What the history last knew of users that are gone: their hash and lock, so that bringing them back weakens nothing.
//!
//! Rule: every record between the wanted point and the live one counts, and a later delete does not make it forgotten.
//! Memory is bounded: the journal is read once, and what does not fit is spilled as a fold spills it.

use std::sync::Arc;

use super::BackupError;
use super::fold::{FoldError, Folded, FoldedReader, Folding, Left};
use super::journal_read::{JournalPlace, JournalReader, Point};
use super::kept_before::{self, KeptBefore};
use super::merge::Side;
use super::patch;
use super::state::{State, unreadable};
use crate::domain::clock::Timestamp;
use crate::domain::history::{Change, Timeline};
use crate::domain::ids::UserId;
use crate::domain::user::User;
use crate::targets::layout::ObjectPath;

/// Bytes of what journals left that are held, over all runs of a history; few in tests, so that they spill.
const HELD_BYTES: usize = if cfg!(test) { 2_000 } else { 24 * 1024 * 1024 };
/// Most users that are passed over at once.
const PASSED_AT_ONCE: usize = 256;

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
        Reader { history: self.clone(), journals: None, before }
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

/// What the journal of a span says.
struct Journal {
    folded: Arc<Folded>,
    /// Absent before somebody was asked for.
    entries: Option<FoldedReader>,
    /// The state that the span begins with; opened when somebody needs it.
    begin: Option<Side>,
}

impl Journal {
    /// Reads the journal of a span. What it deletes is not forgotten, and a foreign write that left nothing that can be
    /// read changes nothing of what is known.
    async fn read(place: &JournalPlace, span: &Span, bytes_max: usize) -> Result<Self, BackupError> {
        let place = JournalPlace { timeline: span.timeline, ..place.clone() };
        let path = ObjectPath::journal_folder(&place.department, place.timeline);
        let mut folding = Folding::holding(&place.repository, bytes_max);
        let mut reader = JournalReader::open(place, span.from, span.to).await?;
        while let Some(mut changes) = reader.next().await? {
            changes.retain(|change| match &change.change {
                Change::Put(_) => true,
                Change::Patch(_, update) => patch::is_readable(update),
                Change::Delete(_) => false,
            });
            folding.add(changes).await.map_err(|error| unreadable(&path, error))?;
        }
        let folded = folding.finish().await.map_err(|error| unreadable(&path, error))?;
        Ok(Self { folded: Arc::new(folded), entries: None, begin: None })
    }

    /// What is left of a user.
    async fn of(&mut self, id: &UserId) -> Result<Option<Left>, FoldError> {
        let Some(entries) = &mut self.entries else {
            self.entries = Some(self.folded.read(Some(id.clone())));
            return self.folded.get(id).await;
        };
        loop {
            let taken = entries.take(Some(id), PASSED_AT_ONCE).await?;
            let whole = taken.len() < PASSED_AT_ONCE;
            let last = taken.into_iter().next_back().filter(|(last, _)| last == id);
            if whole || last.is_some() {
                return Ok(last.map(|(_, left)| left));
            }
        }
    }
}

/// Goes through the users that the history knows.
pub(super) struct Reader {
    history: LastKnown,
    /// One for each span; absent before somebody was asked for.
    journals: Option<Vec<Journal>>,
    before: Option<kept_before::Reader>,
}

impl Reader {
    /// The newest record that the history has of a user, with its time.
    pub(super) async fn of(&mut self, id: &UserId) -> Result<Option<(Timestamp, User)>, BackupError> {
        let journals = match &mut self.journals {
            Some(journals) => journals,
            unread => unread.insert(read(&self.history).await?),
        };
        let mut newest = None;
        for (span, journal) in self.history.spans.iter().zip(journals) {
            let folder = ObjectPath::journal_folder(&self.history.place.department, span.timeline);
            let left = journal.of(id).await.map_err(|error| unreadable(&folder, error))?;
            let needed = span.begin_counts || left.as_ref().is_some_and(Left::needs_before);
            let begin = if needed { begin_of(span, journal, id).await? } else { None };
            // The journal of a span is newer than the state that the span begins with.
            let after = match left {
                // Foreign writes of a user that nothing is known of make no record.
                Some(left) if begin.is_some() || !left.needs_before() => {
                    let time = left.time;
                    let user = left.over(begin.clone()).map_err(|at| unreadable(&folder, at.into()))?;
                    user.map(|user| (time, user))
                }
                _ => None,
            };
            let begin = begin.filter(|_| span.begin_counts).map(|user| (user.updated_at, user));
            newest = after.or(begin).or(newest);
        }
        match (newest, &mut self.before) {
            (Some(found), _) => Ok(Some(found)),
            (None, Some(before)) => Ok(before.of(id).await?.map(|user| (user.updated_at, user))),
            (None, None) => Ok(None),
        }
    }
}

async fn read(history: &LastKnown) -> Result<Vec<Journal>, BackupError> {
    let mut journals = Vec::with_capacity(history.spans.len());
    for span in &history.spans {
        journals.push(Journal::read(&history.place, span, HELD_BYTES / history.spans.len()).await?);
    }
    Ok(journals)
}

/// The record that a span begins with.
async fn begin_of(span: &Span, journal: &mut Journal, id: &UserId) -> Result<Option<User>, BackupError> {
    let side = match &mut journal.begin {
        Some(side) => side,
        unopened => unopened.insert(Side::open(&span.begin, None, &|_| true).await?),
    };
    side.take(id).await
}
