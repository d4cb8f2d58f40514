//! Property tests of restores and their undo over a model: plan and apply agree, and an undo is exact.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::clock::Timestamp;
use super::ids::{DepartmentName, UserId};
use super::plan::tests::{request, user};
use super::plan::{Compared, PlannedChange, compare, target};
use super::range::{Decision, Range, Write};
use super::restore::{
    Action, CredentialsPolicy, LockedPolicy, OnConflict, Pass, RestoreMode, RestoreRequest, RestoreSource,
};
use super::undo::{Written, taken_back};
use super::user::{PasswordHash, Rev, User, UserName};

type Records = BTreeMap<UserId, User>;

/// Records of a few ids, each with a name that no other has.
fn records() -> impl Strategy<Value = Records> {
    let record = (any::<bool>(), 0_u8..3, 0_u8..3, any::<bool>(), any::<u64>());
    prop::collection::vec(record, 1..12).prop_map(|records| {
        let each = records.into_iter().enumerate().filter(|(_, (present, ..))| *present);
        each.map(|(n, (_, name, hash, locked, rev))| {
            let id = format!("u{n:02}");
            let record = User {
                name: UserName::from_stored(format!("{id} {name}")),
                password_hash: PasswordHash::from_checked(format!("hash {hash}")),
                locked,
                rev: Rev::from_bits(rev),
                ..user(&id, "x")
            };
            (record.id.clone(), record)
        })
        .collect()
    })
}

fn policies() -> impl Strategy<Value = RestoreRequest> {
    let modes = prop_oneof![Just(RestoreMode::Merge), Just(RestoreMode::Exact)];
    let credentials = prop_oneof![Just(CredentialsPolicy::Keep), Just(CredentialsPolicy::Restore)];
    let locked = prop_oneof![Just(LockedPolicy::Keep), Just(LockedPolicy::Restore), Just(LockedPolicy::Unlock)];
    let conflicts = prop_oneof![Just(OnConflict::Skip), Just(OnConflict::Overwrite)];
    (modes, credentials, locked, conflicts).prop_map(|(mode, credentials, locked, on_conflict)| RestoreRequest {
        mode,
        credentials,
        locked,
        on_conflict,
        ..request()
    })
}

fn planned(wanted: &Records, live: &Records, request: &RestoreRequest) -> Vec<PlannedChange> {
    let mut ids: Vec<&UserId> = wanted.keys().chain(live.keys()).collect();
    ids.sort_unstable();
    ids.dedup();
    let compared = ids.into_iter().map(|id| compare(wanted.get(id).cloned(), live.get(id).cloned(), request));
    let change = |compared| match compared {
        Compared::Change { change, .. } => Some(*change),
        _ => None,
    };
    compared.filter_map(change).collect()
}

fn decide(changes: &[PlannedChange], live: &Records, request: &RestoreRequest) -> Decision {
    let range = Range {
        restore: "0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f".parse().unwrap(),
        department: DepartmentName::default_department(),
        request: request.clone(),
        number: 0,
        pass: Pass::Records,
        key: None,
        changes: changes.to_vec(),
        circles: Vec::new(),
        done: 0,
        now: Timestamp::from_millis(9),
    };
    let by_id: HashMap<UserId, User> = live.clone().into_iter().collect();
    let names = live.values().map(|user| (user.name.as_str().to_owned(), user.id.clone())).collect();
    range.decide(&by_id, names)
}

/// Makes the writes, and tells of each what the range keeps of it.
fn apply(live: &mut Records, decision: &Decision) -> Vec<Written> {
    let mut overwritten: HashMap<&UserId, &User> = decision.overwritten.iter().map(|user| (&user.id, user)).collect();
    let mut all = Vec::new();
    for write in &decision.writes {
        let (id, before, after) = match write {
            Write::Insert(user) => (&user.id, None, Some(user.rev)),
            Write::Replace { user, guard } => (&user.id, Some(*guard), Some(user.rev)),
            Write::Delete { id, guard } => (id, Some(*guard), None),
        };
        assert_eq!(live.get(id).map(|user| user.rev), before, "the guard holds");
        match write {
            Write::Insert(user) | Write::Replace { user, .. } => live.insert(id.clone(), user.clone()),
            Write::Delete { .. } => live.remove(id),
        };
        let value = overwritten.remove(id).cloned();
        all.push(Written { user_id: id.clone(), before, after, value });
    }
    all
}

fn same(one: Option<&User>, other: Option<&User>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.same_content(other),
        (None, None) => true,
        _ => false,
    }
}

proptest! {
    #[test]
    fn without_other_writers_what_is_applied_is_what_was_planned(
        wanted in records(), live in records(), request in policies(),
    ) {
        let changes = planned(&wanted, &live, &request);
        let mut after = live.clone();
        let decision = decide(&changes, &live, &request);
        prop_assert!(decision.conflicts.is_empty() && decision.overwritten.is_empty());
        prop_assert_eq!(apply(&mut after, &decision).len(), changes.len());
        for change in &changes {
            let becomes = change.wanted.as_ref().map(|wanted| target(wanted, change.base.as_ref(), &request));
            prop_assert!(same(after.get(&change.user_id), becomes.as_ref()));
        }
        prop_assert_eq!(planned(&wanted, &after, &request), vec![], "a second plan has nothing left to do");
    }

    #[test]
    fn an_undo_is_exact_whatever_was_restored_and_whoever_wrote_in_between(
        wanted in records(), planned_from in records(), restored_over in records(), since in records(),
        request in policies(), meddled in any::<bool>(), changed_since in any::<bool>(),
    ) {
        let changes = planned(&wanted, &planned_from, &request);
        let before = if meddled { restored_over } else { planned_from.clone() };
        let mut live = before.clone();
        let written = apply(&mut live, &decide(&changes, &before, &request));
        let untouched = live.clone();
        if changed_since {
            // Somebody gives the first half of them other records.
            for (id, user) in since.into_iter().take(6) {
                live.insert(id, User { rev: Rev::random(), ..user });
            }
        }
        // The value before is in the state that the plan was made from, or kept with the range.
        let value = |written: &Written| {
            let rev = written.before?;
            let known = [written.value.as_ref(), planned_from.get(&written.user_id)];
            Some(known.into_iter().flatten().find(|user| user.rev == rev).expect("know the value").clone())
        };
        let back: Vec<PlannedChange> = written
            .iter()
            .filter_map(|written| taken_back(written, value(written), live.get(&written.user_id).cloned()))
            .collect();
        let undo = RestoreRequest::everything(RestoreSource::Undo("0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f".parse().unwrap()));
        let mut undone = live.clone();
        let decision = decide(&back, &live, &undo);
        apply(&mut undone, &decision);
        for (id, user) in &live {
            let changed = untouched.get(id) != Some(user);
            let wrote = written.iter().any(|written| written.user_id == *id);
            let expected = if changed || !wrote { Some(user) } else { before.get(id) };
            prop_assert!(same(undone.get(id), expected), "{id}: {user:?} {expected:?}");
        }
        if !changed_since {
            prop_assert!(before.keys().eq(undone.keys()));
            prop_assert!(decision.conflicts.is_empty(), "{:?}", decision.conflicts);
        }
        prop_assert_eq!(decision.conflicts.len() as u64, back.iter().filter(|change| {
            change.meets_conflict() && !(change.action == Action::Delete && change.base.is_none())
        }).count() as u64);
    }
}
