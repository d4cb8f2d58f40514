//! Imports with broken lines, broken streams and broken connections: what is good arrives, and every line has its result.

use std::time::Duration;

use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxlLXNhbHQtMDE$1rBUU2jrGMzPeKRYNGndy8ozvtm05CBFs59hxa/MB5k";
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn good(n: usize) -> Vec<u8> {
    json!({ "id": format!("u{n:05}"), "name": format!("User {n}"), "password_hash": HASH }).to_string().into_bytes()
}

async fn import(stack: &Stack, query: &str, body: impl Into<reqwest::Body>) -> Vec<Value> {
    let path = format!("/users/import{query}");
    let answer = stack.client().send_bytes(Method::POST, &path, &[NDJSON], body).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    answer.text.lines().map(|line| serde_json::from_str(line).expect("be a result")).collect()
}

async fn ids(stack: &Stack) -> Vec<String> {
    let users = stack.all_users("default").await;
    users.iter().map(|user| user["id"].as_str().expect("have an id").to_owned()).collect()
}

#[tokio::test]
async fn every_broken_line_has_its_result_and_the_lines_around_it_are_imported() {
    let stack = Stack::start(Settings::default()).await;
    let field = |name: &str, value: Value| {
        let mut line: Value = serde_json::from_slice(&good(1)).expect("be JSON");
        line["id"] = json!("never");
        line["name"] = json!("Never");
        line[name] = value;
        line.to_string().into_bytes()
    };
    let long = [b"{\"name\": \"".to_vec(), vec![b'x'; 70_000], b"\"}".to_vec()].concat();
    let deep = ["[".repeat(30_000), "]".repeat(30_000)].concat().into_bytes();
    let broken: Vec<(Vec<u8>, &str, &str)> = vec![
        (b"{\"name\": ".to_vec(), "invalid_json", ""),
        (b"not json".to_vec(), "invalid_json", ""),
        (b"{\"name\": \"\xff\"}".to_vec(), "invalid_json", ""),
        (b"\x00".to_vec(), "invalid_json", ""),
        (deep, "invalid_json", ""),
        (long, "line_too_long", ""),
        (b"[]".to_vec(), "invalid", ""),
        (b"{}".to_vec(), "invalid", "/name"),
        (field("unknown", json!(1)), "invalid", "/unknown"),
        (field("id", json!("a b")), "invalid", "/id"),
        (field("id", json!("x".repeat(65))), "invalid", "/id"),
        (field("name", json!("x".repeat(129))), "invalid", "/name"),
        (field("name", json!("a\u{0}b")), "invalid", "/name"),
        (field("password", json!("too much")), "invalid", "/password_hash"),
        (field("password_hash", json!(HASH.replace("m=19456", "m=4194304"))), "invalid", "/password_hash"),
        (field("department", json!("nowhere")), "invalid", "/department"),
        (field("department", json!("Not One")), "invalid", "/department"),
        (field("locked", json!(null)), "invalid", "/locked"),
        (field("created_at", json!("yesterday")), "invalid", "/created_at"),
        (field("created_at", json!("-000044-03-15T00:00:00Z")), "invalid", "/created_at"),
        (b"{\"id\": \"never\", \"name\": \"Never\"}".to_vec(), "invalid", "/password"),
        (field("id", json!("u00000")), "id_taken", "/id"),
        (field("name", json!("User 0")), "name_taken", "/name"),
    ];
    let mut lines = vec![good(0)];
    for (n, (line, _, _)) in broken.iter().enumerate() {
        lines.push(line.clone());
        lines.push(good(n + 1));
    }
    let results = import(&stack, "", lines.join(&b'\n')).await;
    assert_eq!(results.len(), lines.len());
    for (at, result) in results.iter().enumerate() {
        assert_eq!(result["line"], at + 1, "{result}");
        if at % 2 == 0 {
            assert_eq!(result["status"], "created", "{result}");
            continue;
        }
        let (line, code, pointer) = &broken[at / 2];
        let shown = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        assert_eq!((&result["status"], &result["error"]["code"]), (&json!("failed"), &json!(code)), "{shown} {result}");
        if !pointer.is_empty() {
            assert_eq!(result["error"]["errors"][0]["pointer"], **pointer, "{shown} {result}");
        }
        assert!(!result.to_string().contains("1rBUU2jr"), "{result}");
    }
    let expected: Vec<String> = (0..=broken.len()).map(|n| format!("u{n:05}")).collect();
    assert_eq!(ids(&stack).await, expected);
}

#[tokio::test]
async fn a_conflict_in_an_import_is_settled_as_asked_and_nothing_else_changes() {
    let stack = Stack::start(Settings::default()).await;
    import(&stack, "", [good(1), good(2)].join(&b'\n')).await;
    let before = stack.all_users("default").await;
    let renamed = json!({ "id": "u00001", "name": "User 2", "password_hash": HASH }).to_string();
    let results = import(&stack, "?on_conflict=skip", renamed.clone()).await;
    assert_eq!(results[0]["status"], "skipped");
    // The name belongs to another user, so the record with this id cannot take it.
    let results = import(&stack, "?on_conflict=replace", renamed).await;
    assert_eq!((&results[0]["status"], &results[0]["error"]["code"]), (&json!("failed"), &json!("name_taken")));
    assert_eq!(stack.all_users("default").await, before);
    for (query, name, code) in [
        ("?on_conflict=merge", "on_conflict", "invalid_on_conflict"),
        ("?department=nowhere", "department", "unknown_department"),
        ("?department=A", "department", "invalid_department"),
        ("?dry_run=true", "dry_run", "unknown_parameter"),
    ] {
        let path = format!("/users/import{query}");
        stack.client().send_bytes(Method::POST, &path, &[NDJSON], good(9)).await.expect_parameter(name, code);
    }
    for media in ["text/csv", "application/json", "multipart/form-data", "application/x-www-form-urlencoded"] {
        let headers = [("content-type", media)];
        let answer = stack.client().send_bytes(Method::POST, "/users/import", &headers, good(9)).await;
        answer.expect_problem(415, "unsupported_media_type");
    }
    assert_eq!(stack.all_users("default").await, before);
    assert!(import(&stack, "", "").await.is_empty());
    assert!(import(&stack, "", "\n\n \r\n").await.is_empty());
}

#[tokio::test]
async fn a_client_that_waits_for_the_result_of_each_line_gets_it() {
    let stack = Stack::start(Settings::default()).await;
    let (lines, body) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = reqwest::Body::wrap_stream(tokio_stream::wrappers::ReceiverStream::new(body));
    let send = |n| lines.send(Ok([good(n), b"\n".to_vec()].concat()));
    send(0).await.expect("send");
    let request = reqwest::Client::new().post(format!("{}/users/import", stack.replicas[0].url));
    let answer = request.bearer_auth(&stack.token).body(body).send().await.expect("have an answer");
    let mut results = answer.bytes_stream();
    for n in 0..3 {
        let told = tokio::time::timeout(Duration::from_secs(20), results.next()).await;
        let told = told.expect("come in time").expect("go on").expect("be read");
        let result: Value = serde_json::from_slice(&told).expect("be a result");
        assert_eq!((&result["line"], &result["status"]), (&json!(n + 1), &json!("created")));
        send(n + 1).await.expect("send");
    }
    drop(lines);
    while results.next().await.is_some() {}
    assert_eq!(ids(&stack).await.len(), 4);
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_of_an_import_leaves_whole_records_and_a_working_service() {
    let stack = Stack::start(Settings::default()).await;
    let address = stack.replicas[0].url.trim_start_matches("http://").to_owned();
    let head = format!(
        "POST /users/import HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: 10000000\r\n\r\n",
        stack.token
    );
    let mut body: Vec<u8> = (0..1200).flat_map(|n| [good(n), b"\n".to_vec()].concat()).collect();
    let half = good(9999);
    body.extend(&half[..half.len() - 1]);
    let mut connection = TcpStream::connect(&address).await.expect("connect");
    connection.write_all(head.as_bytes()).await.expect("write");
    connection.write_all(&body).await.expect("write");
    let mut first = [0; 15];
    connection.read_exact(&mut first).await.expect("have an answer");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    // At least two whole batches have arrived, the last line never does.
    eventually("the batches are written", Duration::from_secs(30), async || {
        (stack.all_users("default").await.len() >= 1000).then_some(())
    })
    .await;
    drop(connection);
    let found = ids(&stack).await;
    let expected: Vec<String> = (0..found.len()).map(|n| format!("u{n:05}")).collect();
    assert_eq!(found, expected, "a prefix of the whole lines");
    let results = import(&stack, "?on_conflict=skip", body).await;
    assert_eq!(results.len(), 1201);
    assert_eq!(results[1200]["error"]["code"], "invalid_json");
    assert_eq!(ids(&stack).await.len(), 1200);
}
