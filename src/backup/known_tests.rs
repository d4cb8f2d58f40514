//! Tests of what the history last knew: by default no plan weakens what any user, deleted ones included, was last known with.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::known::{Histories, LastKnown, Span};
use super::patch;
use super::plan::plan;
use super::sides::Sides;
use super::state::State;
use super::state_tests::{journal, journal_of, model, possible};
use super::testing::user;
use crate::domain::clock::Timestamp;
use crate::domain::history::Change;
use crate::domain::ids::UserId;
use crate::domain::plan::target;
use crate::domain::restore::{CredentialsPolicy, LockedPolicy, OnConflict, RestoreMode, RestoreRequest, RestoreSource};
use crate::domain::user::{PasswordHash, User};

fn change() -> impl Strategy<Value = Change> {
    let set = |locked: bool| format!(r#"{{"updateDescription":{{"updatedFields":{{"locked":{locked}}}}}}}"#);
    prop_oneof![
        4 => (0_u32..12, 0_u8..4, any::<bool>(), 1_i64..50).prop_map(|(n, hash, locked, version)| {
            let password_hash = PasswordHash::from_checked(format!("$argon2id${hash}"));
            Change::Put(User { password_hash, locked, version, ..user(n) })
        }),
        3 => (0_u32..12).prop_map(|n| Change::Delete(user(n).id)),
        3 => (0_u32..12, any::<bool>()).prop_map(move |(n, locked)| Change::Patch(user(n).id, set(locked))),
    ]
}

fn request() -> RestoreRequest {
    RestoreRequest {
        source: RestoreSource::Backup("0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f".parse().unwrap()),
        into: None,
        users: None,
        mode: RestoreMode::Merge,
        credentials: CredentialsPolicy::Keep,
        locked: LockedPolicy::Keep,
        on_conflict: OnConflict::Skip,
    }
}

/// What is last known of each user by the records at a point and the changes after it.
fn know(known: &mut BTreeMap<UserId, User>, all: &[Change], from: usize, to: usize) {
    known.extend(model(&all[..from]).into_iter().map(|user| (user.id.clone(), user)));
    for end in from + 1..=to {
        known.extend(model(&all[..end]).into_iter().map(|user| (user.id.clone(), user)));
    }
}

/// Changes of two departments, each with its time: an id lives in one of them at a time.
fn of_two(changes: Vec<(bool, Change)>) -> Vec<(bool, Timestamp, Change)> {
    let mut lives: BTreeMap<UserId, bool> = BTreeMap::new();
    let mut made = Vec::new();
    for (n, (department, change)) in (1..).zip(changes) {
        let id = change.user_id().clone();
        let lives_in = lives.get(&id).copied();
        let possible = match &change {
            Change::Put(_) => lives_in.is_none_or(|other| other == department),
            Change::Delete(_) | Change::Patch(..) => lives_in == Some(department),
        };
        if possible {
            match &change {
                Change::Delete(_) => lives.remove(&id),
                _ => lives.insert(id, department),
            };
            made.push((department, Timestamp::from_millis(n), change));
        }
    }
    made
}

/// The records that live after these changes, and the last one that each user had after the first `point` of them.
fn last_of_two(made: &[(bool, Timestamp, Change)], point: usize) -> (BTreeMap<UserId, User>, BTreeMap<UserId, User>) {
    let (mut live, mut last) = (BTreeMap::new(), BTreeMap::new());
    for (at, (.., change)) in made.iter().enumerate() {
        let now = match change {
            Change::Put(user) => Some(user.clone()),
            Change::Patch(id, update) => patch::apply(live.get(id), update),
            Change::Delete(_) => None,
        };
        match now {
            Some(user) => {
                if at >= point {
                    last.insert(user.id.clone(), user.clone());
                }
                live.insert(user.id.clone(), user);
            }
            None => drop(live.remove(change.user_id())),
        }
    }
    (live, last)
}

/// Asks the histories of two departments for those wanted users of the first, at a point, who are gone from both.
fn knows_the_last(made: &[(bool, Timestamp, Change)], point: usize) -> usize {
    let (live, last) = last_of_two(made, point);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut histories = Vec::new();
        let mut wanted = Vec::new();
        for (department, name) in [(false, "eng"), (true, "sales")] {
            let own: Vec<_> = made.iter().filter(|(of, ..)| *of == department).cloned().collect();
            let timed: Vec<_> = own.iter().map(|(_, time, change)| (*time, change.clone())).collect();
            let (place, points) = journal_of(name, &timed, &[4]).await;
            let at = made[..point].iter().filter(|(of, ..)| *of == department).count();
            let begin = State::at(place.clone(), None, points[at]).await.unwrap();
            if !department {
                let then: Vec<Change> = timed[..at].iter().map(|(_, change)| change.clone()).collect();
                wanted = model(&then);
            }
            let (timeline, from, to) = (place.timeline, points[at], points[timed.len()]);
            histories.push(LastKnown {
                place,
                spans: vec![Span { timeline, begin, begin_counts: department, from, to }],
                before: None,
            });
        }
        wanted.sort_by(|a, b| a.id.cmp(&b.id));
        let mut histories = Histories::new(&histories);
        let gone: Vec<&User> = wanted.iter().filter(|user| !live.contains_key(&user.id)).collect();
        for user in &gone {
            assert_eq!(histories.of(&user.id).await.unwrap().as_ref(), last.get(&user.id), "{}", user.id);
        }
        gone.len()
    })
}

#[test]
fn of_a_user_that_went_to_the_other_department_and_back_the_last_record_is_known() {
    let put = |n: u8, hash: &str| {
        let password_hash = PasswordHash::from_checked(format!("$argon2id${hash}"));
        Change::Put(User { password_hash, ..user(n.into()) })
    };
    let (here, there) = (false, true);
    let gone = || Change::Delete(user(1).id);
    let went = vec![(here, put(1, "a")), (here, put(1, "b")), (here, gone()), (there, put(1, "c")), (there, gone())];
    assert_eq!(knows_the_last(&of_two(went.clone()), 1), 1);
    let back = [went, vec![(here, put(1, "d")), (here, gone())]].concat();
    assert_eq!(knows_the_last(&of_two(back), 1), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn of_users_that_are_gone_the_histories_of_both_departments_know_the_last_record(
        changes in proptest::collection::vec((any::<bool>(), change()), 4..80),
        cut in any::<prop::sample::Index>(),
    ) {
        let made = of_two(changes);
        let point = cut.index(made.len() / 2 + 1);
        knows_the_last(&made, point);
    }

    #[test]
    fn by_default_no_restore_weakens_what_the_history_last_knew_of_anybody(
        changes in proptest::collection::vec(change(), 4..60),
        cuts in any::<[prop::sample::Index; 3]>(),
        gap in any::<bool>(),
    ) {
        let all = possible(changes);
        let mut cuts = cuts.map(|cut| cut.index(all.len() + 1));
        cuts.sort_unstable();
        let ([from, before, after], end) = (cuts, all.len());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (place, points) = journal(&all, &[5]).await;
            let state = |at: usize| State::at(place.clone(), None, points[at]);
            let (wanted, live) = (state(from).await.unwrap(), state(end).await.unwrap());
            let span = |begin: State, begin_counts, from: usize, to: usize| Span {
                timeline: place.timeline, begin, begin_counts, from: points[from], to: points[to],
            };
            let mut known = BTreeMap::new();
            let spans = if gap {
                know(&mut known, &all, from, before);
                know(&mut known, &all, after, end);
                vec![span(wanted.clone(), false, from, before), span(state(after).await.unwrap(), true, after, end)]
            } else {
                know(&mut known, &all, from, end);
                vec![span(wanted.clone(), false, from, end)]
            };
            let mut sides = Sides::of(wanted, live, request(), place.department.clone());
            sides.known = Some(LastKnown { place: place.clone(), spans, before: None });
            let (plan, changes) = plan(&sides, Timestamp::from_millis(1)).await.unwrap();
            let mut kept = 0;
            let then: BTreeMap<UserId, User> =
                model(&all[..from]).into_iter().map(|user| (user.id.clone(), user)).collect();
            for change in changes.unwrap() {
                let becomes = target(change.wanted.as_ref().unwrap(), change.base.as_ref(), &sides.request);
                let last = &known[&change.user_id];
                assert_eq!(&becomes.password_hash, &last.password_hash, "{}", change.user_id);
                assert_eq!(becomes.locked, last.locked, "{}", change.user_id);
                let point = &then[&change.user_id];
                kept += u64::from(point.password_hash != last.password_hash || point.locked != last.locked);
                if change.base.is_none() {
                    assert!(change.wanted.unwrap().version >= last.version);
                }
            }
            assert!(plan.security_kept >= kept, "{} {kept}", plan.security_kept);
        });
    }
}
