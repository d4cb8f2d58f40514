//! What a range decides: writes and conflicts, change by change.

use super::super::plan::tests::{request, user};
use super::super::renames::order_renames;
use super::*;

fn rename(id: &str, from: &str, to: &str) -> PlannedChange {
    PlannedChange {
        user_id: id.parse().unwrap(),
        action: Action::Update,
        wanted: Some(user(id, to)),
        base: Some(user(id, from)),
        guard: Some(Rev::from_bits(1)),
        renumbered_from: None,
    }
}

fn range(changes: Vec<PlannedChange>, circle: bool) -> Range {
    Range {
        restore: "0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f".parse().unwrap(),
        department: DepartmentName::default_department(),
        request: request(),
        number: 0,
        pass: if circle { Pass::Renames } else { Pass::Records },
        key: None,
        circles: circle.then_some(0..changes.len()).into_iter().collect(),
        changes,
        done: 0,
        now: Timestamp::from_millis(9),
    }
}

fn state(users: &[User]) -> (HashMap<UserId, User>, HashMap<String, UserId>) {
    let live = users.iter().map(|u| (u.id.clone(), u.clone())).collect();
    let names = users.iter().map(|u| (u.name.as_str().to_owned(), u.id.clone())).collect();
    (live, names)
}

/// Applies writes one by one and insists that names stay unique at every step.
fn apply(users: &[User], writes: &[Write]) -> HashMap<UserId, String> {
    let mut names: HashMap<UserId, String> = users.iter().map(|u| (u.id.clone(), u.name.as_str().to_owned())).collect();
    for write in writes {
        match write {
            Write::Insert(u) | Write::Replace { user: u, .. } => {
                let taken = names.iter().any(|(id, name)| *id != u.id && name == u.name.as_str());
                assert!(!taken, "two users named {}", u.name);
                names.insert(u.id.clone(), u.name.as_str().to_owned());
            }
            Write::Delete { id, .. } => {
                names.remove(id);
            }
        }
    }
    names
}

#[test]
fn a_chain_of_renames_goes_from_its_free_end() {
    let users = [user("a", "one"), user("b", "two"), user("c", "three")];
    let renames = vec![rename("a", "one", "two"), rename("b", "two", "three"), rename("c", "three", "four")];
    let (live, names) = state(&users);
    let groups = order_renames(renames, &names);
    assert_eq!(groups.len(), 1);
    let decision = range(groups[0].changes.clone(), false).decide(&live, names);
    assert!(decision.conflicts.is_empty());
    let after = apply(&users, &decision.writes);
    assert_eq!(after[&"a".parse().unwrap()], "two");
    assert_eq!(after[&"c".parse().unwrap()], "four");
}

#[test]
fn a_circle_of_renames_goes_through_a_reserved_name() {
    let users = [user("a", "one"), user("b", "two"), user("c", "three")];
    let renames = vec![rename("a", "one", "two"), rename("b", "two", "three"), rename("c", "three", "one")];
    let (live, names) = state(&users);
    let groups = order_renames(renames, &names);
    assert!(groups.len() == 1 && groups[0].circle);
    let decision = range(groups[0].changes.clone(), true).decide(&live, names);
    let after = apply(&users, &decision.writes);
    assert_eq!(after[&"a".parse().unwrap()], "two");
    assert_eq!(after[&"b".parse().unwrap()], "three");
    assert_eq!(after[&"c".parse().unwrap()], "one");
}

#[test]
fn a_name_of_a_user_outside_the_restore_is_a_conflict() {
    let users = [user("a", "one"), user("x", "two")];
    let (live, names) = state(&users);
    let decision = range(vec![rename("a", "one", "two")], false).decide(&live, names);
    assert!(decision.writes.is_empty());
    assert_eq!(decision.conflicts[0].cause, ConflictCause::NameTaken);
}

#[test]
fn a_record_changed_after_the_plan_is_skipped_or_overwritten_as_asked() {
    let mut changed = user("a", "other");
    changed.rev = Rev::from_bits(99);
    let (live, names) = state(&[changed]);
    let mut asked = range(vec![rename("a", "one", "two")], false);
    let skipped = asked.decide(&live, names.clone());
    assert!(skipped.writes.is_empty());
    assert_eq!(skipped.conflicts[0].cause, ConflictCause::Changed);
    asked.request.on_conflict = OnConflict::Overwrite;
    let overwritten = asked.decide(&live, names);
    assert_eq!(overwritten.writes.len(), 1);
    assert!(overwritten.conflicts[0].overwritten);
}

#[test]
fn a_circle_of_which_a_user_changed_is_turned_only_with_overwrite_and_that_is_reported() {
    let mut users = [user("a", "one"), user("b", "two")];
    users[1].rev = Rev::from_bits(99);
    let renames = vec![rename("a", "one", "two"), rename("b", "two", "one")];
    for start in 0..2 {
        let mut changes = renames.clone();
        changes.rotate_left(start);
        let (live, names) = state(&users);
        let mut asked = range(changes, true);
        assert_eq!(asked.decide(&live, names.clone()), Decision::default());
        asked.request.on_conflict = OnConflict::Overwrite;
        let decision = asked.decide(&live, names);
        assert_eq!(decision.written(), 2);
        let after = apply(&users, &decision.writes);
        assert_eq!((after[&"a".parse().unwrap()].as_str(), after[&"b".parse().unwrap()].as_str()), ("two", "one"));
        let found: Vec<_> = decision.conflicts.iter().map(|c| (c.user_id.as_str(), c.overwritten)).collect();
        assert_eq!(found, [("b", true)]);
    }
}

#[test]
fn a_circle_whose_name_was_given_to_somebody_else_is_left_alone() {
    let users = [user("a", "one"), user("b", "four"), user("thief", "two")];
    let changes = vec![rename("a", "one", "two"), rename("b", "two", "one")];
    let (live, names) = state(&users);
    let mut asked = range(changes, true);
    asked.request.on_conflict = OnConflict::Overwrite;
    assert_eq!(asked.decide(&live, names), Decision::default());
}

#[test]
fn chains_and_circles_share_a_range() {
    let users = [user("a", "one"), user("b", "two"), user("c", "three"), user("d", "four"), user("e", "five")];
    let changes = vec![
        rename("c", "three", "free"),
        rename("a", "one", "two"),
        rename("b", "two", "one"),
        rename("d", "four", "five"),
        rename("e", "five", "four"),
    ];
    let mut asked = range(changes, true);
    asked.circles = vec![1..3, 3..5];
    let (live, names) = state(&users);
    let decision = asked.decide(&live, names);
    let after = apply(&users, &decision.writes);
    let names: Vec<&str> = ["a", "b", "c", "d", "e"].iter().map(|id| after[&id.parse().unwrap()].as_str()).collect();
    assert_eq!(names, ["two", "one", "free", "five", "four"]);
    assert_eq!(decision.written(), 5);
}

#[test]
fn a_range_that_is_done_already_writes_nothing() {
    let (live, names) = state(&[user("a", "two")]);
    let decision = range(vec![rename("a", "one", "two")], false).decide(&live, names);
    assert_eq!(decision, Decision::default());
}

#[test]
fn an_id_that_lives_in_another_department_is_a_conflict() {
    let mut elsewhere = user("a", "one");
    elsewhere.department = "sales".parse().unwrap();
    let (live, names) = state(&[elsewhere]);
    let decision = range(vec![rename("a", "one", "two")], false).decide(&live, names);
    assert_eq!(decision.conflicts[0].cause, ConflictCause::IdElsewhere);
}
