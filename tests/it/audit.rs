//! Who did what: each act leaves one record, refused ones none, and callers of a department see their own.

use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::client::Client;
use crate::harness::settings::Settings;

const EVERYTHING: [&str; 9] = [
    "users:write",
    "departments:read",
    "departments:write",
    "backups:read",
    "backups:write",
    "backups:delete",
    "restores:write",
    "restores:undo",
    "audit:read",
];

/// Action, subject, department and outcome of each record, oldest first.
fn acts(records: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let act = |it: &Value| [&it["action"], &it["subject"], &it["department"], &it["outcome"]].map(text).join(" ");
    records.iter().rev().map(act).collect()
}

async fn post(client: &Client, path: &str, status: u16) -> Value {
    client.send(reqwest::Method::POST, path, &[], None).await.expect(status).json
}

#[tokio::test]
async fn each_act_leaves_one_record_with_the_caller_the_request_and_the_replica() {
    let stack = Stack::start(Settings::default()).await;
    let (ops, about) = stack.issued(&EVERYTHING, None).await;
    ops.put("/departments/eng", json!({})).await.expect(201);
    ops.put("/departments/eng", json!({})).await.expect(200);
    ops.put("/departments/eng", json!({ "policy": { "backup_every": "2h" } })).await.expect(200);
    stack.leader_of("eng").await;
    stack.create_users("eng", 2).await;
    ops.delete("/users/eng-00001").await.expect(204);
    ops.delete("/users/eng-00001").await.expect(404);
    let (first, _) = (stack.backup("eng").await, stack.backup("eng").await);
    let first = first["id"].as_str().expect("have an id");
    for _ in 0..2 {
        post(&ops, &format!("/backups/{first}/hold"), 200).await;
    }
    ops.delete(&format!("/backups/{first}")).await.expect_problem(409, "backup_held");
    for _ in 0..2 {
        post(&ops, &format!("/backups/{first}/release"), 200).await;
    }
    let body = json!({ "from": { "backup_id": first }, "apply": false });
    let given_up = ops.post("/restores", body.clone()).await.expect(202);
    let stopped = stack.planned(given_up.header("location")).await.job["id"].clone();
    post(&ops, &format!("{}/cancel", given_up.header("location")), 202).await;
    stack.ended(given_up.header("location"), "cancelled").await;
    let started = ops.post("/restores", body).await.expect(202);
    let planned = stack.planned(started.header("location")).await;
    let headers = [("if-match", planned.etag.as_str())];
    ops.send(reqwest::Method::POST, &format!("{}/apply", planned.location), &headers, None).await.expect(202);
    stack.ended(&planned.location, "complete").await;
    let undo = post(&ops, &format!("{}/undo", planned.location), 202).await;
    stack.ended(&format!("/restores/{}", undo["id"].as_str().expect("have an id")), "complete").await;
    ops.delete("/users/eng-00000").await.expect(204);
    ops.delete("/departments/eng").await.expect(204);

    let records = stack.audit("?caller=tester").await;
    let text = |value: &Value| value.as_str().expect("be a text").to_owned();
    let (stopped, applied, undo) = (text(&stopped), text(&planned.job["id"]), text(&undo["id"]));
    let expected = [
        "create_department eng eng done".to_owned(),
        "change_policy eng eng done".to_owned(),
        "delete_user eng-00001 eng done".to_owned(),
        format!("hold_backup {first} eng done"),
        format!("release_backup {first} eng done"),
        format!("start_restore {stopped} eng requested"),
        format!("cancel_restore {stopped} eng requested"),
        format!("start_restore {applied} eng requested"),
        format!("apply_restore {applied} eng requested"),
        format!("undo_restore {undo} eng requested"),
        "delete_user eng-00000 eng done".to_owned(),
        "delete_department eng eng done".to_owned(),
    ];
    assert_eq!(acts(&records), expected);
    for record in &records {
        assert_eq!((&record["token_id"], &record["replica"]), (&about["id"], &json!("r1")));
        assert!(record["request_id"].as_str().is_some_and(|id| id.len() == 32), "{record}");
    }
    let issued = stack.audit("?action=issue_token").await;
    assert_eq!((&issued[0]["caller"], &issued[0]["subject"]), (&json!("bootstrap"), &about["id"]));
    assert_eq!(issued[0]["token_id"], Value::Null);
}

#[tokio::test]
async fn callers_of_a_department_see_the_records_of_that_one_and_filters_and_pages_find_each() {
    let stack = Stack::start(Settings::default()).await;
    for department in ["eng", "ops"] {
        stack.department(department).await;
    }
    let (eng, _) = stack.issued(&["audit:read"], Some("eng")).await;
    let seen = eng.get("/audit").await.expect(200).json;
    let seen = acts(seen["items"].as_array().expect("have items"));
    assert_eq!(seen.len(), 2, "the department and the token: {seen:?}");
    assert!(seen.iter().all(|act| act.contains(" eng ")), "{seen:?}");
    eng.get("/audit?department=ops").await.expect_problem(404, "not_found");

    let all = stack.audit("").await;
    assert_eq!(all.len(), 3, "{all:?}");
    let (mut walked, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = stack.client().get(&format!("/audit?limit=1{cursor}")).await.expect(200).json;
        walked.extend(page["items"].as_array().expect("have items").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(walked, all);
    let at = all[1]["at"].as_str().expect("have a time");
    assert!(stack.audit(&format!("?since={at}")).await.contains(&all[1]));
    assert!(!stack.audit(&format!("?until={at}")).await.contains(&all[1]));
    assert_eq!(stack.audit("?department=ops&action=create_department,issue_token").await.len(), 1);
    assert_eq!(stack.audit("?caller=nobody").await.len(), 0);
    stack.client().get("/audit?action=fly").await.expect_parameter("action", "invalid_action");
    stack.client().get("/audit?since=soon").await.expect(422);
}
