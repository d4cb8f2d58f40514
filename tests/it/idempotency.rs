//! A POST that is sent again under its key has its effect once, whichever replica is asked and whatever broke meanwhile.

use std::time::Duration;

use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::client::{Answer, Client};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

const SOON: Duration = Duration::from_secs(30);
const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";

async fn post(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    client.send(Method::POST, path, &headers, Some(body.to_string())).await
}

/// Sends a request again until it is no longer being carried out by somebody who may be gone.
async fn post_until_carried_out(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    eventually(&format!("{path} is carried out"), SOON, async || {
        let answer = post(client, path, key, body).await;
        if answer.json["code"] != "idempotency_key_in_use" {
            return Some(answer);
        }
        answer.expect_problem(409, "idempotency_key_in_use");
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
        None
    })
    .await
}

async fn documents(stack: &Stack, collection: &str, filter: Document) -> Vec<Document> {
    let found = stack.database().await.collection::<Document>(collection).find(filter).await.expect("find");
    found.try_collect().await.expect("read")
}

/// Lets statements of `r1` on a collection wait or fail; an own mongod only.
async fn fail(stack: &Stack, mode: Document, collection: &str, mut data: Document) {
    data.insert("namespace", format!("{}.{collection}", stack.place.database));
    data.insert("appName", "r1");
    let set = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
    let admin = stack.database().await.client().database("admin");
    admin.run_command(set).await.expect("set the fail point");
}

async fn no_more_faults(stack: &Stack) {
    let admin = stack.database().await.client().database("admin");
    let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    admin.run_command(off).await.expect("set the fail point");
}

#[tokio::test]
async fn the_same_answer_comes_from_every_replica_and_the_effect_once() {
    let stack = Stack::start(Settings { replicas: 2, ..Settings::default() }).await;
    let (first, second) = (&stack.replicas[0].client, &stack.replicas[1].client);
    let body = json!({ "name": "Ada", "password": "correct horse" });
    let made = post(first, "/users", "\"key-1\"", &body).await.expect(201);
    assert_eq!(made.header("idempotency-replayed"), "");
    for (client, key) in [(second, "\"key-1\""), (first, "key-1")] {
        let again = post(client, "/users", key, &body).await.expect(201);
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(again.text, made.text);
        for header in ["etag", "location", "content-type"] {
            assert_eq!(again.header(header), made.header(header), "{header}");
        }
        assert_ne!(again.header("x-request-id"), made.header("x-request-id"));
    }
    assert_eq!(stack.records("default").await.len(), 1);
    // A refusal that would come again is an answer as well, and comes again even when the reason for it is gone.
    let refused = post(first, "/users", "key-2", &body).await;
    refused.expect_problem(409, "name_taken");
    first.delete(made.header("location")).await.expect(204);
    let again = post(second, "/users", "key-2", &body).await.expect(409);
    assert_eq!((again.text, again.headers["idempotency-replayed"].as_bytes()), (refused.text, b"true".as_slice()));
    post(second, "/users", "key-3", &body).await.expect(201);
}

#[tokio::test]
async fn a_key_belongs_to_one_request_and_no_secret_lies_with_it() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    let body = json!({ "name": "Ada", "password": "correct horse" });
    post(client, "/users", "the-key", &body).await.expect(201);
    let other = json!({ "name": "Bob", "password": "correct horse" });
    post(client, "/users", "the-key", &other).await.expect_problem(422, "idempotency_key_reused");
    let backup = json!({ "department": "default" });
    post(client, "/backups", "the-key", &backup).await.expect_problem(422, "idempotency_key_reused");
    post(client, "/users", "", &other).await.expect_problem(400, "invalid_idempotency_key");
    let kept = documents(&stack, "idempotency", doc! {}).await;
    assert_eq!(kept.len(), 1);
    let text = format!("{kept:?}");
    let bytes =
        kept[0].get_document("answer").expect("have an answer").get_binary_generic("body").expect("have a body");
    let answer = String::from_utf8_lossy(bytes);
    for secret in ["the-key", "correct horse", "$argon2", &stack.token] {
        assert!(!text.contains(secret) && !answer.contains(secret), "{secret}");
    }
    let lifetime = kept[0].get_datetime("expires_at").expect("expire").timestamp_millis()
        - kept[0].get_datetime("created_at").expect("be made").timestamp_millis();
    assert_eq!(lifetime, 24 * 3600 * 1000);
    let indexes = stack.database().await.collection::<Document>("idempotency").list_index_names().await;
    assert!(indexes.expect("list").contains(&"expires_at".to_owned()));
}

#[tokio::test]
async fn what_reads_is_carried_out_each_time_and_an_import_takes_no_key() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    client.post("/users", json!({ "id": "ada", "name": "Ada", "password_hash": BCRYPT })).await.expect(201);
    let question = json!({ "password": "correct horse" });
    let path = "/users/ada/verify-password";
    let first = post(client, path, "key", &question).await.expect(200);
    client.patch("/users/ada", json!({ "locked": true })).await.expect(200);
    let second = post(client, path, "key", &question).await.expect(200);
    assert_eq!((&first.json["verified"], &second.json["verified"]), (&json!(true), &json!(false)));
    let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", "key")];
    let import = client.send(Method::POST, "/users/import", &headers, Some(String::new())).await;
    import.expect_problem(422, "idempotency_key_unsupported");
    client.with_token(None).send(Method::POST, "/users", &headers, None).await.expect_problem(401, "unauthenticated");
    assert!(documents(&stack, "idempotency", doc! {}).await.is_empty());
}

#[tokio::test]
async fn whoever_comes_again_too_early_is_told_so_and_a_client_that_left_finds_its_user_made_once() {
    let stack = Stack::start(Settings { own_mongod: true, replicas: 2, ..Settings::default() }).await;
    let slow = doc! { "failCommands": ["insert"], "blockConnection": true, "blockTimeMS": 3000 };
    fail(&stack, doc! { "times": 1 }, "users", slow).await;
    let body = json!({ "name": "Ada", "password_hash": BCRYPT });
    let (client, sent) = (stack.replicas[0].client.clone(), body.clone());
    let mut first = tokio::task::JoinSet::new();
    first.spawn(async move { post(&client, "/users", "key", &sent).await });
    eventually("the first is being carried out", SOON, async || {
        (documents(&stack, "idempotency", doc! { "state": "running" }).await.len() == 1).then_some(())
    })
    .await;
    let second = post(&stack.replicas[1].client, "/users", "key", &body).await;
    second.expect_problem(409, "idempotency_key_in_use");
    // The client goes away; what it asked for is on its way to MongoDB.
    first.abort_all();
    let answer = post_until_carried_out(&stack.replicas[1].client, "/users", "key", &body).await.expect(201);
    let users = eventually("the user is there", SOON, async || {
        Some(stack.records("default").await).filter(|users| !users.is_empty())
    })
    .await;
    assert_eq!(users.keys().collect::<Vec<_>>(), [answer.json["id"].as_str().expect("have an id")]);
    let again = post(&stack.replicas[0].client, "/users", "key", &body).await.expect(201);
    assert_eq!((again.text, again.headers["idempotency-replayed"].as_bytes()), (answer.text, b"true".as_slice()));
}

#[tokio::test]
async fn an_answer_that_says_come_again_is_not_kept() {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    let body = json!({ "name": "Ada", "password_hash": BCRYPT });
    let down = doc! { "failCommands": ["insert"], "errorCode": 11600 };
    fail(&stack, doc! { "times": 50 }, "users", down).await;
    post(stack.client(), "/users", "key", &body).await.expect_problem(503, "outcome_unknown");
    no_more_faults(&stack).await;
    // The driver takes MongoDB for gone for a moment.
    let made = eventually("it is made", SOON, async || {
        let answer = post_until_carried_out(stack.client(), "/users", "key", &body).await;
        (answer.status != 503).then_some(answer)
    })
    .await
    .expect(201);
    assert_eq!(made.header("idempotency-replayed"), "");
    assert_eq!(stack.records("default").await.len(), 1);
}

#[tokio::test]
async fn a_replica_that_dies_between_effect_and_answer_leaves_one_user_one_backup_and_one_restore() {
    let mut stack = Stack::start(Settings { own_mongod: true, replicas: 2, ..Settings::default() }).await;
    stack.create_users("default", 3).await;
    let backup = stack.backup("default").await;
    let requests = [
        ("/users", "key-1", json!({ "name": "Ada", "password_hash": BCRYPT })),
        ("/users", "key-2", json!({ "id": "bob", "name": "Bob", "password_hash": BCRYPT })),
        ("/backups", "key-3", json!({ "department": "default" })),
        ("/restores", "key-4", json!({ "from": { "backup_id": backup["id"] } })),
    ];
    // The effect is had, and the answer cannot be kept: that is where it dies.
    let never = doc! { "failCommands": ["update"], "blockConnection": true, "blockTimeMS": 600_000 };
    fail(&stack, doc! { "times": 1000 }, "idempotency", never).await;
    let mut sent = tokio::task::JoinSet::new();
    for (path, key, body) in requests.clone() {
        let client = stack.replica("r1").client.clone();
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        sent.spawn(async move { client.try_send(Method::POST, path, &headers, Some(body.to_string())).await });
    }
    let on_demand = || doc! { "kind": "on_demand", "_id.id": { "$ne": backup["id"].as_str().expect("have an id") } };
    let effects = async |stack: &Stack| {
        let users = stack.records("default").await.len() - 3;
        let backups = documents(stack, "backups", on_demand()).await.len();
        (users, backups, documents(stack, "restores", doc! {}).await.len())
    };
    eventually("every effect is had", SOON, async || (effects(&stack).await == (2, 1, 1)).then_some(())).await;
    stack.replica("r1").kill();
    while let Some(answer) = sent.join_next().await {
        assert!(answer.expect("run").is_err(), "nobody was answered");
    }
    assert_eq!(documents(&stack, "idempotency", doc! { "state": "running" }).await.len(), 4);
    // To end the fault would be to wait until nobody is in it; it is one of `r1` alone.
    let other = stack.replica("r2").client.clone();
    for (path, key, body) in requests {
        let status = if path == "/users" { 201 } else { 202 };
        let answer = post_until_carried_out(&other, path, key, &body).await.expect(status);
        assert_eq!(answer.header("idempotency-replayed"), "", "nobody had kept an answer");
        let again = post(&other, path, key, &body).await.expect(status);
        assert_eq!((again.header("idempotency-replayed"), &again.text), ("true", &answer.text));
        other.get(answer.header("location")).await.expect(200);
    }
    assert_eq!(effects(&stack).await, (2, 1, 1));
}

/// Leaves every record as a replica does that dies after the effect: carried out by somebody who is gone, without an answer.
async fn forget_the_answers(stack: &Stack) {
    let records = stack.database().await.collection::<Document>("idempotency");
    let gone = doc! { "state": "running", "holder": "gone", "lease_until": mongodb::bson::DateTime::from_millis(0) };
    let update = doc! { "$set": gone, "$unset": { "answer": "" } };
    records.update_many(doc! {}, update).await.expect("write past the service");
}

#[tokio::test]
async fn apply_undo_cancel_hold_and_sync_find_what_they_did_when_they_are_carried_out_again() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    stack.create_users("default", 3).await;
    let backup = stack.backup("default").await;
    client.delete("/users/default-00001").await.expect(204);
    let body = json!({ "from": { "backup_id": backup["id"] } });
    let plan = async || {
        let headers = [("content-type", "application/json"), ("prefer", "wait=30")];
        client.send(Method::POST, "/restores", &headers, Some(body.to_string())).await.expect(200)
    };
    // The same request twice, with no answer kept of the first time.
    let twice = async |path: String, tag: &str, status: u16| {
        let headers = [("idempotency-key", path.as_str()), ("if-match", tag)];
        let headers = &headers[..if tag.is_empty() { 1 } else { 2 }];
        let first = client.send(Method::POST, &path, headers, None).await.expect(status);
        if status == 202 {
            let ended = if path.ends_with("/cancel") { "cancelled" } else { "complete" };
            stack.ended(first.header("location"), ended).await;
        }
        forget_the_answers(&stack).await;
        let second = client.send(Method::POST, &path, headers, None).await.expect(status);
        assert_eq!((second.header("location"), second.header("idempotency-replayed")), (first.header("location"), ""));
        first.header("location").to_owned()
    };
    let planned = plan().await;
    let restore = planned.header("location").to_owned();
    twice(format!("{restore}/apply"), planned.header("etag"), 202).await;
    twice(format!("{restore}/undo"), "", 202).await;
    twice(format!("{}/cancel", plan().await.header("location")), "", 202).await;
    twice("/departments/default/sync".to_owned(), "", 200).await;
    twice(format!("/backups/{}/hold", backup["id"].as_str().expect("have an id")), "", 200).await;
    assert_eq!(documents(&stack, "restores", doc! {}).await.len(), 3, "two plans and one undo");
    assert_eq!(stack.records("default").await.len(), 2, "the restore was taken back once");
}

#[tokio::test]
async fn a_token_is_issued_once_under_a_key_and_shown_again_and_its_secret_lies_nowhere() {
    let stack = Stack::start(Settings { replicas: 2, ..Settings::default() }).await;
    let body = json!({ "name": "ci", "scopes": ["users:read"] });
    let first = post(stack.client(), "/tokens", "the-key", &body).await.expect(201);
    let second = post(&stack.replicas[1].client, "/tokens", "the-key", &body).await.expect(201);
    assert_eq!(first.json, second.json);
    assert_eq!((second.header("cache-control"), second.header("idempotency-replayed")), ("no-store", "true"));
    let text = first.json["token"].as_str().expect("have a text");
    stack.client().with_token(Some(text)).get("/users").await.expect(200);
    let other = json!({ "name": "other", "scopes": ["users:read"] });
    post(stack.client(), "/tokens", "the-key", &other).await.expect_problem(422, "idempotency_key_reused");
    assert_eq!(stack.client().get("/tokens").await.expect(200).json["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(documents(&stack, "audit", doc! { "action": "issue_token" }).await.len(), 1);
    let kept = format!("{:?}", documents(&stack, "idempotency", doc! {}).await);
    assert!(!kept.contains(&text[24..]), "{kept}");

    let fresh = post(stack.client(), "/tokens", "another-key", &body).await.expect(201);
    assert_ne!(fresh.json["token"], first.json["token"]);
}
