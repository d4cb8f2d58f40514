//! Issued tokens: what they open, that nobody gives more than he has, and that they end everywhere when they end.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

/// Within this time a revoked token is refused by every replica.
const REVOKED_WITHIN: Duration = Duration::from_secs(2);

/// A text that looks like a token, with a right check, that nobody issued.
fn forged() -> String {
    let mut bytes = rand::random::<[u8; 48]>().to_vec();
    let check = blake3::derive_key("rollkeeper 2026-11 token check", &bytes);
    bytes.extend_from_slice(&check[..3]);
    format!("rk_{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[tokio::test]
async fn a_token_opens_what_it_says_and_its_text_is_in_one_answer_and_nowhere_else() {
    let stack = Stack::start(Settings::default()).await;
    stack.department("eng").await;
    stack.create_users("eng", 1).await;
    stack.create_users("default", 1).await;
    let body = json!({ "name": " ci ", "scopes": ["users:read", "users:read"], "department": "eng", "lifetime": "1h" });
    let answer = stack.client().post("/tokens", body).await.expect(201);
    assert_eq!(answer.header("cache-control"), "no-store");
    let (text, about) = (answer.json["token"].as_str().expect("have a text"), &answer.json);
    assert!(text.starts_with("rk_") && text.len() == 71, "{}", text.len());
    assert_eq!(
        (&about["name"], &about["scopes"], &about["state"]),
        (&json!("ci"), &json!(["users:read"]), &json!("active"))
    );

    let ci = stack.client().with_token(Some(text));
    ci.get("/users/eng-00000").await.expect(200);
    assert_eq!(
        ci.get("/users").await.expect(200).json["items"].as_array().map(Vec::len),
        Some(1),
        "its own department"
    );
    ci.get("/users/default-00000").await.expect_problem(404, "not_found");
    ci.delete("/users/eng-00000").await.expect_problem(403, "missing_scope");
    // The scope is asked for before the body is read.
    ci.post("/users", json!("nonsense")).await.expect_problem(403, "missing_scope");

    let seen = stack.client().get(answer.header("location")).await.expect(200);
    let listed = stack.client().get("/tokens").await.expect(200);
    assert_eq!(listed.json["items"], json!([seen.json]));
    let secret = &text[24..];
    let client = mongodb::Client::with_uri_str(&stack.place.mongodb).await.expect("connect");
    let stored = client.database(&stack.place.database).collection::<Document>("tokens").find(doc! {}).await;
    let stored: Vec<Document> = stored.expect("ask").try_collect().await.expect("read");
    assert_eq!(stored.len(), 1);
    for shown in [seen.text, listed.text, format!("{stored:?}"), stack.replicas[0].log()] {
        assert!(!shown.contains(secret) && !shown.contains("\"token\""), "{shown}");
    }
    for stranger in [forged(), text.replace("rk_", "rk-"), text[..70].to_owned(), format!("{text}A")] {
        stack.client().with_token(Some(&stranger)).get("/users").await.expect_problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn nobody_gives_a_scope_a_department_or_a_time_that_he_does_not_have() {
    let stack = Stack::start(Settings::default()).await;
    stack.department("eng").await;
    let client = stack.client();
    for (field, value, pointer, code) in [
        ("name", json!("Bootstrap"), "/name", "reserved_token_name"),
        ("scopes", json!([]), "/scopes", "no_scope"),
        ("scopes", json!(["users:read", "root"]), "/scopes/1", "unknown_scope"),
        ("department", json!("nowhere"), "/department", "unknown_department"),
        ("lifetime", json!("0s"), "/lifetime", "invalid_lifetime"),
        ("expires_at", json!("2020-01-01T00:00:00Z"), "/expires_at", "invalid_lifetime"),
        ("secret", json!("x"), "/secret", "unknown_field"),
    ] {
        let mut body = json!({ "name": "x", "scopes": ["users:read"] });
        body[field] = value;
        client.post("/tokens", body).await.expect_field(pointer, code);
    }
    let wish = json!({ "name": "lead", "scopes": ["tokens:read", "tokens:write", "users:read"], "department": "eng", "lifetime": "1h" });
    let answer = client.post("/tokens", wish).await.expect(201).json;
    let lead = client.with_token(answer["token"].as_str());

    let refused = lead.post("/tokens", json!({ "name": "x", "scopes": ["users:read", "users:write"] })).await;
    refused.expect_problem(403, "scope_not_held");
    assert_eq!(refused.json["errors"][0]["pointer"], "/scopes/1");
    let foreign = json!({ "name": "x", "scopes": ["users:read"], "department": "default" });
    lead.post("/tokens", foreign).await.expect_problem(404, "not_found");
    let longer = json!({ "name": "x", "scopes": ["users:read"], "lifetime": "2h" });
    lead.post("/tokens", longer).await.expect_field("/lifetime", "outlives_issuer");

    let given = lead.post("/tokens", json!({ "name": "x", "scopes": ["users:read"] })).await.expect(201).json;
    assert_eq!((&given["department"], &given["expires_at"]), (&json!("eng"), &answer["expires_at"]), "as his own");
    assert_eq!((&given["issued_by"], &given["issued_with"]), (&json!("lead"), &answer["id"]));

    let (_, wide) = stack.issued(&["users:read"], None).await;
    let wide = format!("/tokens/{}", wide["id"].as_str().expect("have an id"));
    lead.get(&wide).await.expect(404);
    lead.delete(&wide).await.expect(404);
    let listed = lead.get("/tokens").await.expect(200).json;
    let names: Vec<&Value> = listed["items"].as_array().expect("have items").iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["x", "lead"], "those of its department, newest first");
    lead.get("/tokens?department=default").await.expect(404);
}

async fn refused(client: &Client, code: &str) {
    eventually("the token is refused", REVOKED_WITHIN, async || {
        let answer = client.get("/users").await;
        if answer.status == 200 {
            return None;
        }
        answer.expect_problem(401, code);
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_by_every_replica_within_two_seconds_and_its_streams_end() {
    let stack = Stack::start(Settings { replicas: 3, ..Settings::default() }).await;
    let (_, about) = stack.issued(&["users:read", "users:write", "backups:read"], None).await;
    let text = about["token"].as_str();
    let clients: Vec<Client> = stack.replicas.iter().map(|replica| replica.client.with_token(text)).collect();
    for client in &clients {
        client.get("/users").await.expect(200);
    }
    let mut listener = clients[1].listen("", None).await;
    let (lines, told) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let path = "/users/import";
    let body = reqwest::Body::wrap_stream(tokio_stream::wrappers::ReceiverStream::new(told));
    let import = clients[2].send_bytes(Method::POST, path, &[("content-type", "application/x-ndjson")], body);
    let revoke = async {
        let location = format!("/tokens/{}", about["id"].as_str().expect("have an id"));
        for _ in 0..2 {
            stack.client().delete(&location).await.expect(204);
        }
        clients[0].get("/users").await.expect_problem(401, "token_revoked");
        for client in &clients {
            refused(client, "token_revoked").await;
        }
        let line = json!({ "id": "late", "name": "Late", "password": "correct horse battery" });
        lines.send(Ok(line.to_string().into_bytes())).await.expect("be read");
        drop(lines);
        let seen = stack.client().get(&location).await.expect(200).json;
        assert_eq!((&seen["state"], &seen["revoked_by"]), (&json!("revoked"), &json!("bootstrap")));
    };
    let (imported, ()) = tokio::join!(import, revoke);
    let result: Value = serde_json::from_str(imported.text.trim()).expect("be a result");
    assert_eq!((&result["status"], &result["error"]["code"]), (&json!("failed"), &json!("unauthenticated")));
    stack.client().get("/users/late").await.expect(404);
    let ends = async { while listener.next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), ends).await.expect("the stream ends");
    assert_eq!(stack.audit("?action=revoke_token").await.len(), 1, "the second revocation changed nothing");
}

#[tokio::test]
async fn a_token_ends_at_its_time_and_is_still_shown() {
    let stack = Stack::start(Settings::default()).await;
    let body = json!({ "name": "brief", "scopes": ["users:read"], "lifetime": "2s" });
    let issued = stack.client().post("/tokens", body).await.expect(201);
    let brief = stack.client().with_token(issued.json["token"].as_str());
    brief.get("/users").await.expect(200);
    eventually("the token has expired", Duration::from_secs(10), async || {
        let answer = brief.get("/users").await;
        (answer.json["code"] == "token_expired").then_some(())
    })
    .await;
    assert_eq!(stack.client().get(issued.header("location")).await.expect(200).json["state"], "expired");
}

#[tokio::test]
async fn while_mongodb_is_stopped_the_bootstrap_token_works_and_no_other_is_called_wrong() {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    let (reader, _) = stack.issued(&["cluster:read"], None).await;
    reader.get("/cluster").await.expect(200);
    let mongod = stack.mongod.as_ref().expect("have a mongod");
    mongod.process.freeze();
    eventually("what was believed is over", Duration::from_secs(10), async || {
        let answer = reader.get("/cluster").await;
        if answer.status == 200 {
            return None;
        }
        answer.expect_problem(503, "unavailable");
        assert!(!answer.header("retry-after").is_empty());
        Some(())
    })
    .await;
    stack.client().with_token(Some(&forged())).get("/cluster").await.expect_problem(503, "unavailable");
    stack.client().with_token(Some("rk_nonsense")).get("/cluster").await.expect_problem(401, "unauthenticated");
    stack.client().get("/cluster").await.expect(200);
    mongod.process.thaw();
    eventually("the token works again", Duration::from_secs(30), async || {
        (reader.get("/cluster").await.status == 200).then_some(())
    })
    .await;
}
