//! Names that moved between users: chains, circles, swaps beside creates and deletes, and names that others hold now.

use std::collections::BTreeMap;

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::restoring::{causes, from};
use crate::harness::settings::Settings;

/// A stack with these users (id, name) and a backup of them.
async fn backed_up(users: &[(&str, &str)], settings: Settings) -> (Stack, Value) {
    let stack = Stack::start(settings).await;
    for (id, name) in users {
        stack.create("default", id, name).await;
    }
    let backup = stack.backup("default").await;
    (stack, backup)
}

/// Gives these users these names, in an order that is always free.
async fn rename(stack: &Stack, names: &[(&str, &str)]) {
    for (id, _) in names {
        stack.change(id, json!({ "name": format!("aside {id}") })).await;
    }
    for (id, name) in names {
        stack.change(id, json!({ "name": name })).await;
    }
}

fn expected(names: &[(&str, &str)]) -> BTreeMap<String, String> {
    names.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect()
}

#[tokio::test]
async fn chains_and_circles_of_moved_names_beside_creates_and_deletes_all_come_back() {
    let users = [
        ("chain-1", "a"),
        ("chain-2", "b"),
        ("chain-3", "c"),
        ("pair-1", "d"),
        ("pair-2", "e"),
        ("three-1", "f"),
        ("three-2", "g"),
        ("three-3", "h"),
        ("deleted", "i"),
        ("mover", "j"),
        ("heir", "k"),
    ];
    let (stack, backup) = backed_up(&users, Settings { range_records: 2, ..Settings::default() }).await;
    rename(&stack, &[("chain-1", "b"), ("chain-2", "c"), ("chain-3", "free")]).await;
    rename(&stack, &[("pair-1", "e"), ("pair-2", "d")]).await;
    rename(&stack, &[("three-1", "g"), ("three-2", "h"), ("three-3", "f")]).await;
    // Who comes back finds the name with a user that gives it up; who moves back finds it with one that is removed.
    stack.delete("deleted").await;
    rename(&stack, &[("mover", "i")]).await;
    rename(&stack, &[("heir", "elsewhere")]).await;
    stack.create("default", "new", "k").await;
    let done = stack.restored(&backup, json!({ "mode": "exact" })).await;
    assert_eq!(done["progress"]["conflicts"], 0, "{done}");
    assert_eq!(done["progress"]["changes_applied"], done["progress"]["changes_total"], "{done}");
    assert_eq!(stack.names("default").await, expected(&users));
    let again = stack.plan(from(&backup, json!({ "mode": "exact" }))).await;
    assert_eq!(again.job["plan"]["unchanged"], users.len());
}

#[tokio::test]
async fn a_circle_longer_than_a_range_is_turned_back_in_one_piece() {
    let ids: Vec<String> = (0..9).map(|n| format!("u{n}")).collect();
    let users: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
    let (stack, backup) = backed_up(&users, Settings { range_records: 2, ..Settings::default() }).await;
    let turned: Vec<(&str, &str)> = (0..9).map(|n| (ids[n].as_str(), ids[(n + 1) % 9].as_str())).collect();
    rename(&stack, &turned).await;
    let done = stack.restored(&backup, json!({})).await;
    assert_eq!(done["progress"]["conflicts"], 0, "{done}");
    assert_eq!(stack.names("default").await, expected(&users));
}

#[tokio::test]
async fn a_circle_of_more_users_than_a_command_writes_is_turned_back_in_one_transaction() {
    const COUNT: usize = 1500;
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", COUNT).await;
    let backup = stack.backup("default").await;
    let before = stack.names("default").await;
    // In the database itself, since so many requests would take long.
    let users = stack.database().await.collection::<Document>("users");
    for aside in ["aside", "User"] {
        for n in 0..COUNT {
            let id = doc! { "department": "default", "id": format!("default-{n:05}") };
            let name = format!("{aside} {:05} ü", (n + 1) % COUNT);
            users.update_one(doc! { "_id": id }, doc! { "$set": { "name": name } }).await.expect("rename");
        }
    }
    let done = stack.restored(&backup, json!({})).await;
    assert_eq!(done["progress"]["changes_applied"], COUNT, "{done}");
    assert_eq!(stack.names("default").await, before);
    let batches = stack.database().await.collection::<Document>("restore_batches");
    let circle = batches.find_one(doc! { "_id.batch": 0_i64 }).await.expect("find").expect("have a range");
    assert_eq!(circle.get_array("records").map(Vec::len).ok(), Some(COUNT + 1), "one user steps aside");
}

#[tokio::test]
async fn a_name_taken_by_a_new_user_is_a_conflict_for_whoever_wants_it_back() {
    let (stack, backup) = backed_up(&[("a", "Ada"), ("b", "Bob"), ("c", "Cyd")], Settings::default()).await;
    stack.delete("a").await;
    stack.change("b", json!({ "name": "Bobby" })).await;
    stack.change("c", json!({ "locked": true, "name": "Cydney" })).await;
    let planned = stack.plan(from(&backup, json!({ "on_conflict": "overwrite" }))).await;
    // Taken after the plan, as if while it is applied.
    stack.create("default", "thief-1", "Ada").await;
    stack.create("default", "thief-2", "Bob").await;
    let done = stack.carry_out(&planned).await;
    let conflicts = stack.pages(&format!("{}/conflicts", planned.location), 1).await;
    let taken = |id: &str| (id.to_owned(), "name_taken".to_owned(), false);
    assert_eq!(causes(&conflicts), [taken("a"), taken("b")]);
    assert_eq!(done["progress"]["changes_applied"], 1, "{done}");
    let names = [("b", "Bobby"), ("c", "Cyd"), ("thief-1", "Ada"), ("thief-2", "Bob")];
    assert_eq!(stack.names("default").await, expected(&names));
}

#[tokio::test]
async fn a_moved_name_that_was_changed_again_since_the_plan_is_overwritten_and_reported_once() {
    let users = [("a", "1"), ("b", "2"), ("c", "3"), ("x", "4"), ("y", "5")];
    let (stack, backup) = backed_up(&users, Settings::default()).await;
    rename(&stack, &[("a", "2"), ("b", "3"), ("c", "free")]).await;
    rename(&stack, &[("x", "5"), ("y", "4")]).await;
    let planned = stack.plan(from(&backup, json!({ "on_conflict": "overwrite" }))).await;
    stack.change("b", json!({ "locked": true })).await;
    stack.change("y", json!({ "locked": true })).await;
    stack.carry_out(&planned).await;
    assert_eq!(stack.names("default").await, expected(&users));
    let conflicts = stack.pages(&format!("{}/conflicts", planned.location), 10).await;
    let changed = |id: &str| (id.to_owned(), "changed".to_owned(), true);
    let mut found = causes(&conflicts);
    found.sort();
    assert_eq!(found, [changed("b"), changed("y")]);
}

#[tokio::test]
async fn a_circle_of_which_one_user_was_changed_since_the_plan_stays_and_is_reported() {
    let (stack, backup) = backed_up(&[("x", "4"), ("y", "5")], Settings::default()).await;
    rename(&stack, &[("x", "5"), ("y", "4")]).await;
    let planned = stack.plan(from(&backup, json!({}))).await;
    stack.change("y", json!({ "locked": true })).await;
    let before = stack.documents("default").await;
    stack.carry_out(&planned).await;
    assert_eq!(stack.documents("default").await, before);
    let conflicts = stack.pages(&format!("{}/conflicts", planned.location), 10).await;
    let conflict = |id: &str, cause: &str| (id.to_owned(), cause.to_owned(), false);
    assert_eq!(causes(&conflicts), [conflict("x", "name_taken"), conflict("y", "changed")]);
}

#[tokio::test]
async fn an_id_that_lives_in_another_department_now_is_a_conflict_and_stays_there() {
    let (stack, backup) = backed_up(&[("a", "Ada"), ("b", "Bob"), ("c", "Cyd")], Settings::default()).await;
    stack.department("sales").await;
    for id in ["a", "b"] {
        stack.delete(id).await;
    }
    stack.create("sales", "a", "Ada").await;
    stack.change("c", json!({ "name": "Bob" })).await;
    let there = stack.documents("sales").await;
    let done = stack.restored(&backup, json!({ "on_conflict": "overwrite" })).await;
    assert_eq!(stack.documents("sales").await, there);
    assert_eq!(stack.names("default").await, expected(&[("b", "Bob"), ("c", "Cyd")]));
    let location = format!("/restores/{}/conflicts", done["id"].as_str().expect("have an id"));
    let conflicts = stack.pages(&location, 10).await;
    assert_eq!(causes(&conflicts), [("a".to_owned(), "id_elsewhere".to_owned(), false)]);
}

#[tokio::test]
async fn more_moved_names_than_a_restore_may_move_end_it_before_anything_is_changed() {
    let users = [("a", "1"), ("b", "2"), ("c", "3"), ("gone", "4")];
    let settings = Settings { restore_extra: "moved_names_max = 2".to_owned(), ..Settings::default() };
    let (stack, backup) = backed_up(&users, settings).await;
    rename(&stack, &[("a", "2"), ("b", "3"), ("c", "1")]).await;
    stack.create("default", "new", "A new one").await;
    stack.delete("gone").await;
    let before = stack.documents("default").await;
    let body = from(&backup, json!({ "mode": "exact", "apply": true }));
    let location = stack.restore(body).await.header("location").to_owned();
    let failed = stack.ended(&location, "failed").await;
    assert_eq!(failed["cause"]["code"], "too_many_moved_names", "{failed}");
    assert_eq!(failed["progress"]["changes_applied"], 0, "{failed}");
    assert_eq!(stack.documents("default").await, before);
    stack.restored(&backup, json!({ "mode": "exact", "users": ["gone", "new"] })).await;
}
