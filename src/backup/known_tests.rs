//! Tests of what the history last knew: by default no plan weakens what any user, deleted ones included, was last known with.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::known::{LastKnown, Span};
use super::plan::plan;
use super::sides::Sides;
use super::state::State;
use super::state_tests::{journal, model, possible};
use super::testing::user;
use crate::domain::clock::Timestamp;
use crate::domain::history::Change;
use crate::domain::ids::UserId;
use crate::domain::plan::target;
use crate::domain::restore::{CredentialsPolicy, LockedPolicy, OnConflict, RestoreMode, RestoreRequest, RestoreSource};
use crate::domain::user::{PasswordHash, User};

fn change() -> impl Strategy<Value = Change> {
    let locks = r#"{"updateDescription":{"updatedFields":{"locked":true}}}"#;
    prop_oneof![
        4 => (0_u32..12, 0_u8..4, any::<bool>(), 1_i64..50).prop_map(|(n, hash, locked, version)| {
            let password_hash = PasswordHash::from_checked(format!("$argon2id${hash}"));
            Change::Put(User { password_hash, locked, version, ..user(n) })
        }),
        3 => (0_u32..12).prop_map(|n| Change::Delete(user(n).id)),
        1 => (0_u32..12).prop_map(move |n| Change::Patch(user(n).id, locks.to_owned())),
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

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
            sides.known = Some(LastKnown { place: place.clone(), spans });
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
