//! How long things wait: a plan for its application, and a safety backup for the undo of its restore.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::restoring::from;
use crate::harness::settings::Settings;
use crate::retention::{backups, deleted, id, pruning, set_policy};

/// A stack with users that prunes within seconds, with more keys of `[restore]`.
async fn stack(restore: &str) -> Stack {
    let stack = Stack::start(Settings { restore_extra: restore.to_owned(), ..pruning() }).await;
    stack.first_slot_done("default").await;
    stack.create_users("default", 40).await;
    stack
}

/// What the plan of retention says of a backup.
async fn decision(stack: &Stack, backup: &Value) -> Value {
    let shown = stack.client().get("/departments/default/retention?limit=1000").await.expect(200).json;
    let items = shown["items"].as_array().expect("have items");
    items.iter().find(|item| item["backup_id"] == *backup).cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_plan_that_nobody_applies_is_given_up_and_no_longer_keeps_what_it_reads() {
    let stack = stack("plan_lifetime = \"3s\"").await;
    let made = backups(&stack, 2).await;
    let planned = stack.plan(from(&made[0], json!({}))).await;
    let expires = planned.job["expires_at"].as_str().expect("expire").to_owned();
    assert!(expires.as_str() > planned.job["plan"]["computed_at"].as_str().expect("be computed"), "{}", planned.job);
    assert_eq!(planned.job["undo_until"], Value::Null);
    set_policy(&stack, json!({ "keep_last": 1 })).await;
    let ended = stack.ended(&planned.location, "cancelled").await;
    assert_eq!(ended["cause"]["code"], "plan_expired", "{ended}");
    assert!(ended["finished_at"].as_str() >= Some(expires.as_str()), "{ended}");
    assert_eq!(ended["expires_at"], Value::Null, "{ended}");
    stack.apply(&planned).await.expect_problem(409, "plan_expired");
    deleted(&stack, &id(&made[0])).await;
    // Its safety backup is not needed for an undo that takes nothing back.
    let safety = ended["safety_backup_id"].as_str().expect("have one").to_owned();
    backups(&stack, 1).await;
    deleted(&stack, &safety).await;
    let undo = stack.undone(&planned.location).await;
    assert_eq!(undo["progress"]["changes_applied"], 0, "{undo}");
}

#[tokio::test]
async fn a_plan_that_is_applied_in_time_is_carried_out() {
    let stack = stack("plan_lifetime = \"1m\"").await;
    let made = backups(&stack, 2).await;
    let planned = stack.plan(from(&made[0], json!({}))).await;
    let done = stack.carry_out(&planned).await;
    assert_eq!((&done["expires_at"], &done["state"]), (&Value::Null, &json!("complete")), "{done}");
}

#[tokio::test]
async fn a_restore_can_be_undone_though_retention_keeps_only_what_is_newer_and_the_plan_says_why() {
    let stack = stack("undo_lifetime = \"7d\"").await;
    let made = backups(&stack, 2).await;
    set_policy(&stack, json!({ "keep_last": 1 })).await;
    stack.change("default-00007", json!({ "name": "Changed" })).await;
    let restore = stack.restored(&made[1], json!({})).await;
    backups(&stack, 2).await;
    deleted(&stack, &id(&made[1])).await;
    let told = decision(&stack, &restore["safety_backup_id"]).await;
    assert_eq!((&told["reasons"], &told["pinned_by"]), (&json!(["undo"]), &restore["id"]), "{told}");
    assert_eq!(told["pinned_until"], restore["undo_until"], "{told} {restore}");
    let days = |text: &Value| text.as_str().and_then(|text| humantime::parse_rfc3339(text).ok()).expect("be a time");
    let life = days(&restore["undo_until"]).duration_since(days(&restore["finished_at"])).expect("be later");
    assert_eq!(life, Duration::from_hours(7 * 24));
    let safety = restore["safety_backup_id"].as_str().expect("have one");
    stack.client().delete(&format!("/backups/{safety}")).await.expect_problem(409, "backup_pinned");
    stack.undone(&format!("/restores/{}", id(&restore))).await;
    assert_eq!(stack.names("default").await["default-00007"], "Changed");
}

#[tokio::test]
async fn a_restore_whose_safety_backup_is_gone_says_that_its_undo_has_expired() {
    let stack = stack("undo_lifetime = \"1s\"").await;
    let made = backups(&stack, 1).await;
    stack.change("default-00007", json!({ "name": "Changed" })).await;
    set_policy(&stack, json!({ "keep_last": 1 })).await;
    let restore = stack.restored(&made[0], json!({})).await;
    backups(&stack, 2).await;
    let safety = restore["safety_backup_id"].as_str().expect("have one");
    deleted(&stack, safety).await;
    stack.undo(&format!("/restores/{}", id(&restore))).await.expect_problem(409, "undo_expired");
}
