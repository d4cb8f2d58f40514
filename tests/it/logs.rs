//! What a replica logs in a whole run: JSON lines that say what happened, and no secret.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::records::hash_number;
use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;
use crate::harness::{Stack, eventually, unique};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Every line of the log of the first replica, as JSON.
fn lines(stack: &Stack) -> Vec<Value> {
    let log = stack.replicas[0].log();
    // The last line may be half written.
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[tokio::test]
async fn the_log_of_a_whole_run_names_what_happened_and_holds_no_secret() {
    let extra = "[telemetry]\nlevel = \"debug,rollkeeper=trace\"".to_owned();
    let mut stack = Stack::start(Settings { extra, ..Settings::default() }).await;
    stack.first_slot_done("default").await;
    let (password, hash, foreign) = (unique("password"), hash_number(77), unique("foreign-token"));
    let client = stack.client().clone();
    let made = client.post("/users", json!({ "name": "Ada", "password": password })).await.expect(201);
    let at = format!("/users/{}", made.json["id"].as_str().expect("have an id"));
    client.post("/users", json!({ "id": "given", "name": "Given", "password_hash": hash })).await.expect(201);
    // Refused ones say why, and say nothing of what they were.
    client.post("/users", json!({ "name": "Ada", "password": password })).await.expect(409);
    client.post("/users", json!({ "name": "Bob", "password_hash": format!("{hash}$$$") })).await.expect(422);
    client.post("/users", json!({ "name": 1, "password": password })).await;
    client.with_token(Some(&foreign)).get("/users").await.expect(401);
    let backup = present_everywhere(&stack, &stack.backup("default").await).await;
    client.patch(&at, json!({ "password": format!("{password}-2") })).await.expect(200);
    let restore = json!({ "from": { "backup_id": backup["id"] }, "credentials": "restore", "apply": true });
    let restore = stack.restore(restore).await;
    stack.ended(restore.header("location"), "complete").await;
    let parent = format!("00-{TRACE_ID}-00f067aa0ba902b7-01");
    let answer = client.send(reqwest::Method::GET, &at, &[("traceparent", &parent)], None).await.expect(200);
    assert!(!answer.headers.contains_key("traceparent"), "it is a header of requests");
    let stored: Vec<String> = stored_hashes(&stack).await;
    stack.replica("r1").stop();

    let log = stack.replicas[0].log();
    let file = |name: &str| std::fs::read_to_string(stack.folder.path().join(name)).expect("read a file");
    let digest = file("zookeeper-auth").trim().rsplit_once(':').expect("have a password").1.to_owned();
    let identity = file("identity").trim().to_owned();
    let mut secrets = vec![password, hash, foreign, stack.token.clone(), digest, identity];
    secrets.extend(stored);
    assert!(secrets.len() >= 8);
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "a secret is in the log");
    }

    // A reader may refuse a key that comes twice, or take either.
    let twice = log.lines().find(|line| line.matches("\"target\":").count() > 1);
    assert_eq!(twice, None, "a field is named as one that every line has");
    let lines = lines(&stack);
    for line in &lines {
        for key in ["timestamp", "level", "message", "target"] {
            assert!(line[key].is_string(), "no {key} in {line}");
        }
    }
    let said = |message: &str| lines.iter().filter(|line| line["message"] == message).count();
    assert_eq!((said("leading"), said("stepped down")), (1, 1), "once each");
    assert_eq!(said("the restore is complete"), 1);
    let done = lines.iter().find(|line| line["message"] == "the backup is complete").expect("be told");
    assert_eq!(done["span"]["department.id"], "default", "{done}");
    assert!(done["backup.id"].is_string(), "{done}");
    assert!(lines.iter().any(|line| line["span"]["trace.id"] == TRACE_ID), "the trace of the client is not named");
}

/// The hashes of all users, as MongoDB has them.
async fn stored_hashes(stack: &Stack) -> Vec<String> {
    let client = mongodb::Client::with_uri_str(&stack.place.mongodb).await.expect("make a client");
    let users = client.database(&stack.place.database).collection::<mongodb::bson::Document>("users");
    let mut cursor = users.find(mongodb::bson::doc! {}).await.expect("read the users");
    let mut hashes = Vec::new();
    while cursor.advance().await.expect("go on") {
        let user = cursor.deserialize_current().expect("be a document");
        hashes.push(user.get_str("password_hash").expect("have a hash").to_owned());
    }
    hashes
}

#[tokio::test]
async fn a_failure_that_goes_on_is_some_lines_and_not_thousands() {
    let mut stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    stack.first_slot_done("default").await;
    let before = lines(&stack).len();
    stack.mongod.as_mut().expect("have one").process.kill();
    eventually("the log tells of it", Duration::from_mins(1), async || {
        let told = lines(&stack).iter().skip(before).any(|line| line["message"] == "tried again until it works");
        told.then_some(())
    })
    .await;
    // As long as a leader that fails twice a second would need for some dozens of lines.
    let since = std::time::Instant::now();
    eventually("time passes", Duration::from_mins(1), async || {
        (since.elapsed() > Duration::from_secs(8)).then_some(())
    })
    .await;
    let lines = lines(&stack);
    let mut told = std::collections::BTreeMap::<String, u32>::new();
    for line in lines.iter().skip(before).filter(|line| line["message"] == "tried again until it works") {
        *told.entry(line["action"].to_string()).or_default() += 1;
    }
    assert!(told.values().all(|times| *times == 1), "{told:?}");
}
