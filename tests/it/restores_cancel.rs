//! Cancelling a restore in each of its states, and the order of several restores of one department.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::restoring::from;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

/// A department whose restore takes many ranges: every other user is deleted since the backup.
async fn half_deleted(count: usize, range_records: usize) -> (Stack, Value) {
    let stack = Stack::start(Settings { range_records, ..Settings::default() }).await;
    stack.create_users("default", count).await;
    let backup = stack.backup("default").await;
    for n in (0..count).step_by(2) {
        stack.delete(&format!("default-{n:05}")).await;
    }
    (stack, backup)
}

/// Starts a restore, and returns where it is once it is in the middle.
async fn in_the_middle(stack: &Stack, body: Value) -> String {
    let location = stack.restore(body).await.header("location").to_owned();
    eventually("the restore is under way", Duration::from_mins(1), async || {
        let job = stack.client().get(&location).await.expect(200).json;
        (job["state"] == "applying" && job["progress"]["batches"].as_u64()? > 0).then_some(())
    })
    .await;
    location
}

#[tokio::test]
async fn a_restore_that_is_cancelled_while_it_applies_stops_and_says_how_much_is_applied() {
    let (stack, backup) = half_deleted(600, 1).await;
    let location = in_the_middle(&stack, from(&backup, json!({ "apply": true }))).await;
    stack.cancel(&location).await.expect(202);
    let job = stack.ended(&location, "cancelled").await;
    let applied = job["progress"]["changes_applied"].as_u64().expect("be counted");
    assert!(applied > 0 && applied < 300, "{job}");
    assert_eq!(job["progress"]["changes_done"], applied, "{job}");
    assert_eq!(stack.documents("default").await.len() as u64, 300 + applied);
    stack.cancel(&location).await.expect_problem(409, "already_ended");
    let refused = stack.apply_with(&location, &[("if-match", "\"x\"")]).await;
    refused.expect_problem(409, "not_planned");
    // A backup goes through the same leader, so whatever it still had in hand is done by then.
    stack.backup("default").await;
    assert_eq!(stack.documents("default").await.len() as u64, 300 + applied);
    // What is missing is brought back by the next one.
    stack.restored(&backup, json!({})).await;
    assert_eq!(stack.documents("default").await.len(), 600);
}

#[tokio::test]
async fn a_plan_that_is_cancelled_is_never_applied() {
    let (stack, backup) = half_deleted(20, 1000).await;
    let planned = stack.plan(from(&backup, json!({}))).await;
    stack.cancel(&planned.location).await.expect(202);
    stack.ended(&planned.location, "cancelled").await;
    stack.apply(&planned).await.expect_problem(409, "not_planned");
    assert_eq!(stack.documents("default").await.len(), 10);
    let shown = stack.client().get(&planned.location).await.expect(200).json;
    assert_eq!((&shown["progress"]["changes_applied"], &shown["plan"]["creates"]), (&json!(0), &json!(10)));
}

#[tokio::test]
async fn a_complete_restore_cannot_be_cancelled() {
    let (stack, backup) = half_deleted(4, 1000).await;
    let done = stack.restored(&backup, json!({})).await;
    let location = format!("/restores/{}", done["id"].as_str().expect("have an id"));
    stack.cancel(&location).await.expect_problem(409, "already_ended");
    stack.cancel("/restores/0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f").await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_restore_that_is_cancelled_while_nobody_leads_is_never_begun() {
    let stack = Stack::start(Settings { own_zookeeper: true, ..Settings::default() }).await;
    stack.create_users("default", 4).await;
    let backup = stack.backup("default").await;
    stack.delete("default-00001").await;
    stack.zookeeper.as_ref().expect("have a ZooKeeper").process.freeze();
    eventually("the leader has stepped down", Duration::from_mins(1), async || {
        let department = stack.client().get("/departments/default").await.expect(200).json;
        (department["leader"] == Value::Null).then_some(())
    })
    .await;
    let location = stack.restore(from(&backup, json!({ "apply": true }))).await.header("location").to_owned();
    let job = stack.client().get(&location).await.expect(200).json;
    assert_eq!((&job["state"], &job["cause"]["code"]), (&json!("queued"), &json!("no_leader")), "{job}");
    stack.cancel(&location).await.expect(202);
    stack.zookeeper.as_ref().expect("have a ZooKeeper").process.thaw();
    let job = stack.ended(&location, "cancelled").await;
    assert_eq!((&job["safety_backup_id"], &job["plan"]), (&Value::Null, &Value::Null), "{job}");
    assert_eq!(stack.documents("default").await.len(), 3);
}

#[tokio::test]
async fn restores_of_one_department_go_one_after_the_other_and_the_second_plan_sees_the_first_result() {
    let (stack, backup) = half_deleted(400, 1).await;
    let first = in_the_middle(&stack, from(&backup, json!({ "apply": true }))).await;
    let second = stack.restore(from(&backup, json!({ "apply": true }))).await.header("location").to_owned();
    let third = stack.restore(from(&backup, json!({ "apply": true }))).await.header("location").to_owned();
    let job = stack.client().get(&second).await.expect(200).json;
    assert!(job["state"] == "queued" || stack.client().get(&first).await.json["state"] == "complete", "{job}");
    stack.cancel(&third).await.expect(202);
    let done = [stack.ended(&first, "complete").await, stack.ended(&second, "complete").await];
    assert!(done[0]["finished_at"].as_str() <= done[1]["started_at"].as_str(), "{done:?}");
    let plan = &done[1]["plan"];
    assert_eq!(json!([plan["creates"], plan["unchanged"]]), json!([0, 400]), "{done:?}");
    assert_eq!(done[1]["progress"]["conflicts"], 0);
    stack.ended(&third, "cancelled").await;
}

#[tokio::test]
async fn two_restores_asked_for_at_once_do_not_meet_each_others_changes() {
    let (stack, backup) = half_deleted(40, 1000).await;
    let mut locations = Vec::new();
    for _ in 0..3 {
        locations.push(stack.restore(from(&backup, json!({ "apply": true }))).await.header("location").to_owned());
    }
    let mut creates = Vec::new();
    for location in &locations {
        let done = stack.ended(location, "complete").await;
        assert_eq!(done["progress"]["conflicts"], 0, "{done}");
        creates.push(done["plan"]["creates"].as_u64());
    }
    assert_eq!(creates, [Some(20), Some(0), Some(0)]);
}
