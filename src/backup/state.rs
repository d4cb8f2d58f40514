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
                        folded.insert(id, patch::apply(before.as_ref(), &update));
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

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use proptest::prelude::*;

    use super::*;
    use crate::backup::chain::change_line;
    use crate::backup::segment::Segment;
    use crate::backup::testing::{golden_repository, targets, user};
    use crate::domain::clock::Timestamp;
    use crate::domain::epoch::Epoch;
    use crate::domain::history::{Chain, Sequence, Source, Timeline};

    /// A journal on a target in memory, in segments of these lengths; gives every point of it.
    async fn journal(changes: &[Change], lengths: &[usize]) -> (JournalPlace, Vec<Point>) {
        let place = JournalPlace {
            repository: golden_repository(),
            targets: targets(&["memory:///".to_owned()], None),
            department: "eng".parse().unwrap(),
            timeline: Timeline(1),
        };
        let mut points = vec![Point::BEGINNING];
        let (mut lines, mut begin) = (Vec::new(), 0);
        let mut lengths = lengths.iter().cycle();
        let mut left = *lengths.next().unwrap();
        for (index, change) in changes.iter().enumerate() {
            let sequence = Sequence(i64::try_from(index).unwrap() + 1);
            let line = change_line(sequence, Timestamp::from_millis(sequence.0), change);
            let chain = place.repository.chain_after(&points[index].chain, &line);
            points.push(Point { sequence, chain });
            lines.extend_from_slice(&line);
            lines.push(b'\n');
            left -= 1;
            if left == 0 || index + 1 == changes.len() {
                let segment = Segment {
                    department: place.department.clone(),
                    timeline: place.timeline,
                    first: Sequence(points[begin].sequence.0 + 1),
                    last: sequence,
                    before: points[begin].chain,
                    after: chain,
                    through: Timestamp::from_millis(sequence.0),
                    epoch: Epoch(1),
                    source: Source { replica_set_id: "r".to_owned(), users_uuid: "u".to_owned() },
                    lines: std::mem::take(&mut lines),
                };
                let (path, sealed) = place.repository.seal_segment(&segment).unwrap();
                place.targets.iter().next().unwrap().put(&path, sealed).await.unwrap();
                begin = index + 1;
                left = *lengths.next().unwrap();
            }
        }
        (place, points)
    }

    fn change() -> impl Strategy<Value = Change> {
        let locks = r#"{"updateDescription":{"updatedFields":{"locked":true}}}"#;
        prop_oneof![
            4 => (0_u32..30, "[a-z]{1,4}").prop_map(|(n, name)| {
                Change::Put(User { name: crate::domain::user::UserName::from_stored(name), ..user(n) })
            }),
            2 => (0_u32..30).prop_map(|n| Change::Delete(user(n).id)),
            1 => (0_u32..30).prop_map(move |n| Change::Patch(user(n).id, locks.to_owned())),
        ]
    }

    fn model(changes: &[Change]) -> Vec<User> {
        let mut state: BTreeMap<UserId, User> = BTreeMap::new();
        for change in changes {
            match change {
                Change::Put(user) => {
                    state.insert(user.id.clone(), user.clone());
                }
                Change::Delete(id) => {
                    state.remove(id);
                }
                Change::Patch(id, _) => {
                    if let Some(user) = state.get_mut(id) {
                        user.locked = true;
                    }
                }
            }
        }
        state.into_values().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn the_state_at_every_sequence_is_the_models(
            changes in proptest::collection::vec(change(), 0..60),
            lengths in proptest::collection::vec(1_usize..9, 1..5),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (place, points) = journal(&changes, &lengths).await;
                for (index, point) in points.iter().enumerate() {
                    let state = State::at(place.clone(), None, *point).await.unwrap();
                    let users: Vec<User> = state.users(None).try_collect::<Vec<_>>().await.unwrap().concat();
                    assert_eq!(users, model(&changes[..index]));
                }
            });
        }
    }

    #[tokio::test]
    async fn a_missing_segment_or_another_chain_is_an_error_and_never_an_older_state() {
        let changes: Vec<Change> = (0..10).map(|n| Change::Put(user(n))).collect();
        let (place, points) = journal(&changes, &[2]).await;
        let wrong = Point { chain: Chain([9; 32]), ..points[10] };
        assert!(matches!(State::at(place.clone(), None, wrong).await, Err(BackupError::Damaged { .. })));
        let beyond = Point { sequence: Sequence(11), chain: points[10].chain };
        assert!(matches!(State::at(place, None, beyond).await, Err(BackupError::Damaged { .. })));
    }
}
