//! Tests of plans over sealed snapshots: what they count, what the defaults keep, and which chunks they read.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::domain::clock::Timestamp;
use crate::domain::plan::{PlannedChange, target};
use crate::domain::restore::{
    Action, CredentialsPolicy, LockedPolicy, OnConflict, Plan, RestoreMode, RestoreRequest, RestoreSource,
};
use crate::domain::user::{PasswordHash, Rev, User, UserName};

use super::Snapshot;
use super::changes::{ChangeReader, Changes};
use super::plan::{Comparison, changes as page_of, plan};
use super::sides::Sides;
use super::state::State;
use super::testing::user;
use super::tests::{Place, users};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn request(mode: RestoreMode) -> RestoreRequest {
    RestoreRequest {
        source: RestoreSource::Backup("0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f".parse().unwrap()),
        into: None,
        users: None,
        mode,
        credentials: CredentialsPolicy::Keep,
        locked: LockedPolicy::Keep,
        on_conflict: OnConflict::Skip,
    }
}

async fn snapshot(place: &Place, users: Vec<User>) -> Snapshot {
    let written = place.write(users, None).await.unwrap();
    Snapshot::open(&place.repository, &place.targets, &written.path).await.unwrap()
}

fn sides(wanted: &Snapshot, live: &Snapshot, request: &RestoreRequest) -> Sides {
    let (wanted, live) = (State::from(wanted.clone()), State::from(live.clone()));
    Sides::of(wanted, live, request.clone(), "eng".parse().unwrap())
}

async fn changes(wanted: &Snapshot, live: &Snapshot, request: &RestoreRequest) -> Vec<PlannedChange> {
    let mut comparison = Comparison::open(&sides(wanted, live, request), None).await.unwrap();
    let mut changes = Vec::new();
    while let Some(change) = comparison.next_change().await.unwrap() {
        changes.push(change);
    }
    changes
}

fn counts(plan: &Plan) -> [u64; 5] {
    [plan.creates, plan.updates, plan.deletes, plan.unchanged, plan.security_kept]
}

/// Removes the objects of every chunk but those that hold one of these users.
fn leave_only(place: &Place, snapshot: &Snapshot, ids: &[User]) -> usize {
    let manifest = snapshot.manifest();
    let holds = |first: &str, last: &str| ids.iter().any(|user| (first..=last).contains(&user.id.as_str()));
    let unneeded = manifest.chunks.iter().filter(|chunk| !holds(&chunk.first, &chunk.last));
    // Both snapshots may share it.
    unneeded.filter(|chunk| std::fs::remove_file(place.file(0, manifest.chunk_path(chunk).as_str())).is_ok()).count()
}

#[tokio::test]
async fn a_selection_reads_only_the_chunks_that_can_hold_it() {
    let place = Place::new(1);
    let mut changed = users(300);
    for user in &mut changed {
        user.locked = true;
    }
    changed.retain(|changed| changed.id != user(200).id);
    let (wanted, live) = (snapshot(&place, users(300)).await, snapshot(&place, changed).await);
    let selected = [user(7), user(200), user(299)];
    assert!(leave_only(&place, &wanted, &selected) > 8 && leave_only(&place, &live, &selected) > 8);
    let mut asked = request(RestoreMode::Merge);
    asked.locked = LockedPolicy::Restore;
    asked.users = Some([user(7), user(200), user(299), user(5000)].map(|user| user.id).into());
    let found = plan(&sides(&wanted, &live, &asked), NOW).await.unwrap().0;
    assert_eq!(counts(&found), [1, 2, 0, 0, 0]);
    assert_eq!(found.missing_users, [user(5000).id]);
    let page = page_of(&sides(&wanted, &live, &asked), Some(&user(7).id), 10).await.unwrap();
    assert_eq!(page.iter().map(|change| &change.user_id).collect::<Vec<_>>(), [&user(200).id, &user(299).id]);
    asked.users = None;
    assert!(plan(&sides(&wanted, &live, &asked), NOW).await.is_err(), "the others are really gone");
}

#[tokio::test]
async fn chunks_that_both_sides_have_are_counted_and_not_read() {
    let place = Place::new(1);
    let mut changed = users(300);
    changed[150].name = UserName::from_stored("renamed".to_owned());
    // Whatever was written again with the same content is the same, too.
    changed[10].rev = Rev::from_bits(99);
    let (wanted, live) = (snapshot(&place, users(300)).await, snapshot(&place, changed.clone()).await);
    assert!(leave_only(&place, &wanted, &[user(150)]) > 8);
    leave_only(&place, &live, &[user(150)]);
    let exact = request(RestoreMode::Exact);
    let found = plan(&sides(&wanted, &live, &exact), NOW).await.unwrap().0;
    assert_eq!(counts(&found), [0, 1, 0, 299, 0]);
    assert_eq!(changes(&wanted, &live, &exact).await[0].user_id, user(150).id);
    let mut unlock = exact;
    unlock.locked = LockedPolicy::Unlock;
    assert!(plan(&sides(&wanted, &live, &unlock), NOW).await.is_err(), "to unlock, each record has to be looked at");
}

/// Records of up to `count` ids, each present or not, with few names, hashes and locks, so that all cases meet.
fn department(count: u32) -> impl Strategy<Value = Vec<User>> {
    let record = (any::<bool>(), 0_u8..3, 0_u8..3, any::<bool>(), any::<u64>());
    prop::collection::vec(record, 1..count as usize).prop_map(|records| {
        let each = (0_u32..).zip(records).filter(|(_, (present, ..))| *present);
        each.map(|(n, (_, name, hash, locked, rev))| User {
            name: UserName::from_stored(format!("user {n} {name}")),
            password_hash: PasswordHash::from_checked(format!("$argon2id${hash}")),
            locked,
            rev: Rev::from_bits(rev),
            ..user(n)
        })
        .collect()
    })
}

fn by_id(users: &[User]) -> BTreeMap<&str, &User> {
    users.iter().map(|user| (user.id.as_str(), user)).collect()
}

/// Counts what a plan has to say, record by record.
fn model(wanted: &[User], live: &[User], request: &RestoreRequest) -> [u64; 5] {
    let (wanted, live) = (by_id(wanted), by_id(live));
    let mut counts = [0; 5];
    for (id, wanted) in &wanted {
        let Some(live) = live.get(id) else {
            counts[0] += 1;
            continue;
        };
        let becomes = target(wanted, Some(live), request);
        counts[if becomes.same_content(live) { 3 } else { 1 }] += 1;
        let kept = becomes.password_hash != wanted.password_hash || becomes.locked != wanted.locked;
        counts[4] += u64::from(kept);
    }
    if request.mode == RestoreMode::Exact {
        counts[2] = live.keys().filter(|id| !wanted.contains_key(*id)).count() as u64;
    }
    counts
}

/// Plans through sealed snapshots; gives the counts and the changes.
fn planned(wanted: &[User], live: &[User], request: &RestoreRequest) -> ([u64; 5], Vec<PlannedChange>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let place = Place::new(1);
        let (wanted, live) = (snapshot(&place, wanted.to_vec()).await, snapshot(&place, live.to_vec()).await);
        let counted = plan(&sides(&wanted, &live, request), NOW).await.unwrap().0;
        (counts(&counted), changes(&wanted, &live, request).await)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn by_default_no_plan_unlocks_anybody_or_changes_the_hash_of_a_live_user(
        wanted in department(70), live in department(70), exact in any::<bool>(),
    ) {
        let request = request(if exact { RestoreMode::Exact } else { RestoreMode::Merge });
        let (counts, changes) = planned(&wanted, &live, &request);
        prop_assert_eq!(counts, model(&wanted, &live, &request));
        let live = by_id(&live);
        for change in &changes {
            let Some(wanted) = &change.wanted else {
                prop_assert!(exact && change.action == Action::Delete);
                continue;
            };
            let becomes = target(wanted, change.base.as_ref(), &request);
            match live.get(change.user_id.as_str()) {
                Some(live) => {
                    prop_assert_eq!(&becomes.password_hash, &live.password_hash);
                    prop_assert_eq!(becomes.locked, live.locked);
                }
                None => prop_assert!(becomes.same_content(wanted)),
            }
        }
    }

    #[test]
    fn when_all_is_asked_for_the_changes_of_an_exact_plan_lead_to_the_point(
        wanted in department(70), live in department(70),
    ) {
        let mut request = request(RestoreMode::Exact);
        request.credentials = CredentialsPolicy::Restore;
        request.locked = LockedPolicy::Restore;
        let (counts, changes) = planned(&wanted, &live, &request);
        prop_assert_eq!(counts, model(&wanted, &live, &request));
        let mut state: BTreeMap<String, User> =
            live.iter().map(|user| (user.id.to_string(), user.clone())).collect();
        for change in changes {
            match &change.wanted {
                Some(wanted) => {
                    let becomes = target(wanted, change.base.as_ref(), &request);
                    state.insert(change.user_id.to_string(), becomes);
                }
                None => drop(state.remove(change.user_id.as_str())),
            }
        }
        prop_assert_eq!(state.len(), wanted.len());
        for wanted in &wanted {
            prop_assert!(state[wanted.id.as_str()].same_content(wanted));
        }
    }
}

#[tokio::test]
async fn changes_that_are_held_are_the_ones_that_are_compared_again() {
    let place = Place::new(1);
    let mut others = users(200);
    for user in others.iter_mut().step_by(3) {
        user.locked = true;
    }
    others.remove(50);
    let (wanted, live) = (snapshot(&place, users(200)).await, snapshot(&place, others).await);
    let asked = request(RestoreMode::Exact);
    let held = Changes::again(sides(&wanted, &live, &asked)).await.unwrap();
    let compared = Changes::new(sides(&wanted, &live, &asked), None);
    for after in [None, Some(user(0).id), Some(user(49).id), Some(user(1000).id)] {
        let (mut one, mut other) =
            (held.after(after.as_ref()).await.unwrap(), compared.after(after.as_ref()).await.unwrap());
        assert!(matches!((&one, &other), (ChangeReader::Held { .. }, ChangeReader::Compared(_))));
        let mut count = 0;
        loop {
            let change = one.next().await.unwrap();
            assert_eq!(change, other.next().await.unwrap());
            if change.is_none() {
                break;
            }
            count += 1;
        }
        assert!(count > 0 || after == Some(user(1000).id));
    }
}
