//! Retention of the journal on real parts: what lies before the window goes, what lies in it is merged, and every moment of
//! it can be read all the while.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;
use crate::harness::{Stack, eventually};

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxlLXNhbHQtMDE$1rBUU2jrGMzPeKRYNGndy8ozvtm05CBFs59hxa/MB5k";

fn settings(extra: &str) -> Settings {
    let backup = format!(
        ", prune_every = \"1s\", prune_grace = \"1s\", journal_every = \"50ms\", idle_head_every = \"1s\"{extra}"
    );
    Settings { chunk_records: 16, backup, ..Settings::default() }
}

/// First and last change of each segment of the default department on a target, in order.
fn segments(stack: &Stack, target: &str) -> Vec<(i64, i64)> {
    let folder = stack.folder.path().join("targets").join(target).join("departments/default/1/journal");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).expect("be a number");
    let mut found: Vec<(i64, i64)> = entries
        .map(|entry| entry.expect("read an entry").file_name().into_string().expect("be UTF-8"))
        .map(|name| {
            let mut parts = name.split('-');
            (number(parts.next()), number(parts.next()))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Writes users one by one, each into a segment of its own.
async fn write(stack: &Stack, from: usize, count: usize) -> Value {
    let mut receipt = Value::Null;
    for n in from..from + count {
        let body = json!({ "id": format!("w-{n:04}"), "name": format!("name {n}"), "password_hash": HASH });
        stack.client().post("/users", body).await.expect(201);
        receipt = stack.client().post("/departments/default/sync", json!({})).await.expect(200).json;
    }
    receipt
}

async fn verified(stack: &Stack, backup: &Value) {
    let path = format!("/backups/{}/verify", backup["id"].as_str().expect("have an id"));
    let answer = stack.client().send(Method::POST, &path, &[], None).await.expect(200);
    assert_eq!(answer.json["whole"], true, "{}", answer.text);
}

async fn complete(stack: &Stack) -> Vec<Value> {
    let list = stack.client().get("/backups?department=default&limit=1000").await.expect(200).json;
    list["items"].as_array().expect("have items").clone()
}

/// How many users the department had after so many changes.
async fn users_at(stack: &Stack, sequence: &Value) -> usize {
    let path = format!("/users?department=default&at={}&limit=1000", sequence.as_str().expect("be a time"));
    stack.client().get(&path).await.expect(200).json["items"].as_array().expect("have items").len()
}

#[tokio::test]
async fn the_journal_before_the_window_goes_and_every_moment_of_the_window_is_read() {
    let stack = Stack::start(settings("")).await;
    stack.first_slot_done("default").await;
    let policy = json!({ "keep_within": "4s", "keep_hourly": 0, "keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0, "keep_yearly": 0 });
    stack.client().put("/departments/default", json!({ "policy": { "retention": policy } })).await.expect(200);
    let mut times = Vec::new();
    let mut written = 0;
    eventually("the journal begins later than the history", Duration::from_mins(1), async || {
        let receipt = write(&stack, written, 1).await;
        written += 1;
        times.push((receipt["time"].clone(), written));
        stack.backup("default").await;
        segments(&stack, "t1").first().is_some_and(|(first, _)| *first > 3).then_some(())
    })
    .await;
    let shown = stack.client().get("/departments/default").await.expect(200).json;
    let from = shown["recovery_window"]["restorable_from"].clone();
    assert!(from.is_string(), "{shown}");
    let mut read = 0;
    for (time, users) in times.iter().rev().take(20) {
        if time.as_str() < from.as_str() {
            let path = format!("/users?department=default&at={}", time.as_str().expect("be a time"));
            assert_eq!(stack.client().get(&path).await.status, 422);
            continue;
        }
        // The window moves on while it is read.
        let now = stack.client().get("/departments/default").await.expect(200).json;
        if time.as_str() >= now["recovery_window"]["restorable_from"].as_str() {
            read += 1;
            assert_eq!(users_at(&stack, time).await, *users, "{time}");
        }
    }
    assert!(read > 0, "{from} {times:?}");
    // So that none goes while it is verified.
    let policy = json!({ "retention": { "keep_within": "1d" } });
    stack.client().put("/departments/default", json!({ "policy": policy })).await.expect(200);
    stack.backup("default").await;
    for backup in complete(&stack).await {
        verified(&stack, &backup).await;
    }
}

#[tokio::test]
async fn small_segments_are_merged_and_a_target_that_was_away_ends_up_with_the_same_journal() {
    let stack = Stack::start(Settings { targets: 3, ..settings(", merge_after = \"2s\"") }).await;
    stack.first_slot_done("default").await;
    write(&stack, 0, 12).await;
    let first = stack.backup("default").await;
    present_everywhere(&stack, &first).await;
    let targets = stack.folder.path().join("targets");
    std::fs::rename(targets.join("t3"), targets.join("away")).expect("hide the target");
    let before = segments(&stack, "t1");
    write(&stack, 12, 20).await;
    let second = stack.backup("default").await;
    eventually("the small segments are merged", Duration::from_mins(1), async || {
        let now = segments(&stack, "t1");
        (now.len() < 8 && now == segments(&stack, "t2")).then_some(())
    })
    .await;
    let merged = segments(&stack, "t1");
    assert!(before.len() >= 12, "{before:?}");
    assert_eq!((merged.first().map(|s| s.0), merged.last().map(|s| s.1)), (Some(1), Some(32)), "{merged:?}");
    std::fs::rename(targets.join("away"), targets.join("t3")).expect("bring the target back");
    eventually("the target has the merged segments alone", Duration::from_mins(1), async || {
        (segments(&stack, "t3") == segments(&stack, "t1")).then_some(())
    })
    .await;
    for backup in [&first, &second] {
        let backup = present_everywhere(&stack, backup).await;
        verified(&stack, &backup).await;
    }
    let back = stack.restored(&first, json!({ "mode": "exact" })).await;
    assert_eq!(back["plan"]["deletes"], 20, "{back}");
    assert_eq!(stack.records("default").await.len(), 12);
}

#[tokio::test]
async fn a_moment_is_read_also_when_the_segments_that_were_known_have_been_merged_and_deleted() {
    let stack = Stack::start(settings(", merge_after = \"3s\"")).await;
    stack.first_slot_done("default").await;
    let receipt = write(&stack, 0, 12).await;
    let at = receipt["time"].as_str().expect("have a time").to_owned();
    let read = async |id: &str| stack.client().get(&format!("/users/{id}?at={at}")).await.status.as_u16();
    // Every segment is known from now on, and the lines of one.
    assert_eq!(read("w-0003").await, 200);
    stack.backup("default").await;
    eventually("the small segments are gone", Duration::from_mins(1), async || {
        let (one, other) = (segments(&stack, "t1"), segments(&stack, "t2"));
        (one == other && !one.contains(&(8, 8))).then_some(())
    })
    .await;
    for n in 0..12 {
        assert_eq!(read(&format!("w-{n:04}")).await, 200, "{n}");
    }
    assert_eq!(stack.client().get("/users/w-0007/history").await.expect(200).json["items"][0]["sequence"], 8);
}
