//! Restores into another department weaken nobody: a copy gets the newest hash and the lock that its user has, wherever the
//! user lives, or was last known with, in the department that it comes from and in the one that it goes to.

use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::records::hash_number;
use crate::harness::restoring::{OTHER_HASH as OLD, causes, from};
use crate::harness::settings::Settings;

/// Users of `default` with an old hash and no lock, in a backup, with `sales` beside it.
async fn backed_up(ids: &[&str]) -> (Stack, Value) {
    let stack = Stack::start(Settings { range_records: 2, ..Settings::default() }).await;
    stack.department("sales").await;
    for id in ids {
        stack.create("default", id, &format!("User {id}")).await;
    }
    let backup = stack.backup("default").await;
    (stack, backup)
}

/// The hash and the lock of the user with that name in `sales`.
async fn copy(stack: &Stack, id: &str) -> (String, bool) {
    let records = stack.records("sales").await;
    let user = records.values().find(|user| user.name.as_str() == format!("User {id}")).expect("be copied");
    (user.password_hash.expose().to_owned(), user.locked)
}

#[tokio::test]
async fn a_copy_gets_the_newest_hash_and_the_lock_of_its_user_deleted_users_included() {
    let ids = ["changed", "locked", "gone-changed", "gone-locked", "moved", "same"];
    let (stack, backup) = backed_up(&ids).await;
    let new = hash_number;
    stack.change("changed", json!({ "password_hash": new(1) })).await;
    stack.change("locked", json!({ "locked": true })).await;
    stack.change("gone-changed", json!({ "password_hash": new(2) })).await;
    stack.change("gone-locked", json!({ "locked": true })).await;
    for id in ["gone-changed", "gone-locked", "moved"] {
        stack.delete(id).await;
    }
    // One that went on in the other department and is gone from there, too.
    stack.restored(&backup, json!({ "into": "sales", "users": ["moved"] })).await;
    stack.change("moved", json!({ "password_hash": new(3), "locked": true })).await;
    stack.delete("moved").await;

    let planned = stack.plan(from(&backup, json!({ "into": "sales" }))).await;
    let plan = &planned.job["plan"];
    assert_eq!(json!([plan["creates"], plan["renumbered"], plan["security_kept"]]), json!([6, 3, 5]), "{plan}");
    stack.carry_out(&planned).await;
    let old = || OLD.to_owned();
    for (id, expected) in [
        ("changed", (new(1), false)),
        ("locked", (old(), true)),
        ("gone-changed", (new(2), false)),
        ("gone-locked", (old(), true)),
        ("moved", (new(3), true)),
        ("same", (old(), false)),
    ] {
        assert_eq!(copy(&stack, id).await, expected, "{id}");
    }
    let location = &planned.location;
    stack.undone(location).await;
    // Whoever asks for what the point has gets that.
    stack.restored(&backup, json!({ "into": "sales", "credentials": "restore", "locked": "restore" })).await;
    for id in ids {
        assert_eq!(copy(&stack, id).await, (old(), false), "{id}");
    }
}

#[tokio::test]
async fn a_user_that_changes_after_the_plan_is_a_conflict_and_is_not_copied_as_it_was() {
    let (stack, backup) = backed_up(&["a", "b", "c", "d"]).await;
    let planned = stack.plan(from(&backup, json!({ "into": "sales" }))).await;
    stack.change("a", json!({ "locked": true })).await;
    stack.change("b", json!({ "password_hash": hash_number(1) })).await;
    stack.delete("c").await;
    let done = stack.carry_out(&planned).await;
    assert_eq!(json!([done["progress"]["changes_applied"], done["progress"]["conflicts"]]), json!([1, 3]), "{done}");
    let conflicts = causes(&stack.pages(&format!("{}/conflicts", planned.location), 10).await);
    let told: Vec<&str> = conflicts.iter().map(|(_, cause, _)| cause.as_str()).collect();
    assert_eq!(told, ["changed", "changed", "gone"]);
    assert_eq!(copy(&stack, "d").await, (OLD.to_owned(), false));
    assert_eq!(stack.records("sales").await.len(), 1);
}
