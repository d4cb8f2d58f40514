//! The state of a department at a sequence: a snapshot, and the changes after it folded over it, as one sorted stream.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use futures::{Stream, StreamExt};

use crate::domain::backup::BackupContent;
use crate::domain::history::Change;
use crate::domain::ids::{DepartmentName, UserId};
use crate::domain::user::User;
use crate::targets::Targets;
use crate::targets::layout::ObjectPath;

use super::journal_read::{JournalPlace, JournalReader, Point};
use super::manifest::ChunkRef;
use super::{BackupError, Repository, Snapshot, patch};

/// Records of one batch.
const BATCH: usize = 1000;

/// The state at a point. Clones share it.
#[derive(Debug, Clone)]
pub struct State {
    base: Option<Snapshot>,
    /// What the changes after the base leave of each user that they touch.
    folded: Arc<BTreeMap<UserId, Option<User>>>,
}

impl From<Snapshot> for State {
    fn from(base: Snapshot) -> Self {
        Self { base: Some(base), folded: Arc::default() }
    }
}

impl State {
    /// The state without any record.
    pub fn empty() -> Self {
        Self { base: None, folded: Arc::default() }
    }

    /// The state that a complete backup stands for.
    ///
    /// # Errors
    /// When its snapshot or the journal after it cannot be read and verified.
    pub async fn of_backup(
        repository: &Repository,
        targets: &Targets,
        department: &DepartmentName,
        content: &BackupContent,
    ) -> Result<Self, BackupError> {
        let path = ObjectPath::from_stored(content.base.snapshot.clone());
        let snapshot = Snapshot::open(repository, targets, &path).await?;
        let (from, to) = (snapshot.manifest().point(), Point { sequence: content.sequence, chain: content.chain });
        let place = JournalPlace {
            repository: repository.clone(),
            targets: targets.clone(),
            department: department.clone(),
            timeline: content.timeline,
        };
        Self::at(place, Some((snapshot, from)), to).await
    }

    /// The state at a point: the base, or the empty beginning of the history, and every change up to the point.
    ///
    /// # Errors
    /// When the journal cannot be read, or does not lead from the base to the point.
    pub async fn at(place: JournalPlace, base: Option<(Snapshot, Point)>, to: Point) -> Result<Self, BackupError> {
        let (base, from) = match base {
            Some((snapshot, point)) => (Some(snapshot), point),
            None => (None, Point::BEGINNING),
        };
        let journal = ObjectPath::journal_folder(&place.department, place.timeline);
        let mut reader = JournalReader::open(place, from, to).await?;
        let mut folded: BTreeMap<UserId, Option<User>> = BTreeMap::new();
        while let Some(changes) = reader.next().await? {
            for numbered in changes {
                match numbered.change {
                    Change::Put(user) => {
                        folded.insert(user.id.clone(), Some(user));
                    }
                    Change::Delete(id) => {
                        folded.insert(id, None);
                    }
                    Change::Patch(id, update) => {
                        let before = match (folded.get(&id), &base) {
                            (Some(user), _) => user.clone(),
                            (None, Some(base)) => base.user(&id).await?,
                            (None, None) => None,
                        };
                        // Never as if it had been deleted: the record is somewhere, and nobody can read it.
                        let Some(after) = patch::apply(before.as_ref(), &update) else {
                            let reason =
                                format!("sequence {}: a foreign write left no valid record", numbered.sequence.0);
                            return Err(BackupError::Damaged { path: journal, reason });
                        };
                        folded.insert(id, Some(after));
                    }
                }
            }
        }
        Ok(Self { base, folded: Arc::new(folded) })
    }

    /// One user.
    ///
    /// # Errors
    /// When the chunk that may hold it cannot be read and verified.
    pub async fn user(&self, id: &UserId) -> Result<Option<User>, BackupError> {
        match (self.folded.get(id), &self.base) {
            (Some(user), _) => Ok(user.clone()),
            (None, Some(base)) => base.user(id).await,
            (None, None) => Ok(None),
        }
    }

    /// How many users the changes after the snapshot touch.
    pub fn changed(&self) -> usize {
        self.folded.len()
    }

    /// The chunks of the snapshot that it begins with.
    pub fn chunks(&self) -> &[ChunkRef] {
        self.base.as_ref().map_or(&[], |base| &base.manifest().chunks)
    }

    /// Whether a change after the snapshot lies in the range of one of its chunks.
    pub fn touches(&self, chunk: &ChunkRef) -> bool {
        match (chunk.first.parse::<UserId>(), chunk.last.parse::<UserId>()) {
            (Ok(first), Ok(last)) => self.folded.range(first..=last).next().is_some(),
            _ => true,
        }
    }

    /// The records after an id (exclusive), or all, sorted by id.
    pub fn users(&self, after: Option<UserId>) -> impl Stream<Item = Result<Vec<User>, BackupError>> + Send + use<> {
        self.users_of(after, &|_| true)
    }

    /// The same, without the chunks that the caller does not need. A chunk that a change touches is needed.
    pub fn users_of(
        &self,
        after: Option<UserId>,
        needed: &dyn Fn(&ChunkRef) -> bool,
    ) -> impl Stream<Item = Result<Vec<User>, BackupError>> + Send + use<> {
        let batches = match &self.base {
            Some(base) => base.users_of(after.clone(), needed).boxed(),
            None => futures::stream::empty().boxed(),
        };
        let merge = Merge { batches: Some(batches), folded: Arc::clone(&self.folded), after };
        futures::stream::try_unfold(merge, Merge::next)
    }
}

type Batches = futures::stream::BoxStream<'static, Result<Vec<User>, BackupError>>;

/// The merge of the base with what was folded, a batch at a time.
struct Merge {
    /// Absent once the base is at its end.
    batches: Option<Batches>,
    folded: Arc<BTreeMap<UserId, Option<User>>>,
    after: Option<UserId>,
}

impl Merge {
    async fn next(mut self) -> Result<Option<(Vec<User>, Self)>, BackupError> {
        if let Some(batches) = &mut self.batches {
            if let Some(batch) = batches.next().await {
                let batch = batch?;
                let Some(last) = batch.last().map(|user| user.id.clone()) else { return Ok(Some((batch, self))) };
                let merged = self.merged(batch, &last);
                self.after = Some(last);
                return Ok(Some((merged, self)));
            }
            self.batches = None;
        }
        let rest: Vec<(&UserId, &Option<User>)> =
            self.folded.range((self.begin(), Bound::Unbounded)).take(BATCH).collect();
        let Some(last) = rest.last().map(|(id, _)| (*id).clone()) else { return Ok(None) };
        let users = rest.into_iter().filter_map(|(_, user)| user.clone()).collect();
        self.after = Some(last);
        Ok(Some((users, self)))
    }

    fn begin(&self) -> Bound<&UserId> {
        self.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded)
    }

    /// A batch of the base, which ends with `last`, and what was folded in its range.
    fn merged(&self, batch: Vec<User>, last: &UserId) -> Vec<User> {
        let mut folded = self.folded.range((self.begin(), Bound::Included(last))).peekable();
        if folded.peek().is_none() {
            return batch;
        }
        let mut merged = Vec::with_capacity(batch.len());
        for user in batch {
            let mut replaced = false;
            while let Some((id, now)) = folded.next_if(|(id, _)| **id <= user.id) {
                replaced |= *id == user.id;
                merged.extend(now.clone());
            }
            if !replaced {
                merged.push(user);
            }
        }
        merged
    }
}
