//! The end of a replica that was asked to end.

use std::time::Duration;

use serde_json::json;

use crate::harness::records::hash_number;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

#[tokio::test]
async fn a_replica_that_is_told_to_end_waits_for_all_its_tasks_and_cuts_none_off() {
    let mut stack = Stack::start(Settings::default()).await;
    let replica = stack.replica("r1");
    assert!(replica.stop().success());
    let log = replica.log();
    assert!(log.contains("\"ended\"") && !log.contains("cut off"), "{log}");
}

#[tokio::test]
async fn a_replica_that_is_told_to_end_still_serves_for_a_while_and_sends_its_clients_away() {
    let http = ", drain_notice = \"4s\"".to_owned();
    let mut stack = Stack::start(Settings { http, ..Settings::default() }).await;
    let client = stack.client().clone();
    let before = client.get("/livez").await.expect(200);
    assert_eq!(before.header("connection"), "");

    stack.replicas[0].terminate();
    let refused = eventually("the replica is not ready", Duration::from_secs(3), async || {
        let answer = client.get("/readyz").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    refused.expect_problem(503, "shutting_down");
    assert_eq!(refused.header("connection"), "close");
    let made = client.post("/users", json!({ "name": "Late", "password_hash": hash_number(1) })).await.expect(201);
    assert_eq!(made.header("connection"), "close");

    let code = eventually("the process has ended", Duration::from_secs(15), async || stack.replicas[0].ended()).await;
    assert_eq!(code.code(), Some(0));
}
