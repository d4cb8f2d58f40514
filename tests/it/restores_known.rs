//! What is last known of users that are gone when the journal of then is gone as well: the backups that were kept tell it.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::records::hash_number;
use crate::harness::restoring::from;
use crate::harness::{Stack, eventually};
use crate::retention::{backups, id, pruning, set_policy};

#[tokio::test]
async fn what_only_a_kept_backup_knows_of_users_that_are_gone_is_not_weakened_by_restoring_an_older_one() {
    let stack = Stack::start(pruning()).await;
    stack.first_slot_done("default").await;
    stack.create_users("default", 200).await;
    let oldest = stack.backup("default").await;
    stack.change("default-00101", json!({ "password_hash": hash_number(1) })).await;
    stack.change("default-00102", json!({ "locked": true })).await;
    let between = stack.backup("default").await;
    stack.change("default-00104", json!({ "locked": true })).await;
    let newer = stack.backup("default").await;
    for backup in [&oldest, &between, &newer] {
        stack.client().send(Method::POST, &format!("/backups/{}/hold", id(backup)), &[], None).await.expect(200);
    }
    for n in 101..=104 {
        stack.delete(&format!("default-{n:05}")).await;
    }
    backups(&stack, 2).await;
    set_policy(&stack, json!({ "keep_last": 1 })).await;
    eventually("the recovery window begins after they were gone", Duration::from_mins(1), async || {
        let window = stack.client().get("/departments/default").await.expect(200).json["recovery_window"].clone();
        (window["first_sequence"].as_i64() > newer["sequence"].as_i64().map(|at| at + 4)).then_some(())
    })
    .await;
    let then = stack.records_of_backup(&oldest).await;
    let planned = stack.plan(from(&oldest, json!({}))).await;
    let plan = &planned.job["plan"];
    assert_eq!(json!([plan["creates"], plan["security_kept"]]), json!([4, 3]), "{plan}");
    stack.carry_out(&planned).await;
    let now = stack.records("default").await;
    let expected = [(101, hash_number(1), false), (102, String::new(), true), (103, String::new(), false)];
    for (n, hash, locked) in expected.into_iter().chain([(104, String::new(), true)]) {
        let key = format!("default-{n:05}");
        let hash = if hash.is_empty() { then[&key].password_hash.expose().to_owned() } else { hash };
        assert_eq!((now[&key].password_hash.expose(), now[&key].locked), (hash.as_str(), locked), "{key}");
    }
}
