//! Restores from a time and from a sequence, and the moments that are refused at once.

use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::client::Answer;
use crate::harness::records::{Records, assert_same_content};
use crate::harness::settings::Settings;

async fn sync(stack: &Stack) -> Value {
    stack.client().post("/departments/default/sync", Value::Null).await.expect(200).json
}

/// Three steps of a history; the receipt and the records after each.
async fn steps(stack: &Stack) -> Vec<(Value, Records)> {
    let mut steps = Vec::new();
    for step in 0..3 {
        stack.create_users("default", if step == 0 { 6 } else { 0 }).await;
        stack.change("default-00001", json!({ "name": format!("Step {step}") })).await;
        match step {
            1 => stack.delete("default-00002").await,
            2 => stack.create("default", "late", "Late").await,
            _ => {}
        }
        steps.push((sync(stack).await, stack.records("default").await));
    }
    steps
}

fn whole(from: &Value) -> Value {
    json!({ "from": from, "mode": "exact", "credentials": "restore", "locked": "restore", "apply": true })
}

#[tokio::test]
async fn every_moment_is_restored_by_its_time_and_by_its_sequence() {
    let stack = Stack::start(Settings { replicas: 2, ..Settings::default() }).await;
    let steps = steps(&stack).await;
    for (receipt, records) in steps.iter().rev().chain(&steps) {
        for from in [
            json!({ "department": "default", "sequence": receipt["sequence"] }),
            json!({ "department": "default", "at": receipt["time"] }),
        ] {
            let location = stack.restore(whole(&from)).await.header("location").to_owned();
            let done = stack.ended(&location, "complete").await;
            assert_same_content(records, &stack.records("default").await);
            assert_eq!((&done["from"], &done["point"]["sequence"]), (&from, &receipt["sequence"]), "{done}");
            assert_eq!(done["progress"]["conflicts"], 0, "{done}");
        }
        stack.undone(&format!("/restores/{}", newest(&stack).await)).await;
    }
}

async fn newest(stack: &Stack) -> String {
    let list = stack.client().get("/restores?limit=1").await.expect(200).json;
    list["items"][0]["id"].as_str().expect("have an id").to_owned()
}

#[tokio::test]
async fn a_moment_is_restored_into_another_department_too() {
    let stack = Stack::start(Settings::default()).await;
    let steps = steps(&stack).await;
    stack.department("sales").await;
    let mut body = whole(&json!({ "department": "default", "at": steps[0].0["time"] }));
    body["into"] = "sales".into();
    let location = stack.restore(body).await.header("location").to_owned();
    let done = stack.ended(&location, "complete").await;
    assert_eq!(json!([done["plan"]["creates"], done["plan"]["renumbered"]]), json!([6, 5]), "{done}");
    let names: Vec<String> = stack.records("sales").await.values().map(|user| user.name.to_string()).collect();
    assert!(names.contains(&"Step 0".to_owned()) && names.len() == 6, "{names:?}");
}

fn expect_outside(answer: &Answer, pointer: &str, code: &str) {
    answer.expect_problem(422, "outside_recovery_window");
    let error = &answer.json["errors"][0];
    assert_eq!((&error["pointer"], &error["code"]), (&json!(pointer), &json!(code)), "{}", answer.text);
}

#[tokio::test]
async fn what_lies_outside_the_recovery_window_or_is_malformed_is_refused_at_once() {
    let stack = Stack::start(Settings::default()).await;
    let steps = steps(&stack).await;
    let ask = async |from: Value| stack.client().post("/restores", json!({ "from": from })).await;
    let of = |field: &str, value: Value| json!({ "department": "default", field: value });
    let future = ask(of("at", json!("2099-01-01T00:00:00.000Z"))).await;
    expect_outside(&future, "/from/at", "after_window");
    let last = future.json["nearest"]["before"]["sequence"].as_i64().expect("name the nearest");
    assert!(last >= steps[2].0["sequence"].as_i64().expect("be a number"), "{}", future.text);
    assert_eq!(future.json["nearest"]["after"], Value::Null);
    let past = ask(of("at", json!("2001-01-01T00:00:00Z"))).await;
    expect_outside(&past, "/from/at", "before_window");
    assert!(past.json["nearest"]["after"]["time"].is_string(), "{}", past.text);
    expect_outside(&ask(of("sequence", json!(1_000_000))).await, "/from/sequence", "after_window");

    ask(of("at", json!("yesterday"))).await.expect_field("/from/at", "invalid_time");
    ask(of("sequence", json!(-1))).await.expect_field("/from/sequence", "invalid_sequence");
    ask(of("sequence", json!("1"))).await.expect_field("/from/sequence", "wrong_type");
    ask(json!({ "department": "No", "sequence": 1 })).await.expect_field("/from/department", "invalid_department");
    ask(json!({ "department": "nowhere", "sequence": 1 })).await.expect_problem(404, "not_found");
    for from in [
        json!({}),
        json!({ "department": "default" }),
        json!({ "at": "2026-01-01T00:00:00Z" }),
        json!({ "department": "default", "at": "2026-01-01T00:00:00Z", "sequence": 1 }),
        json!({ "backup_id": "0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f", "department": "default" }),
    ] {
        ask(from).await.expect_field("/from", "invalid_from");
    }
    assert_eq!(stack.client().get("/restores").await.expect(200).json["items"], json!([]));
}
