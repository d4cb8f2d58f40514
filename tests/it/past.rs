//! The past over HTTP: one user at a moment, its versions, a department at a moment, the records of a backup, differences.

use std::time::Duration;

use rollkeeper::domain::clock::Timestamp;
use serde_json::{Value, json};

use crate::harness::records::hash_number;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

/// Much less than a quiet department's time is moved on after.
const SOON: Duration = Duration::from_secs(20);

async fn sync(stack: &Stack, department: &str) -> Value {
    stack.client().post(&format!("/departments/{department}/sync"), Value::Null).await.expect(200).json
}

fn time_of(receipt: &Value) -> Timestamp {
    receipt["time"].as_str().expect("have a time").parse().expect("be RFC 3339")
}

async fn named_at(stack: &Stack, id: &str, at: Timestamp) -> (u16, String) {
    let answer = stack.client().get(&format!("/users/{id}?at={at}")).await;
    (answer.status.as_u16(), answer.json["name"].as_str().unwrap_or_default().to_owned())
}

async fn names_at(stack: &Stack, department: &str, at: Timestamp) -> Vec<String> {
    let path = format!("/users?department={department}&at={at}&limit=1000");
    let page = stack.client().get(&path).await.expect(200).json;
    page["items"].as_array().expect("have items").iter().map(|user| user["name"].to_string()).collect()
}

/// Three versions of `a`, the last of them its deletion; the receipts after each step.
async fn history(stack: &Stack) -> [Timestamp; 4] {
    let client = stack.client();
    let before = time_of(&sync(stack, "default").await);
    let body = json!({ "id": "a", "name": "Ada", "password_hash": hash_number(1) });
    client.post("/users", body).await.expect(201);
    let made = time_of(&sync(stack, "default").await);
    client.patch("/users/a", json!({ "name": "Ada L.", "password_hash": hash_number(2) })).await.expect(200);
    let changed = time_of(&sync(stack, "default").await);
    client.delete("/users/a").await.expect(204);
    let deleted = time_of(&sync(stack, "default").await);
    [before, made, changed, deleted]
}

#[tokio::test]
async fn a_user_is_read_as_it_was_at_each_moment_also_after_its_deletion() {
    let stack = Stack::start(Settings { replicas: 2, ..Settings::default() }).await;
    stack.create_users("default", 30).await;
    let [before, made, changed, deleted] = history(&stack).await;
    for _ in 0..2 {
        assert_eq!(named_at(&stack, "a", before).await.0, 404);
        assert_eq!(named_at(&stack, "a", made).await, (200, "Ada".to_owned()));
        assert_eq!(named_at(&stack, "a", changed).await, (200, "Ada L.".to_owned()));
        assert_eq!(named_at(&stack, "a", deleted).await.0, 404);
        // The same from a snapshot on as from the empty beginning.
        stack.backup("default").await;
    }
    let other = stack.replicas[1].client.get(&format!("/users/a?at={made}")).await.expect(200);
    assert_eq!(other.json["name"], "Ada");
    assert!(other.json.get("password_hash").is_none(), "{}", other.text);
    let at = |at| names_at(&stack, "default", at);
    let (then, now) = (at(made).await, at(deleted).await);
    assert_eq!((then.len(), now.len()), (31, 30));
    assert_eq!((then[0].as_str(), now[0].as_str()), ("\"Ada\"", "\"User 00000 ü\""));
}

#[tokio::test]
async fn the_history_of_a_user_names_what_changed_and_shows_no_hash() {
    let stack = Stack::start(Settings::default()).await;
    let [_, _, changed, _] = history(&stack).await;
    stack.backup("default").await;
    let body = json!({ "id": "a", "name": "Ada again", "password_hash": hash_number(3) });
    stack.client().post("/users", body).await.expect(201);
    sync(&stack, "default").await;
    let all = stack.client().get("/users/a/history").await.expect(200);
    let versions = all.json["items"].as_array().expect("have items");
    let kinds: Vec<&str> = versions.iter().filter_map(|version| version["kind"].as_str()).collect();
    assert_eq!(kinds, ["created", "deleted", "updated", "created"], "{}", all.text);
    assert_eq!(versions[2]["changed"], json!(["name", "password_hash"]), "{}", all.text);
    assert_eq!(versions[2]["user"]["name"], "Ada L.");
    assert_eq!(versions[1]["user"], Value::Null);
    assert!(!all.text.contains("argon2"), "{}", all.text);
    let time: Timestamp = versions[2]["time"].as_str().expect("have a time").parse().expect("be RFC 3339");
    assert!(time <= changed);
    assert_eq!(named_at(&stack, "a", time).await, (200, "Ada L.".to_owned()));

    let mut paged = Vec::new();
    let mut path = "/users/a/history?limit=1".to_owned();
    loop {
        let page = stack.client().get(&path).await.expect(200).json;
        paged.extend(page["items"].as_array().expect("have items").iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { break };
        path = format!("/users/a/history?limit=1&cursor={next}");
    }
    assert_eq!(paged, *versions);
    assert_eq!(stack.client().get("/users/nobody/history").await.status, 404);
}

#[tokio::test]
async fn the_newest_change_can_be_read_at_its_own_time_soon_after_and_is_never_read_as_something_else() {
    let stack = Stack::start(Settings::default()).await;
    for n in 0..3 {
        let body = json!({ "id": format!("u-{n}"), "name": format!("User {n}"), "password_hash": hash_number(n) });
        stack.client().post("/users", body).await.expect(201);
        // Nobody asks for a receipt, and nobody writes until then.
        let time = eventually("its version is in the history", SOON, async || {
            let history = stack.client().get(&format!("/users/u-{n}/history")).await.json;
            history["items"][0]["time"].as_str().map(|time| time.parse::<Timestamp>().expect("be RFC 3339"))
        })
        .await;
        eventually("it can be read at its time", SOON, async || {
            let answer = stack.client().get(&format!("/users/u-{n}?at={time}")).await;
            if answer.status == 422 {
                assert_eq!(answer.json["errors"][0]["code"], "after_window", "{}", answer.text);
                return None;
            }
            assert_eq!(answer.json["name"], format!("User {n}"), "{}", answer.text);
            Some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_moment_that_cannot_be_read_is_refused_with_the_nearest_that_can() {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 3).await;
    let through = sync(&stack, "default").await;
    let window = stack.client().get("/departments/default").await.expect(200).json["recovery_window"].clone();
    let refused = async |at: &str| {
        let answer = stack.client().get(&format!("/users/default-00000?at={at}")).await;
        assert_eq!(answer.status, 422, "{}", answer.text);
        answer.json
    };
    let future = refused("2999-01-01T00:00:00.000Z").await;
    assert_eq!(
        (&future["code"], &future["errors"][0]["code"]),
        (&json!("outside_recovery_window"), &json!("after_window"))
    );
    assert_eq!(future["nearest"]["after"], Value::Null);
    let nearest: Timestamp = future["nearest"]["before"]["time"].as_str().expect("have a time").parse().expect("parse");
    assert!(nearest >= time_of(&through), "{future}");
    assert_eq!(named_at(&stack, "default-00000", nearest).await.0, 200);
    let early = refused("2001-01-01T00:00:00.000Z").await;
    assert_eq!(early["errors"][0]["code"], "before_window");
    assert_eq!(early["nearest"]["after"]["time"], window["restorable_from"], "{early} {window}");
    assert_eq!(early["nearest"]["after"]["sequence"], 0);
    for bad in ["yesterday", "", "2026-11-23", "2026-13-01T00:00:00Z"] {
        assert_eq!(refused(bad).await["errors"][0]["parameter"], "at");
    }
    let path = format!("/users?at={nearest}");
    assert_eq!(stack.client().get(&path).await.expect(422).json["errors"][0]["code"], "department_required");
    assert_eq!(stack.client().get("/users/default-00000?department=default").await.status, 422);
}

#[tokio::test]
async fn the_records_of_a_backup_are_listed_and_read_one_by_one() {
    let stack = Stack::start(Settings { chunk_records: 16, ..Settings::default() }).await;
    stack.create_users("default", 100).await;
    let backup = stack.backup("default").await;
    let before = stack.all_users("default").await;
    stack.client().delete("/users/default-00042").await.expect(204);
    let path = format!("/backups/{}/users", backup["id"].as_str().expect("have an id"));
    let (mut listed, mut next) = (Vec::new(), format!("{path}?limit=33"));
    loop {
        let page = stack.client().get(&next).await.expect(200).json;
        listed.extend(page["items"].as_array().expect("have items").iter().cloned());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        next = format!("{path}?limit=33&cursor={cursor}");
    }
    assert_eq!(listed, before);
    assert_eq!(stack.client().get(&format!("{path}/default-00042")).await.expect(200).json, before[42]);
    assert_eq!(stack.client().get(&format!("{path}/nobody")).await.status, 404);
}

#[tokio::test]
async fn a_difference_names_the_fields_and_hashes_only_as_changed() {
    let stack = Stack::start(Settings { chunk_records: 16, ..Settings::default() }).await;
    stack.create_users("default", 100).await;
    let first = stack.backup("default").await;
    let client = stack.client();
    client.delete("/users/default-00007").await.expect(204);
    client
        .patch("/users/default-00050", json!({ "locked": true, "password_hash": hash_number(9000) }))
        .await
        .expect(200);
    client.post("/users", json!({ "id": "new", "name": "New", "password_hash": hash_number(1) })).await.expect(201);
    sync(&stack, "default").await;
    let path = format!("/backups/{}/diff", first["id"].as_str().expect("have an id"));
    let live = client.get(&path).await.expect(200);
    let second = stack.backup("default").await;
    let against = format!("{path}?against={}", second["id"].as_str().expect("have an id"));
    let other = client.get(&against).await.expect(200);
    assert_eq!(live.json["items"], other.json["items"]);
    assert!(!live.text.contains("argon2"), "{}", live.text);
    let found: Vec<(&str, &str, String)> = live.json["items"]
        .as_array()
        .expect("have items")
        .iter()
        .map(|item| (item["user_id"].as_str().unwrap(), item["kind"].as_str().unwrap(), item["changed"].to_string()))
        .collect();
    let expected = [
        ("default-00007", "removed", "[]".to_owned()),
        ("default-00050", "changed", "[\"password_hash\",\"locked\"]".to_owned()),
        ("new", "added", "[]".to_owned()),
    ];
    assert_eq!(found, expected);
    let (mut paged, mut next) = (Vec::new(), format!("{path}?limit=1"));
    loop {
        let page = client.get(&next).await.expect(200).json;
        paged.extend(page["items"].as_array().expect("have items").iter().cloned());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        // What is written between two pages is not in the comparison.
        client.patch("/users/default-00099", json!({ "locked": true })).await.expect(200);
        next = format!("{path}?limit=1&cursor={cursor}");
    }
    assert_eq!(json!(paged), live.json["items"]);
    let same = client.get(&format!("{path}?against={}", first["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(same.json["items"], json!([]));
}
