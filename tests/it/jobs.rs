//! `Prefer: wait=N`: a client that waits gets the end of the job in one answer, or 202 when its time is over.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::client::{Answer, Client};
use crate::harness::settings::Settings;

async fn post_and_wait(client: &Client, path: &str, body: &Value, wait: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("prefer", wait)];
    client.send(Method::POST, path, &headers, Some(body.to_string())).await
}

#[tokio::test]
async fn a_client_that_waits_for_a_backup_gets_it_complete() {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 100).await;
    let body = json!({ "department": "default" });
    let done = post_and_wait(stack.client(), "/backups", &body, "respond-async, wait=30").await.expect(200);
    assert_eq!(done.header("preference-applied"), "wait=30");
    assert_eq!((&done.json["state"], &done.json["records"]), (&json!("complete"), &json!(100)), "{}", done.text);
    assert_eq!(stack.client().get(done.header("location")).await.expect(200).json, done.json);

    let recorded = post_and_wait(stack.client(), "/backups", &body, "wait=0").await.expect(202);
    assert_eq!(recorded.header("preference-applied"), "wait=0");
    let recorded = post_and_wait(stack.client(), "/backups", &body, "wait=soon").await.expect(202);
    assert_eq!(recorded.header("preference-applied"), "", "what is not understood is not applied");
    stack.ended(recorded.header("location"), "complete").await;
}

#[tokio::test]
async fn a_client_that_waits_for_a_restore_gets_the_plan_or_the_end_whichever_it_asked_for() {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 20).await;
    let backup = stack.backup("default").await;
    stack.client().delete("/users/default-00007").await.expect(204);
    let body = |apply: bool| json!({ "from": { "backup_id": backup["id"] }, "apply": apply });
    let planned = post_and_wait(stack.client(), "/restores", &body(false), "wait=30").await.expect(200);
    assert_eq!(planned.json["state"], "planned", "{}", planned.text);
    assert!(!planned.header("etag").is_empty(), "the plan's hash comes with it");
    stack.client().get("/users/default-00007").await.expect(404);
    let applied = post_and_wait(stack.client(), "/restores", &body(true), "wait=30").await.expect(200);
    assert_eq!(applied.json["state"], "complete", "{}", applied.text);
    assert_eq!(applied.header("preference-applied"), "wait=30");
    stack.client().get("/users/default-00007").await.expect(200);
}

#[tokio::test]
async fn a_wait_that_is_over_before_the_job_answers_202_and_loses_nothing() {
    let mut stack =
        Stack::start(Settings { replicas: 2, session_timeout: "6s".to_owned(), ..Settings::default() }).await;
    let leader = stack.leader_of("default").await;
    let id = leader["replica"].as_str().expect("have an id").to_owned();
    let other = stack.replicas.iter().find(|replica| replica.id != id).expect("have another").client.clone();
    stack.replica(&id).freeze();
    let begun = Instant::now();
    let body = json!({ "department": "default" });
    let recorded = post_and_wait(&other, "/backups", &body, "wait=1").await.expect(202);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1), "it answered after {took:?}");
    assert_eq!(recorded.json["state"], "queued", "{}", recorded.text);
    stack.replica(&id).thaw();
    stack.ended(recorded.header("location"), "complete").await;
}
