//! What a run of changes leaves of each user that it touches, sorted by id, in bounded memory: what does not fit is spilled
//! as sorted runs to encrypted scratch files and merged while it is read.

mod run;
mod scratch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::domain::clock::Timestamp;
use crate::domain::history::{Change, Sequence};
use crate::domain::ids::UserId;
use crate::domain::user::User;

use super::chain::Numbered;
use super::{BackupError, Repository, patch};
use run::{Run, RunReader};
use scratch::Scratch;

/// Bytes of records that are held before they are spilled.
const HELD_BYTES: usize = 24 * 1024 * 1024;
/// Bytes that an entry takes beside its texts, roughly.
const ENTRY_BYTES: usize = 328;
/// Foreign writes of one user that are held apart; few in tests, so that they are made one there too.
const PATCHES_MAX: usize = if cfg!(test) { 2 } else { 16 };

/// What some changes leave of one user, and the time of the last of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) time: Timestamp,
    pub(super) what: What,
}

/// What some changes leave of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// This record.
    Put(User),
    /// None.
    Deleted,
    /// Whatever was there before, with these foreign writes made to it.
    Patched(Vec<(Sequence, String)>),
}

/// A foreign write that left no valid record: its number. The record is somewhere, and nobody can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) Sequence);

impl Left {
    fn of(numbered: Numbered) -> (UserId, Self) {
        let time = numbered.time;
        let (id, what) = match numbered.change {
            Change::Put(user) => (user.id.clone(), What::Put(user)),
            Change::Delete(id) => (id, What::Deleted),
            Change::Patch(id, update) => (id, What::Patched(vec![(numbered.sequence, update)])),
        };
        (id, Self { time, what })
    }

    /// What is left after newer changes.
    fn then(self, newer: Self) -> Result<Self, Unreadable> {
        let What::Patched(patches) = newer.what else { return Ok(newer) };
        let what = match self.what {
            What::Put(user) => patched(Some(user), &patches)?.map_or(What::Deleted, What::Put),
            What::Deleted => patched(None, &patches).map(|_| What::Deleted)?,
            What::Patched(older) => What::Patched(few([older, patches].concat())),
        };
        Ok(Self { time: newer.time, what })
    }

    /// Whether the record before the changes is asked for.
    pub(super) fn needs_before(&self) -> bool {
        matches!(self.what, What::Patched(_))
    }

    /// The record that is left of what was there before.
    pub(super) fn over(self, before: Option<User>) -> Result<Option<User>, Unreadable> {
        match self.what {
            What::Put(user) => Ok(Some(user)),
            What::Deleted => Ok(None),
            What::Patched(patches) => patched(before, &patches),
        }
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES
            + match &self.what {
                What::Put(user) => user.name.as_str().len() + user.password_hash.expose().len(),
                What::Deleted => 0,
                What::Patched(patches) => patches.iter().map(|(_, text)| text.len() + 64).sum(),
            }
    }
}

/// Many foreign writes of one user are made one that says the same, so that memory follows the users and not their writes.
fn few(patches: Vec<(Sequence, String)>) -> Vec<(Sequence, String)> {
    if patches.len() <= PATCHES_MAX {
        return patches;
    }
    let joined = patch::joined(patches.iter().map(|(_, update)| update.as_str()));
    match (joined, patches.last()) {
        (Some(update), Some((last, _))) => vec![(*last, update)],
        _ => patches,
    }
}

fn patched(mut user: Option<User>, patches: &[(Sequence, String)]) -> Result<Option<User>, Unreadable> {
    for (sequence, update) in patches {
        user = Some(patch::apply(user.as_ref(), update).ok_or(Unreadable(*sequence))?);
    }
    Ok(user)
}

/// What some changes leave of every user that they touch.
#[derive(Debug)]
pub(super) enum Folded {
    /// In memory.
    Held(BTreeMap<UserId, Left>),
    /// In sorted runs, oldest first.
    Spilled(Repository, Vec<Arc<Run>>),
}

impl Default for Folded {
    fn default() -> Self {
        Self::Held(BTreeMap::new())
    }
}

/// Folds changes, in order.
#[derive(Debug)]
pub(super) struct Folding {
    repository: Repository,
    held: BTreeMap<UserId, Left>,
    bytes: usize,
    bytes_max: usize,
    scratch: Option<Arc<Scratch>>,
    runs: Vec<Arc<Run>>,
}

impl Folding {
    pub(super) fn new(repository: &Repository) -> Self {
        Self::holding(repository, HELD_BYTES)
    }

    /// Spills beyond so many bytes.
    pub(super) fn holding(repository: &Repository, bytes_max: usize) -> Self {
        let repository = repository.clone();
        Self { repository, held: BTreeMap::new(), bytes: 0, bytes_max, scratch: None, runs: Vec::new() }
    }

    /// Takes in the next changes.
    pub(super) async fn add(&mut self, changes: Vec<Numbered>) -> Result<(), FoldError> {
        for numbered in changes {
            let (id, left) = Left::of(numbered);
            let left = match self.held.remove(&id) {
                Some(older) => {
                    self.bytes -= older.bytes();
                    older.then(left)?
                }
                None => left,
            };
            self.bytes += left.bytes();
            self.held.insert(id, left);
        }
        if self.bytes > self.bytes_max { self.spill().await } else { Ok(()) }
    }

    async fn spill(&mut self) -> Result<(), FoldError> {
        let scratch = match &self.scratch {
            Some(scratch) => Arc::clone(scratch),
            None => Arc::clone(self.scratch.insert(Arc::new(Scratch::create()?))),
        };
        let held = std::mem::take(&mut self.held);
        self.bytes = 0;
        let run = self.repository.busy(move || Run::write(scratch, held)).await?;
        self.runs.push(Arc::new(run));
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<Folded, FoldError> {
        if self.runs.is_empty() {
            return Ok(Folded::Held(self.held));
        }
        if !self.held.is_empty() {
            self.spill().await?;
        }
        Ok(Folded::Spilled(self.repository, self.runs))
    }
}

/// Why changes could not be folded.
#[derive(Debug)]
pub(super) enum FoldError {
    Unreadable(Unreadable),
    Backup(BackupError),
}

impl From<Unreadable> for FoldError {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

impl From<BackupError> for FoldError {
    fn from(error: BackupError) -> Self {
        Self::Backup(error)
    }
}

impl Folded {
    /// Bytes that it takes in memory, roughly.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Held(held) => held.values().map(Left::bytes).sum(),
            Self::Spilled(_, runs) => runs.iter().map(|run| run.weight()).sum(),
        }
    }

    /// Whether a change may lie after an id (exclusive; from the beginning without one) up to another (inclusive). What is
    /// spilled is not read for the answer, so it may be yes where it is no.
    pub(super) fn touches(&self, after: Option<&UserId>, through: &UserId) -> bool {
        if after.is_some_and(|after| after >= through) {
            return false;
        }
        match self {
            Self::Held(held) => held.range((begin(after), Bound::Included(through))).next().is_some(),
            Self::Spilled(_, runs) => runs.iter().any(|run| run.touches(after, through)),
        }
    }

    /// The same from an id on, that id included.
    pub(super) fn touches_from(&self, first: &UserId, through: &UserId) -> bool {
        match self {
            Self::Held(held) => first <= through && held.range(first..=through).next().is_some(),
            Self::Spilled(_, runs) => runs.iter().any(|run| run.touches_from(first, through)),
        }
    }

    /// What is left of one user; absent when no change touches it.
    pub(super) async fn get(&self, id: &UserId) -> Result<Option<Left>, FoldError> {
        let (repository, runs) = match self {
            Self::Held(held) => return Ok(held.get(id).cloned()),
            Self::Spilled(repository, runs) => (repository, runs),
        };
        let mut left: Option<Left> = None;
        for run in runs {
            let Some(newer) = run.find(repository, id).await? else { continue };
            left = Some(match left {
                Some(older) => older.then(newer)?,
                None => newer,
            });
        }
        Ok(left)
    }

    /// Reads what is left, sorted, after an id or from the first.
    pub(super) fn read(self: &Arc<Self>, after: Option<UserId>) -> FoldedReader {
        let runs = match &**self {
            Self::Held(_) => Vec::new(),
            Self::Spilled(repository, runs) => {
                runs.iter().map(|run| RunReader::new(repository, run, after.as_ref())).collect()
            }
        };
        FoldedReader { folded: Arc::clone(self), runs, after }
    }
}

fn begin(after: Option<&UserId>) -> Bound<&UserId> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

/// Reads what changes left, in the order of ids.
#[derive(Debug)]
pub(super) struct FoldedReader {
    folded: Arc<Folded>,
    runs: Vec<RunReader>,
    after: Option<UserId>,
}

impl FoldedReader {
    /// The next entries up to an id (inclusive; to the end without one), at most so many. Fewer than that means that there
    /// are no more of them.
    pub(super) async fn take(
        &mut self,
        through: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<(UserId, Left)>, FoldError> {
        let mut taken = Vec::new();
        if let Folded::Held(held) = &*self.folded {
            if through.is_some_and(|through| self.after.as_ref().is_some_and(|after| after >= through)) {
                return Ok(taken);
            }
            let range = held.range((begin(self.after.as_ref()), through.map_or(Bound::Unbounded, Bound::Included)));
            taken.extend(range.take(limit).map(|(id, left)| (id.clone(), left.clone())));
        } else {
            while taken.len() < limit
                && let Some(entry) = self.next_of_runs(through).await?
            {
                taken.push(entry);
            }
        }
        if let Some((last, _)) = taken.last() {
            self.after = Some(last.clone());
        }
        Ok(taken)
    }

    /// The entry with the lowest id of all runs, the same user's entries of several runs made one.
    async fn next_of_runs(&mut self, through: Option<&UserId>) -> Result<Option<(UserId, Left)>, FoldError> {
        let mut lowest: Option<UserId> = None;
        for run in &mut self.runs {
            if let Some(id) = run.peek().await?
                && lowest.as_ref().is_none_or(|lowest| id < lowest)
            {
                lowest = Some(id.clone());
            }
        }
        let Some(id) = lowest.filter(|id| through.is_none_or(|through| id <= through)) else { return Ok(None) };
        let mut left: Option<Left> = None;
        for run in &mut self.runs {
            if run.peek().await? == Some(&id)
                && let Some(newer) = run.next()
            {
                left = Some(match left {
                    Some(older) => older.then(newer)?,
                    None => newer,
                });
            }
        }
        Ok(left.map(|left| (id, left)))
    }
}
