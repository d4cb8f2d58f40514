//! `GET /users/export`: whole records of one moment, visibly broken off where it cannot go on, and on record.

use std::time::Duration;

use futures::StreamExt;
use mongodb::bson::doc;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("be JSON")).collect()
}

/// (subject, outcome) of the exports on record, newest first.
async fn exports(stack: &Stack) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("be a text").to_owned();
    let records = stack.audit("?action=export_users").await;
    records.iter().map(|record| (text(&record["subject"]), text(&record["outcome"]))).collect()
}

#[tokio::test]
async fn an_export_has_every_record_of_its_department_and_moment_and_leaves_a_record() {
    let stack = Stack::start(Settings::default()).await;
    stack.department("eng").await;
    stack.create_users("default", 2).await;
    stack.create_users("eng", 1100).await;
    let before = stack.client().post("/departments/eng/sync", json!({})).await.expect(200).json["time"].clone();
    let answer = stack.client().get("/users/export?department=eng").await.expect(200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    assert_eq!(answer.header("cache-control"), "no-store");
    let exported = lines(&answer.text);
    let (live, records) = (stack.all_users("eng").await, stack.records("eng").await);
    assert_eq!(exported.len(), 1100);
    for (line, user) in exported.iter().zip(&live) {
        let id = line["id"].as_str().expect("have an id");
        assert_eq!(line["password_hash"], records[id].password_hash.expose());
        let mut shown = line.clone();
        shown.as_object_mut().expect("be an object").remove("password_hash");
        assert_eq!(shown, *user);
    }
    eventually("the export is on record", Duration::from_secs(10), async || {
        (exports(&stack).await == [("eng".to_owned(), "done".to_owned())]).then_some(())
    })
    .await;

    stack.change("eng-00000", json!({ "name": "Another" })).await;
    stack.delete("eng-00001").await;
    stack.client().post("/departments/eng/sync", json!({})).await.expect(200);
    let at = format!("/users/export?department=eng&at={}", before.as_str().expect("have a time"));
    assert_eq!(lines(&stack.client().get(&at).await.expect(200).text), exported);
    let now = lines(&stack.client().get("/users/export?department=eng").await.expect(200).text);
    assert_eq!((now.len(), &now[0]["name"]), (1099, &json!("Another")));

    let (own, _) = stack.issued(&["users:export"], Some("eng")).await;
    assert_eq!(lines(&own.get("/users/export").await.expect(200).text).len(), 1099, "its own department");
    let (reader, _) = stack.issued(&["users:read", "users:write", "backups:read"], None).await;
    reader.get("/users/export").await.expect_problem(403, "missing_scope");
    assert!(!stack.replicas[0].log().contains("argon2id"), "a hash is in the log");
}

#[tokio::test]
async fn what_cannot_be_exported_is_refused_before_the_first_line() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    for (query, parameter, code) in [
        ("department=nowhere", "department", "unknown_department"),
        ("department=No%20One", "department", "invalid_department"),
        ("at=yesterday", "at", "invalid_time"),
        ("format=csv", "format", "unknown_parameter"),
    ] {
        client.get(&format!("/users/export?{query}")).await.expect_parameter(parameter, code);
    }
    for at in ["2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"] {
        client.get(&format!("/users/export?at={at}")).await.expect_problem(422, "outside_recovery_window");
    }
    client.send(Method::POST, "/users/export", &[], None).await.expect_problem(405, "method_not_allowed");
    assert!(exports(&stack).await.is_empty(), "nothing was exported");
    assert!(client.get("/users/export").await.expect(200).text.is_empty(), "a department without users");
}

#[tokio::test]
async fn an_export_that_cannot_go_on_says_why_in_its_last_line_and_its_connection_is_cut() {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    stack.create_users("default", 9_000).await;
    // Of two pieces the first is read, and what the second one needs beforehand; then it refuses.
    let users = format!("{}.users", stack.place.database);
    let data = doc! { "failCommands": ["find"], "errorCode": 246, "appName": "r1", "namespace": users };
    let admin = stack.database().await.client().database("admin");
    let refuse = doc! { "configureFailPoint": "failCommand", "mode": { "skip": 4 }, "data": data };
    admin.run_command(refuse.clone()).await.expect("set the fail point");
    let answer = stack.client().open("/users/export", &[]).await;
    assert_eq!(answer.status(), 200);
    let (mut text, mut broken, mut chunks) = (Vec::new(), false, answer.bytes_stream());
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => text.extend_from_slice(&chunk),
            Err(_) => broken = true,
        }
    }
    assert!(broken, "it looks whole");
    let text = String::from_utf8(text).expect("be UTF-8");
    let last = text.lines().last().expect("have a line");
    let last: Value = serde_json::from_str(last).expect("be JSON");
    assert_eq!(last["error"]["code"], "export_too_slow");
    assert!((8192..9_000).contains(&text.lines().count()), "{}", text.lines().count());
    let refused = stack.import(format!("{last}\n")).await.expect(200);
    assert!(refused.text.contains("failed"), "no import takes it for a user: {}", refused.text);

    admin.run_command(refuse).await.expect("set the fail point");
    let file = stack.folder.path().join("export.ndjson");
    let into = file.to_str().expect("be UTF-8");
    let told = stack.cli(&["users", "export", "--output-file", into]).await.expect(1);
    assert!(told.err.contains("is not whole") && told.err.contains("export_too_slow"), "{}", told.err);
    assert!(!file.exists(), "a part of an export looks like one");
    let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    admin.run_command(off).await.expect("clear the fail point");
    assert_eq!(exports(&stack).await, vec![("default".to_owned(), "begun".to_owned()); 2]);
    stack.cli(&["users", "export", "--output-file", into]).await.expect(0);
    assert_eq!(std::fs::read_to_string(&file).expect("read the export").lines().count(), 9_000);
}
