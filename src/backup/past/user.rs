//! One user in the past: what it was at a point, and every version of it.

use std::sync::Arc;

use super::indexed::IndexedSegment;
use super::walk::{Run, broken};
use super::{Past, PastError, PastPoint};
use crate::backup::chain::{Numbered, parse_change};
use crate::backup::journal_read::{JournalPlace, Point};
use crate::backup::{BackupError, patch};
use crate::domain::clock::Timestamp;
use crate::domain::history::{Change, Sequence, Timeline};
use crate::domain::ids::{DepartmentName, UserId};
use crate::domain::plan::changed_fields;
use crate::domain::user::User;
use crate::domain::window::{Moment, Stretch};

/// One version of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The line of history.
    pub timeline: Timeline,
    /// Number of the change.
    pub sequence: Sequence,
    /// The department's time at it.
    pub time: Timestamp,
    /// What happened.
    pub kind: VersionKind,
    /// Names of the fields that differ from the version before.
    pub fields: Vec<&'static str>,
    /// The record after it; absent after a delete.
    pub user: Option<User>,
}

/// What made a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionKind {
    /// The user was made.
    Created,
    /// The user was changed.
    Updated,
    /// The user was deleted.
    Deleted,
}

/// A change of one user: where its line lies.
#[derive(Debug, Clone)]
struct Entry {
    segment: Arc<IndexedSegment>,
    index: u32,
}

impl Entry {
    fn sequence(&self) -> Sequence {
        self.segment.sequence(self.index)
    }
}

/// The changes of a user among some runs, up to a sequence, in order.
fn entries(runs: &[Run], id: &UserId, through: Sequence) -> Vec<Entry> {
    let mut entries = Vec::new();
    for run in runs {
        let indexes = run.segment.changes_of(id).map(|index| Entry { segment: Arc::clone(&run.segment), index });
        entries.extend(indexes.filter(|entry| run.from <= entry.sequence() && entry.sequence() <= through));
    }
    entries
}

impl Past {
    /// A user as it was at a point; absent when there was none.
    ///
    /// # Errors
    /// When what is needed cannot be read and verified.
    pub async fn user(&self, at: &PastPoint, id: &UserId) -> Result<Option<User>, PastError> {
        self.with_fresh_names(&at.department, || Box::pin(self.user_now(at, id))).await
    }

    async fn user_now(&self, at: &PastPoint, id: &UserId) -> Result<Option<User>, PastError> {
        let place = self.place(&at.department, at.timeline)?;
        let base = self.base(&place, at).await?;
        let from = base.as_ref().map_or(Point::BEGINNING, |(_, point)| *point);
        let runs = self.runs(&place, from, at.point.sequence, None).await?;
        let entries = entries(&runs, id, at.point.sequence);
        let before = async {
            match &base {
                Some((snapshot, _)) => snapshot.user(id).await,
                None => Ok(None),
            }
        };
        Ok(self.record_after(&place, &entries, id, before).await?)
    }

    /// Versions of a user within the recovery window, newest first, before a sequence if one is given.
    ///
    /// # Errors
    /// When what is needed cannot be read and verified.
    pub async fn history(
        &self,
        department: &DepartmentName,
        id: &UserId,
        before: Option<(Timeline, Sequence)>,
        limit: usize,
    ) -> Result<Vec<Version>, PastError> {
        self.with_fresh_names(department, || Box::pin(self.history_now(department, id, before, limit))).await
    }

    async fn history_now(
        &self,
        department: &DepartmentName,
        id: &UserId,
        before: Option<(Timeline, Sequence)>,
        limit: usize,
    ) -> Result<Vec<Version>, PastError> {
        let window = self.store.windows.get(department).await?;
        let mut versions = Vec::new();
        for stretch in window.stretches.iter().rev() {
            let timeline = stretch.from.timeline;
            let through = match before {
                Some((last, _)) if timeline > last => continue,
                Some((last, sequence)) if timeline == last => Sequence(sequence.0 - 1),
                _ => stretch.through.sequence,
            };
            let wanted = limit - versions.len();
            versions.extend(self.versions(department, id, stretch, through, wanted).await?);
            if versions.len() >= limit {
                break;
            }
        }
        Ok(versions)
    }

    /// The last versions of a user in one stretch, newest first.
    async fn versions(
        &self,
        department: &DepartmentName,
        id: &UserId,
        stretch: &Stretch,
        through: Sequence,
        limit: usize,
    ) -> Result<Vec<Version>, PastError> {
        let place = self.place(department, stretch.from.timeline)?;
        let start = self.start(department, stretch, Moment::Sequence(stretch.from.sequence)).await?;
        let runs = self.runs(&place, start.point, through.max(start.point.sequence), None).await?;
        let entries = entries(&runs, id, through);
        let first = entries.len().saturating_sub(limit);
        let before = async {
            match self.user(&start, id).await {
                Ok(user) => Ok(user),
                Err(PastError::Backup(error)) => Err(error),
                Err(_) => Err(BackupError::Stopped),
            }
        };
        let mut record = if first == entries.len() {
            None
        } else {
            self.record_after(&place, &entries[..first], id, Box::pin(before)).await?
        };
        let mut versions = Vec::with_capacity(entries.len() - first);
        for entry in &entries[first..] {
            let numbered = self.change(&place, entry).await?;
            if numbered.change.user_id() != id {
                continue;
            }
            let after = apply(&place, record.as_ref(), numbered.change, entry.sequence())?;
            versions.push(version(place.timeline, entry.sequence(), numbered.time, record.as_ref(), after.clone()));
            record = after;
        }
        versions.reverse();
        Ok(versions)
    }

    /// The record of a user after some changes of it; `before` is what it was before all of them, asked only when needed.
    async fn record_after(
        &self,
        place: &JournalPlace,
        entries: &[Entry],
        id: &UserId,
        before: impl Future<Output = Result<Option<User>, BackupError>>,
    ) -> Result<Option<User>, BackupError> {
        let mut patches = Vec::new();
        let mut record = None;
        let mut whole = false;
        for entry in entries.iter().rev() {
            let numbered = self.change(place, entry).await?;
            if numbered.change.user_id() != id {
                continue;
            }
            match numbered.change {
                Change::Put(user) => record = Some(user),
                Change::Delete(_) => {}
                patch @ Change::Patch(..) => {
                    patches.push((patch, entry.sequence()));
                    continue;
                }
            }
            whole = true;
            break;
        }
        if !whole {
            record = before.await?;
        }
        for (patch, sequence) in patches.into_iter().rev() {
            record = apply(place, record.as_ref(), patch, sequence)?;
        }
        Ok(record)
    }

    async fn change(&self, place: &JournalPlace, entry: &Entry) -> Result<Numbered, BackupError> {
        let lines = self.lines(place, &entry.segment.path).await?;
        let body = lines.body().get(entry.segment.begin(entry.index)..).unwrap_or_default();
        let line = body.split(|b| *b == b'\n').next().unwrap_or_default();
        parse_change(line).map_err(|reason| broken(place, format!("sequence {}: {reason}", entry.sequence().0)))
    }
}

/// The record after a change.
fn apply(
    place: &JournalPlace,
    before: Option<&User>,
    change: Change,
    sequence: Sequence,
) -> Result<Option<User>, BackupError> {
    match change {
        Change::Put(user) => Ok(Some(user)),
        Change::Delete(_) => Ok(None),
        Change::Patch(_, update) => match patch::apply(before, &update) {
            Some(user) => Ok(Some(user)),
            None => Err(broken(place, format!("sequence {}: a foreign write left no valid record", sequence.0))),
        },
    }
}

fn version(
    timeline: Timeline,
    sequence: Sequence,
    time: Timestamp,
    before: Option<&User>,
    user: Option<User>,
) -> Version {
    let (kind, fields) = match (before, &user) {
        (Some(before), Some(after)) => (VersionKind::Updated, changed_fields(before, after)),
        (None, Some(_)) => (VersionKind::Created, Vec::new()),
        (_, None) => (VersionKind::Deleted, Vec::new()),
    };
    Version { timeline, sequence, time, kind, fields, user }
}
