//! Trouble with MongoDB in the middle of a restore delays it and does not fail it: conflicts of transactions that last
//! for seconds, a snapshot that is too old, a wish to stop while the plan waits.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::harness::restoring::from;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

/// What the server says of a statement that met another transaction.
const WRITE_CONFLICT: i32 = 112;
/// What the server says of a snapshot that it no longer has.
const SNAPSHOT_TOO_OLD: i32 = 239;

/// Ten users of which two were deleted since the backup, on a MongoDB of their own.
async fn changed_department() -> (Stack, Value) {
    let stack = Stack::start(Settings { own_mongod: true, range_records: 2, ..Settings::default() }).await;
    stack.create_users("default", 10).await;
    let backup = stack.backup("default").await;
    stack.delete("default-00001").await;
    stack.delete("default-00007").await;
    (stack, backup)
}

/// Makes a kind of statement on a collection fail, or wait; returns how often it did so far.
async fn fail(stack: &Stack, mode: Document, collection: &str, mut data: Document) -> i32 {
    data.insert("namespace", format!("{}.{collection}", stack.place.database));
    data.insert("appName", "r1");
    let set = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
    admin(stack, set).await.get("count").and_then(mongodb::bson::Bson::as_i32).unwrap_or(0)
}

async fn admin(stack: &Stack, command: Document) -> Document {
    stack.database().await.client().database("admin").run_command(command).await.expect("run on admin")
}

#[tokio::test]
async fn conflicts_of_transactions_for_seconds_delay_a_restore_and_do_not_fail_it() {
    let (stack, backup) = changed_department().await;
    let planned = stack.plan(from(&backup, json!({}))).await;
    // Far more than the tries of one transaction.
    let always = doc! { "failCommands": ["findAndModify"], "errorCode": WRITE_CONFLICT };
    let before = fail(&stack, doc! { "times": 40 }, "fences", always).await;
    stack.apply(&planned).await.expect(202);
    let wait = doc! { "waitForFailPoint": "failCommand", "timesEntered": before + 30, "maxTimeMS": 60_000 };
    admin(&stack, wait).await;
    let meanwhile = stack.client().get(&planned.location).await.expect(200).json;
    assert!(meanwhile["state"] == "planned" || meanwhile["state"] == "applying", "{meanwhile}");
    assert_eq!(stack.documents("default").await.len(), 8);
    let done = stack.ended(&planned.location, "complete").await;
    assert_eq!(done["progress"]["changes_applied"], 2, "{done}");
    assert_eq!(stack.documents("default").await.len(), 10);
}

#[tokio::test]
async fn a_range_that_meets_others_for_seconds_is_applied_once_when_they_are_gone() {
    let (stack, backup) = changed_department().await;
    stack.change("default-00002", json!({ "name": "Two" })).await;
    let planned = stack.plan(from(&backup, json!({}))).await;
    let always = doc! { "failCommands": ["update", "insert"], "errorCode": WRITE_CONFLICT };
    let before = fail(&stack, doc! { "times": 24 }, "users", always).await;
    stack.apply(&planned).await.expect(202);
    let wait = doc! { "waitForFailPoint": "failCommand", "timesEntered": before + 20, "maxTimeMS": 60_000 };
    admin(&stack, wait).await;
    let done = stack.ended(&planned.location, "complete").await;
    let progress = &done["progress"];
    assert_eq!(json!([progress["changes_applied"], progress["conflicts"], progress["batches"]]), json!([3, 0, 2]));
    assert_eq!(stack.names("default").await["default-00002"], "User 00002 ü");
}

#[tokio::test]
async fn a_scan_that_outlasts_the_snapshot_is_begun_again_and_the_restore_goes_on() {
    let (stack, backup) = changed_department().await;
    let too_old = doc! { "failCommands": ["find"], "errorCode": SNAPSHOT_TOO_OLD };
    fail(&stack, doc! { "times": 2 }, "users", too_old).await;
    let done = stack.restored(&backup, json!({})).await;
    assert_eq!(done["progress"]["changes_applied"], 2, "{done}");
    let safety = format!("/backups/{}", done["safety_backup_id"].as_str().expect("have one"));
    assert_eq!(stack.client().get(&safety).await.expect(200).json["state"], "complete");
}

#[tokio::test]
async fn a_department_that_is_deleted_while_a_range_is_written_gets_no_user() {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    stack.department("sales").await;
    stack.create_users("sales", 3).await;
    let backup = stack.backup("sales").await;
    for n in 0..3 {
        stack.delete(&format!("sales-{n:05}")).await;
    }
    let planned = stack.plan(from(&backup, json!({}))).await;
    let held = doc! { "failCommands": ["insert"], "blockConnection": true, "blockTimeMS": 2000 };
    let before = fail(&stack, doc! { "times": 1 }, "users", held).await;
    stack.apply(&planned).await.expect(202);
    let wait = doc! { "waitForFailPoint": "failCommand", "timesEntered": before + 1, "maxTimeMS": 60_000 };
    admin(&stack, wait).await;
    // The transaction of the range has seen the department, and the handler has seen no user.
    stack.client().delete("/departments/sales").await.expect(204);
    let failed = stack.ended(&planned.location, "failed").await;
    assert_eq!(failed["cause"]["code"], "department_deleted", "{failed}");
    assert_eq!(stack.documents("sales").await.len(), 0);
}

#[tokio::test]
async fn a_restore_that_is_cancelled_while_it_is_planned_ends_and_changes_nothing() {
    let (stack, backup) = changed_department().await;
    // The leader cannot take the safety backup up for a while.
    let held = doc! { "failCommands": ["findAndModify"], "blockConnection": true, "blockTimeMS": 4000 };
    let before = fail(&stack, doc! { "times": 1 }, "backups", held).await;
    let location = stack.restore(from(&backup, json!({ "apply": true }))).await.header("location").to_owned();
    let wait = doc! { "waitForFailPoint": "failCommand", "timesEntered": before + 1, "maxTimeMS": 60_000 };
    admin(&stack, wait).await;
    let job = stack.client().get(&location).await.expect(200).json;
    assert_eq!(job["state"], "planning", "{job}");
    stack.cancel(&location).await.expect(202);
    let ended = stack.ended(&location, "cancelled").await;
    assert_eq!((&ended["plan"], &ended["progress"]["batches"]), (&Value::Null, &json!(0)), "{ended}");
    // The safety backup goes on by itself, and nothing comes after it.
    let safety = format!("/backups/{}", ended["safety_backup_id"].as_str().expect("have one"));
    eventually("the safety backup is complete", Duration::from_mins(1), async || {
        let backup = stack.client().get(&safety).await.expect(200).json;
        (backup["state"] == "complete").then_some(())
    })
    .await;
    stack.backup("default").await;
    assert_eq!(stack.documents("default").await.len(), 8);
}
