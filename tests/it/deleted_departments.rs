//! What becomes of a deleted department: its history stays for its time, and then all of it goes, everywhere.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;
use crate::harness::{Stack, eventually};
use crate::retention::{id, objects, pruning};

const WITHIN: Duration = Duration::from_mins(1);

/// A stack in which a deleted department is left alone for so long.
async fn stack(lifetime: &str, settings: Settings) -> Stack {
    let backup = format!("{}, deleted_lifetime = \"{lifetime}\"", pruning().backup);
    let restore_extra = "undo_lifetime = \"1s\"".to_owned();
    Stack::start(Settings { chunk_records: 16, backup, restore_extra, ..settings }).await
}

/// Makes `sales` with a policy that keeps one backup a year, or none by its age, and gives a backup of users in it, who are
/// gone after that.
async fn department(stack: &Stack, yearly: u32) -> Value {
    let retention = json!({ "keep_within": "1s", "keep_last": 3, "keep_hourly": 0, "keep_daily": 0, "keep_weekly": 0,
        "keep_monthly": 0, "keep_yearly": yearly });
    stack.client().put("/departments/sales", json!({ "policy": { "retention": retention } })).await.expect(201);
    stack.leader_of("sales").await;
    stack.create_users("sales", 20).await;
    let backup = stack.backup("sales").await;
    let backup = present_everywhere(stack, &backup).await;
    // What a restore leaves in MongoDB goes, too.
    stack.change("sales-00001", json!({ "name": "Changed" })).await;
    stack.restored(&backup, json!({})).await;
    for n in 0..20 {
        stack.delete(&format!("sales-{n:05}")).await;
    }
    backup
}

async fn delete_department(stack: &Stack) {
    stack.client().delete("/departments/sales").await.expect(204);
}

/// The objects of `sales` on a target.
fn left_on(stack: &Stack, target: &str) -> Vec<String> {
    objects(stack, target).into_iter().filter(|path| path.starts_with("departments/sales/")).collect()
}

/// How many documents of `sales` a collection has.
async fn documents(stack: &Stack, collection: &str) -> u64 {
    let filter = doc! { "$or": [{ "_id": "sales" }, { "_id.department": "sales" }] };
    let found = stack.database().await.collection::<Document>(collection);
    found.count_documents(filter).await.expect("count the documents")
}

async fn forgotten(stack: &Stack) {
    eventually("the department is forgotten", WITHIN, async || {
        (documents(stack, "departments").await == 0).then_some(())
    })
    .await;
}

async fn is_led(stack: &Stack) -> bool {
    let cluster = stack.client().get("/cluster").await.expect(200).json;
    cluster.to_string().contains("\"sales\"")
}

#[tokio::test]
async fn when_its_time_is_over_everything_of_a_deleted_department_goes_and_a_new_one_goes_on_with_its_sequence() {
    let stack = stack("1s", Settings::default()).await;
    let backup = department(&stack, 0).await;
    delete_department(&stack).await;
    forgotten(&stack).await;
    for target in ["t1", "t2"] {
        assert_eq!(left_on(&stack, target), Vec::<String>::new(), "{target}");
    }
    for collection in ["backups", "restores", "restore_batches"] {
        assert_eq!(documents(&stack, collection).await, 0, "{collection}");
    }
    stack.client().get(&format!("/backups/{}", id(&backup))).await.expect_problem(404, "not_found");
    stack.client().get("/departments/sales/retention").await.expect_problem(404, "not_found");
    eventually("nobody leads it", WITHIN, async || (!is_led(&stack).await).then_some(())).await;

    stack.client().put("/departments/sales", json!({})).await.expect(201);
    stack.leader_of("sales").await;
    stack.create_users("sales", 5).await;
    let wanted = stack.records("sales").await;
    let backup = stack.backup("sales").await;
    assert!(backup["sequence"].as_i64() > Some(40), "it goes on with its sequence: {backup}");
    present_everywhere(&stack, &backup).await;
    for n in 0..5 {
        stack.delete(&format!("sales-{n:05}")).await;
    }
    stack.restored(&backup, json!({})).await;
    crate::harness::records::assert_same_content(&wanted, &stack.records("sales").await);
    let verified =
        stack.client().send(Method::POST, &format!("/backups/{}/verify", id(&backup)), &[], None).await.expect(200);
    assert_eq!(verified.json["whole"], true, "{}", verified.text);
}

#[tokio::test]
async fn until_its_time_is_over_a_department_that_was_deleted_by_mistake_is_made_again_and_restored() {
    let stack = stack("1h", Settings::default()).await;
    let backup = department(&stack, 0).await;
    delete_department(&stack).await;
    let retention = async || stack.client().get("/departments/sales/retention").await.expect(200).json;
    let time = |shown: &Value| shown["now"].as_str().and_then(|text| humantime::parse_rfc3339(text).ok());
    let deleted_at = time(&retention().await).expect("have a time");
    // Longer than keep_within, in the department's own time, and several looks of its leader.
    let shown = eventually("its time has gone on", WITHIN, async || {
        let shown = retention().await;
        (time(&shown)? > deleted_at + Duration::from_secs(4)).then_some(shown)
    })
    .await;
    assert!(shown["ends_from"].as_str() > shown["now"].as_str(), "{shown}");
    assert_eq!(shown["dropped"], 0, "{shown}");
    stack.client().get("/departments/sales").await.expect_problem(404, "not_found");
    stack.client().put("/departments/sales", json!({})).await.expect(201);
    let shown = stack.client().get("/departments/sales/retention").await.expect(200).json;
    assert_eq!(shown["ends_from"], Value::Null, "{shown}");
    stack.restored(&backup, json!({})).await;
    assert_eq!(stack.records("sales").await.len(), 20);
}

#[tokio::test]
async fn what_keeps_a_deleted_department_is_shown_and_it_goes_when_nothing_does() {
    let stack = stack("1s", Settings::default()).await;
    let backup = department(&stack, 0).await;
    let path = format!("/backups/{}", id(&backup));
    stack.client().send(Method::POST, &format!("{path}/hold"), &[], None).await.expect(200);
    delete_department(&stack).await;
    let held = eventually("only what is held is left", WITHIN, async || {
        let shown = stack.client().get("/departments/sales/retention").await.expect(200).json;
        let items = shown["items"].as_array().expect("have items").clone();
        (items.len() == 1).then(|| items[0].clone())
    })
    .await;
    assert_eq!((&held["backup_id"], &held["reasons"]), (&backup["id"], &json!(["held"])), "{held}");
    let verified = stack.client().send(Method::POST, &format!("{path}/verify"), &[], None).await.expect(200);
    assert_eq!(verified.json["whole"], true, "{}", verified.text);
    stack.client().send(Method::POST, &format!("{path}/release"), &[], None).await.expect(200);
    forgotten(&stack).await;
}

#[tokio::test]
async fn a_deleted_department_stays_until_a_target_that_is_away_has_lost_it_too() {
    let stack = stack("1s", Settings { targets: 3, ..Settings::default() }).await;
    let targets = stack.folder.path().join("targets");
    department(&stack, 0).await;
    std::fs::rename(targets.join("t3"), targets.join("away")).expect("hide the target");
    delete_department(&stack).await;
    eventually("the others have lost it", WITHIN, async || {
        ["t1", "t2"].iter().all(|target| left_on(&stack, target).is_empty()).then_some(())
    })
    .await;
    assert_eq!(documents(&stack, "departments").await, 1, "somebody has to delete the rest");
    std::fs::rename(targets.join("away"), targets.join("t3")).expect("bring the target back");
    forgotten(&stack).await;
    assert_eq!(left_on(&stack, "t3"), Vec::<String>::new());
}

#[tokio::test]
async fn a_yearly_backup_keeps_a_deleted_department_and_can_be_restored_into_another_one() {
    let stack = stack("1s", Settings::default()).await;
    department(&stack, 2).await;
    delete_department(&stack).await;
    let left = eventually("one is left", WITHIN, async || {
        let list = stack.client().get("/backups?department=sales").await.expect(200).json;
        let items = list["items"].as_array().expect("have items").clone();
        (items.len() == 1).then(|| items[0].clone())
    })
    .await;
    let done = stack.restored(&left, json!({ "into": "default" })).await;
    assert_eq!(done["progress"]["conflicts"], 0, "{done}");
    assert_eq!(documents(&stack, "departments").await, 1);
}
