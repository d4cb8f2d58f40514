//! Tests of states: at every sequence they are what a model says.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use proptest::prelude::*;

use super::chain::change_line;
use super::journal_read::{JournalPlace, Point};
use super::plan::Comparison;
use super::segment::Segment;
use super::sides::Sides;
use super::state::{Piece, State};
use super::testing::{golden_repository, targets, user};
use super::write::{SnapshotOf, SnapshotWriter};
use super::{BackupError, Snapshot};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::epoch::Epoch;
use crate::domain::history::{Chain, Change, ClusterTime, Position, Sequence, Source, Timeline};
use crate::domain::ids::UserId;
use crate::domain::restore::{
    Action, CredentialsPolicy, LockedPolicy, OnConflict, RestoreMode, RestoreRequest, RestoreSource,
};
use crate::domain::user::User;
use tokio_util::sync::CancellationToken;

/// A journal on a target in memory, in segments of these lengths; gives every point of it. Change n is made at n ms.
pub(super) async fn journal(changes: &[Change], lengths: &[usize]) -> (JournalPlace, Vec<Point>) {
    let timed = (1..).zip(changes).map(|(n, change)| (Timestamp::from_millis(n), change.clone()));
    journal_of("eng", &timed.collect::<Vec<_>>(), lengths).await
}

/// The same of any department, with times.
pub(super) async fn journal_of(
    department: &str,
    changes: &[(Timestamp, Change)],
    lengths: &[usize],
) -> (JournalPlace, Vec<Point>) {
    let place = JournalPlace {
        repository: golden_repository(),
        targets: targets(&["memory:///".to_owned()], None),
        department: department.parse().unwrap(),
        timeline: Timeline(1),
    };
    let mut points = vec![Point::BEGINNING];
    let (mut lines, mut begin) = (Vec::new(), 0);
    let mut lengths = lengths.iter().cycle();
    let mut left = *lengths.next().unwrap();
    for (index, (time, change)) in changes.iter().enumerate() {
        let sequence = Sequence(i64::try_from(index).unwrap() + 1);
        let line = change_line(sequence, *time, change);
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
                through: *time,
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

/// What is there after these changes.
pub(super) fn model(changes: &[Change]) -> Vec<User> {
    let mut state: BTreeMap<UserId, User> = BTreeMap::new();
    for change in changes {
        match change {
            Change::Put(user) => {
                state.insert(user.id.clone(), user.clone());
            }
            Change::Delete(id) => {
                state.remove(id);
            }
            Change::Patch(id, update) => {
                if let Some(user) = state.get_mut(id) {
                    user.locked = update.contains(r#""locked":true"#);
                }
            }
        }
    }
    state.into_values().collect()
}

/// Without updates of users that are not there; MongoDB makes none.
pub(super) fn possible(changes: Vec<Change>) -> Vec<Change> {
    let mut kept: Vec<Change> = Vec::new();
    for change in changes {
        let there = |id: &UserId| model(&kept).iter().any(|user| user.id == *id);
        if !matches!(&change, Change::Patch(id, _) if !there(id)) {
            kept.push(change);
        }
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_state_at_every_sequence_is_the_models(
        changes in proptest::collection::vec(change(), 0..60),
        lengths in proptest::collection::vec(1_usize..9, 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let changes = possible(changes);
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

/// The state at a point as a snapshot.
async fn snapshot(place: &JournalPlace, users: Vec<User>, at: Point) -> Snapshot {
    write(place, futures::stream::iter([Ok(Piece::Users(users))]), None, at).await
}

async fn write(
    place: &JournalPlace,
    pieces: impl futures::Stream<Item = Result<Piece, BackupError>> + Send,
    previous: Option<&Snapshot>,
    at: Point,
) -> Snapshot {
    let writer = SnapshotWriter {
        repository: place.repository.clone(),
        targets: place.targets.clone(),
        chunk_records: 16,
        clock: Clock::System,
    };
    let position = Position {
        sequence: at.sequence,
        chain: at.chain,
        time: Timestamp::from_millis(0),
        closed: false,
        cluster_time: ClusterTime { seconds: 1, ordinal: 1 },
        balance: 0,
        token: None,
    };
    let of = SnapshotOf { department: place.department.clone(), timeline: place.timeline, position, epoch: Epoch(1) };
    let written = writer.write(&of, pieces, previous, &CancellationToken::new(), |_| {}).await.unwrap();
    Snapshot::open(&place.repository, &place.targets, &written.path).await.unwrap()
}

/// What a comparison says has to be done about each id.
async fn actions(wanted: &State, live: &State) -> Vec<(UserId, Action)> {
    let request = RestoreRequest {
        source: RestoreSource::Backup("0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f".parse().unwrap()),
        into: None,
        users: None,
        mode: RestoreMode::Exact,
        credentials: CredentialsPolicy::Restore,
        locked: LockedPolicy::Restore,
        on_conflict: OnConflict::Skip,
    };
    let sides = Sides::of(wanted.clone(), live.clone(), request, "eng".parse().unwrap());
    let mut comparison = Comparison::open(&sides, None).await.unwrap();
    let mut actions = Vec::new();
    while let Some(change) = comparison.next_change().await.unwrap() {
        actions.push((change.user_id, change.action));
    }
    actions
}

fn expected(wanted: &[User], live: &[User]) -> Vec<(UserId, Action)> {
    let by_id = |users: &[User]| users.iter().map(|user| (user.id.clone(), user.clone())).collect::<BTreeMap<_, _>>();
    let (wanted, live) = (by_id(wanted), by_id(live));
    let ids: std::collections::BTreeSet<&UserId> = wanted.keys().chain(live.keys()).collect();
    let action = |id: &UserId| match (wanted.get(id), live.get(id)) {
        (Some(wanted), Some(live)) => (!wanted.same_content(live)).then_some(Action::Update),
        (Some(_), None) => Some(Action::Create),
        _ => Some(Action::Delete),
    };
    ids.into_iter().filter_map(|id| action(id).map(|action| (id.clone(), action))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn two_states_differ_in_what_the_models_differ_whatever_chunks_they_share(
        changes in proptest::collection::vec(change(), 1..40),
        others in 0_u32..200,
    ) {
        // Users that nobody changes, so that there are chunks to share.
        let mut all: Vec<Change> = (0..others).map(|n| Change::Put(user(100 + n * 3))).collect();
        let begin = all.len();
        all.extend(changes);
        let all = possible(all);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (place, points) = journal(&all, &[7]).await;
            let base = snapshot(&place, model(&all[..begin]), points[begin]).await;
            let at = |to: usize| State::at(place.clone(), Some((base.clone(), points[begin])), points[to]);
            let (middle, end) = (begin.midpoint(all.len()), all.len());
            for (wanted, live) in [(begin, end), (middle, end), (end, middle), (end, begin)] {
                let found = actions(&at(wanted).await.unwrap(), &at(live).await.unwrap()).await;
                assert_eq!(found, expected(&model(&all[..wanted]), &model(&all[..live])));
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_snapshot_made_of_the_one_before_has_the_same_chunks_as_one_made_of_the_records(
        changes in proptest::collection::vec(change(), 0..12),
        others in 0_u32..600,
        step in 1_u32..4,
    ) {
        let mut all: Vec<Change> = (0..others).map(|n| Change::Put(user(n * step))).collect();
        let begin = all.len();
        all.extend(changes);
        let all = possible(all);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (place, points) = journal(&all, &[7]).await;
            let (end, last) = (points[all.len()], model(&all));
            let base = snapshot(&place, model(&all[..begin]), points[begin]).await;
            let state = State::at(place.clone(), Some((base.clone(), points[begin])), end).await.unwrap();
            let folded = write(&place, state.pieces(), Some(&base), end).await;
            let scanned = snapshot(&place, last.clone(), end).await;
            let cuts = |snapshot: &Snapshot| {
                let chunks = snapshot.manifest().chunks.iter();
                chunks.map(|chunk| (chunk.first.clone(), chunk.content_id.clone())).collect::<Vec<_>>()
            };
            assert_eq!(cuts(&folded), cuts(&scanned));
            assert_eq!(folded.manifest().root, scanned.manifest().root);
            let users: Vec<User> = folded.users(None).try_collect::<Vec<_>>().await.unwrap().concat();
            assert_eq!(users, last);
        });
    }
}

#[tokio::test]
async fn a_fold_reads_no_chunk_that_no_change_touches() {
    let mut all: Vec<Change> = (0..600).map(|n| Change::Put(user(n))).collect();
    all.push(Change::Delete(user(300).id));
    let (place, points) = journal(&all, &[601]).await;
    let base = snapshot(&place, model(&all[..600]), points[600]).await;
    let state = State::at(place.clone(), Some((base.clone(), points[600])), points[601]).await.unwrap();
    let pieces: Vec<Piece> = state.pieces().try_collect().await.unwrap();
    let read = pieces.iter().filter(|piece| matches!(piece, Piece::Users(_))).count();
    assert_eq!((read, pieces.len()), (1, base.manifest().chunks.len()));
}

#[tokio::test]
async fn a_record_that_nobody_can_read_any_more_is_not_taken_for_a_deleted_one() {
    let nonsense = r#"{"updateDescription":{"updatedFields":{"name":{"$numberInt":"1"}}}}"#.to_owned();
    let (place, points) = journal(&[Change::Put(user(1)), Change::Patch(user(1).id, nonsense)], &[2]).await;
    assert!(State::at(place.clone(), None, points[1]).await.is_ok());
    let read = match State::at(place, None, points[2]).await {
        Ok(state) => state.users(None).try_collect::<Vec<_>>().await,
        Err(error) => Err(error),
    };
    assert!(matches!(read, Err(BackupError::Damaged { .. })));
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
