//! What a restore does to records under `mode`, `credentials` and `locked`: the defaults never weaken security.

use std::collections::BTreeMap;

use mongodb::bson::Document;
use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::restoring::{OTHER_HASH, from};
use crate::harness::settings::Settings;

/// Ten users, backed up with `default-00003` locked.
async fn backed_up() -> (Stack, Value) {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 10).await;
    stack.change("default-00003", json!({ "locked": true })).await;
    let backup = stack.backup("default").await;
    (stack, backup)
}

fn hash(users: &BTreeMap<String, Document>, id: &str) -> String {
    users[id].get_str("password_hash").expect("have a hash").to_owned()
}

fn locked(users: &BTreeMap<String, Document>, id: &str) -> bool {
    users[id].get_bool("locked").expect("have a lock")
}

#[tokio::test]
async fn merge_brings_back_and_reverts_and_leaves_new_users_alone() {
    let (stack, backup) = backed_up().await;
    stack.delete("default-00001").await;
    stack.change("default-00002", json!({ "name": "Renamed" })).await;
    stack.create("default", "new", "A new one").await;
    let new = stack.documents("default").await["new"].clone();
    stack.restored(&backup, json!({})).await;
    let after = stack.documents("default").await;
    assert_eq!(after.len(), 11);
    assert_eq!(after["new"], new);
    assert_eq!(after["default-00002"].get_str("name").ok(), Some("User 00002 ü"));
}

#[tokio::test]
async fn after_an_exact_restore_a_new_backup_has_the_root_of_the_restored_one() {
    let (stack, backup) = backed_up().await;
    stack.delete("default-00001").await;
    stack.change("default-00002", json!({ "name": "Renamed", "password_hash": OTHER_HASH })).await;
    stack.change("default-00003", json!({ "locked": false })).await;
    stack.create("default", "new", "A new one").await;
    stack.restored(&backup, json!({ "mode": "exact", "credentials": "restore", "locked": "restore" })).await;
    assert!(!stack.documents("default").await.contains_key("new"));
    let again = stack.backup("default").await;
    assert_eq!((&again["root"], &again["records"]), (&backup["root"], &backup["records"]));
}

#[tokio::test]
async fn by_default_a_restore_neither_unlocks_nor_brings_an_older_hash_back() {
    let (stack, backup) = backed_up().await;
    stack.change("default-00001", json!({ "locked": true, "name": "Suspended" })).await;
    stack.change("default-00002", json!({ "password_hash": OTHER_HASH })).await;
    let before = stack.documents("default").await;
    let done = stack.restored(&backup, json!({ "mode": "exact" })).await;
    let after = stack.documents("default").await;
    assert!(locked(&after, "default-00001"));
    assert_eq!(after["default-00001"].get_str("name").ok(), Some("User 00001 ü"));
    assert_eq!(after["default-00002"], before["default-00002"], "only its hash differed, and that one stays");
    let plan = &done["plan"];
    assert_eq!(json!([plan["updates"], plan["unchanged"], plan["security_kept"]]), json!([1, 9, 2]));
}

#[tokio::test]
async fn credentials_restore_brings_the_hash_of_the_point_back_and_leaves_the_lock() {
    let (stack, backup) = backed_up().await;
    let was = hash(&stack.documents("default").await, "default-00002");
    stack.change("default-00002", json!({ "password_hash": OTHER_HASH, "locked": true })).await;
    stack.restored(&backup, json!({ "credentials": "restore" })).await;
    let after = stack.documents("default").await;
    assert_eq!(hash(&after, "default-00002"), was);
    assert!(locked(&after, "default-00002"));
}

#[tokio::test]
async fn locked_restore_makes_each_lock_as_it_was_and_unlock_locks_nobody_that_it_writes() {
    let (stack, backup) = backed_up().await;
    stack.change("default-00001", json!({ "locked": true })).await;
    stack.change("default-00003", json!({ "locked": false })).await;
    stack.restored(&backup, json!({ "locked": "restore" })).await;
    let after = stack.documents("default").await;
    assert!(!locked(&after, "default-00001") && locked(&after, "default-00003"));
    let done = stack.restored(&backup, json!({ "locked": "unlock" })).await;
    assert_eq!(done["plan"]["updates"], 1, "the locked one of equal chunks is found: {done}");
    assert!(!locked(&stack.documents("default").await, "default-00003"));
}

#[tokio::test]
async fn a_locked_user_that_was_deleted_comes_back_locked() {
    let (stack, backup) = backed_up().await;
    stack.delete("default-00003").await;
    stack.restored(&backup, json!({})).await;
    assert!(locked(&stack.documents("default").await, "default-00003"));
}

#[tokio::test]
async fn a_record_that_comes_back_keeps_created_at_and_gets_a_new_rev_version_and_updated_at() {
    let (stack, backup) = backed_up().await;
    let was = stack.documents("default").await["default-00003"].clone();
    stack.delete("default-00003").await;
    stack.change("default-00004", json!({ "name": "Four" })).await;
    stack.change("default-00004", json!({ "name": "Vier" })).await;
    let changed = stack.documents("default").await["default-00004"].clone();
    stack.restored(&backup, json!({})).await;
    let after = stack.documents("default").await;
    let (made, reverted) = (&after["default-00003"], &after["default-00004"]);
    assert_eq!(made.get("created_at"), was.get("created_at"));
    let version = |user: &Document| user.get_i64("version").expect("have a version");
    assert_eq!(version(made), version(&was) + 1);
    assert_eq!(version(reverted), version(&changed) + 1);
    for (is, was) in [(made, &was), (reverted, &changed)] {
        assert_ne!(is.get("rev"), was.get("rev"));
        assert!(is.get_datetime("updated_at").expect("be a time") > was.get_datetime("updated_at").expect("be a time"));
    }
}

#[tokio::test]
async fn the_plan_of_a_restore_that_changes_nothing_is_applied_and_complete() {
    let (stack, backup) = backed_up().await;
    let before = stack.documents("default").await;
    let planned = stack.plan(from(&backup, json!({ "mode": "exact" }))).await;
    let done = stack.carry_out(&planned).await;
    assert_eq!(done["plan"]["unchanged"], 10);
    assert_eq!(done["progress"]["batches"], 0);
    assert_eq!(stack.documents("default").await, before);
}

#[tokio::test]
async fn a_deleted_user_comes_back_with_the_hash_and_the_lock_that_were_last_known() {
    let (stack, backup) = backed_up().await;
    let then = stack.documents("default").await;
    stack.change("default-00001", json!({ "password_hash": OTHER_HASH })).await;
    stack.change("default-00002", json!({ "locked": true })).await;
    // Between two backups, so that only the journal knows.
    for id in ["default-00001", "default-00002", "default-00004"] {
        stack.delete(id).await;
    }
    stack.backup("default").await;
    let planned = stack.plan(from(&backup, json!({}))).await;
    let plan = &planned.job["plan"];
    assert_eq!(json!([plan["creates"], plan["security_kept"]]), json!([3, 2]), "{plan}");
    stack.carry_out(&planned).await;
    let after = stack.documents("default").await;
    assert_eq!(hash(&after, "default-00001"), OTHER_HASH);
    assert!(locked(&after, "default-00002") && !locked(&after, "default-00001"));
    assert_eq!(hash(&after, "default-00004"), hash(&then, "default-00004"));
    assert!(after["default-00001"].get_i64("version").ok() > Some(2), "the version goes on from the highest known");

    stack.delete("default-00001").await;
    stack.restored(&backup, json!({ "credentials": "restore", "locked": "restore" })).await;
    let after = stack.documents("default").await;
    assert_eq!(hash(&after, "default-00001"), hash(&then, "default-00001"), "whoever asks for the old hash gets it");
    assert!(!locked(&after, "default-00002"));
}
