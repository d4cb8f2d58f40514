//! Requests that cannot be read: each is refused with a clear problem, and nothing is written.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::Stack;
use crate::harness::client::Answer;
use crate::harness::settings::Settings;

const JSON: (&str, &str) = ("content-type", "application/json");
/// Largest body that is taken.
const BODY_MAX: usize = 1 << 20;

async fn post(stack: &Stack, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    stack.client().send_bytes(Method::POST, path, &[JSON], body).await
}

/// A user whose JSON is filled with white space to a length.
fn padded(name: &str, length: usize) -> String {
    let user = json!({ "name": name, "password": "correct horse battery" }).to_string();
    user.clone() + &" ".repeat(length - user.len())
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused_and_writes_nothing() {
    let stack = Stack::start(Settings::default()).await;
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b" ".to_vec(),
        b"{".to_vec(),
        b"{\"name\": \"Ada\", \"password\": \"correct horse\"".to_vec(),
        b"{\"name\": \"Ada\", \"password\": \"correct horse\",}".to_vec(),
        b"{\"name\": \"Ada\", \"password\": \"correct horse\"} {}".to_vec(),
        b"{'name': 'Ada', 'password': 'correct horse'}".to_vec(),
        b"{\"name\": \"Ad\xff\", \"password\": \"correct horse\"}".to_vec(),
        b"{\"name\": \"Ada\", \"password\": \"correct horse\", \"\xc3\x28\": 1}".to_vec(),
        b"{\"name\": \"Ada\x00\", \"password\": \"correct horse\"}".to_vec(),
        b"{\"name\": \"\\ud83d\", \"password\": \"correct horse\"}".to_vec(),
        b"{\"name\": \"\\udc00\\ud83d\", \"password\": \"correct horse\"}".to_vec(),
        b"{\"name\": 1e999, \"password\": \"correct horse\"}".to_vec(),
        b"{\"name\": NaN}".to_vec(),
        b"\xef\xbb\xbf{\"name\": \"Ada\", \"password\": \"correct horse\"}".to_vec(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body).into_owned();
        for (method, path) in [
            (Method::POST, "/users"),
            (Method::POST, "/backups"),
            (Method::POST, "/restores"),
            (Method::PUT, "/departments/sales"),
        ] {
            let answer = stack.client().send_bytes(method, path, &[JSON], body.clone()).await;
            assert_eq!(answer.status, 400, "{path} {shown}: {}", answer.text);
            answer.expect_problem(400, "invalid_json");
            assert!(!answer.text.contains("correct horse"), "{}", answer.text);
        }
    }
    assert!(stack.all_users("default").await.is_empty());
    stack.client().get("/departments/sales").await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn deep_json_is_refused_at_once_wherever_it_stands() {
    let stack = Stack::start(Settings::default()).await;
    for depth in [129, 10_000, 400_000] {
        let deep = "[".repeat(depth) + &"]".repeat(depth);
        for body in [deep.clone(), format!("{{\"name\": {deep}}}"), format!("{{\"unknown\": {deep}}}")] {
            post(&stack, "/users", body.clone()).await.expect_problem(400, "invalid_json");
            post(&stack, "/restores", body).await.expect_problem(400, "invalid_json");
        }
        let objects = "{\"a\":".repeat(depth / 3 + 129) + "1" + &"}".repeat(depth / 3 + 129);
        post(&stack, "/users", objects).await.expect_problem(400, "invalid_json");
    }
    assert!(stack.all_users("default").await.is_empty());
}

#[tokio::test]
async fn a_body_may_be_one_mebibyte_and_a_larger_one_is_read_on_so_that_the_answer_arrives() {
    let stack = Stack::start(Settings::default()).await;
    post(&stack, "/users", padded("fits", BODY_MAX)).await.expect(201);
    for length in [BODY_MAX + 1, 2 * BODY_MAX, 8 * BODY_MAX] {
        post(&stack, "/users", padded("too long", length)).await.expect_problem(413, "too_large");
        post(&stack, "/backups", padded("too long", length)).await.expect_problem(413, "too_large");
    }
    // A body without a length that is known before.
    let chunks = (0..40).map(|_| Ok::<_, std::io::Error>(vec![b' '; 100_000]));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    post(&stack, "/users", body).await.expect_problem(413, "too_large");
    let users = stack.all_users("default").await;
    assert_eq!(users.len(), 1, "{users:?}");
    assert_eq!(users[0]["name"], "fits");
}

#[tokio::test]
async fn a_large_body_that_is_refused_unread_is_read_on_so_that_the_answer_arrives() {
    let stack = Stack::start(Settings::default()).await;
    let (client, nobody) = (stack.client(), stack.client().with_token(None));
    let body = || padded("never", 6 * BODY_MAX);
    for _ in 0..5 {
        nobody.send_bytes(Method::POST, "/users", &[JSON], body()).await.expect_problem(401, "unauthenticated");
        let text = [("content-type", "text/plain")];
        client.send_bytes(Method::POST, "/users", &text, body()).await.expect_problem(415, "unsupported_media_type");
        client.send_bytes(Method::POST, "/nowhere", &[JSON], body()).await.expect_problem(404, "not_found");
        client.send_bytes(Method::PUT, "/users", &[JSON], body()).await.expect_problem(405, "method_not_allowed");
        client.send_bytes(Method::PATCH, "/users/nobody", &[JSON], body()).await.expect_problem(413, "too_large");
        let wrong = nobody.send_bytes(Method::POST, "/users/import", &[], body()).await;
        wrong.expect_problem(401, "unauthenticated");
    }
    assert!(stack.all_users("default").await.is_empty());
}

#[tokio::test]
async fn a_body_that_breaks_off_writes_nothing() {
    let stack = Stack::start(Settings::default()).await;
    let address = stack.replicas[0].url.trim_start_matches("http://").to_owned();
    let body = json!({ "name": "Half", "password": "correct horse battery" }).to_string();
    let head = format!(
        "POST /users HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        stack.token
    );
    // The connection ends after a whole JSON value, but before the length that was said.
    let mut connection = TcpStream::connect(&address).await.expect("connect");
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len() + 10);
    connection.write_all(request.as_bytes()).await.expect("write");
    connection.shutdown().await.expect("end the sending side");
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains(" 201 "), "{}", String::from_utf8_lossy(&answer));
    // A chunk whose length is no number.
    let mut connection = TcpStream::connect(&address).await.expect("connect");
    let request = format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n{body}\r\n0\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("write");
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("broken_body"), "{answer}");
    assert!(stack.all_users("default").await.is_empty());
}

#[tokio::test]
async fn a_path_or_a_query_that_is_not_utf_8_is_refused() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    for path in ["/users/%ff", "/users/%c3%28", "/backups/%ff", "/restores/%ff", "/departments/%fe%fe"] {
        client.get(path).await.expect_problem(400, "invalid_path");
    }
    client.put("/departments/%ff", json!({})).await.expect_problem(400, "invalid_path");
    for query in ["name_prefix=%ff", "name_prefix=%EF%BF%BD%ff", "%ff=1", "cursor=%c3%28", "department=%80"] {
        client.get(&format!("/users?{query}")).await.expect_problem(400, "invalid_query");
    }
    // The replacement character itself is a character like any other.
    client.get("/users?name_prefix=%EF%BF%BD").await.expect(200);
}

#[tokio::test]
async fn a_field_of_the_wrong_shape_is_named_and_its_value_is_not_repeated() {
    let stack = Stack::start(Settings::default()).await;
    let good = "\"name\": \"Ada\", \"password\": \"correct horse\"";
    for (body, pointer, code) in [
        ("[]".to_owned(), "", "wrong_type"),
        ("null".to_owned(), "", "wrong_type"),
        ("\"hunter2\"".to_owned(), "", "wrong_type"),
        ("{}".to_owned(), "/name", "missing_field"),
        ("{\"name\": 7, \"password\": \"correct horse\"}".to_owned(), "/name", "wrong_type"),
        ("{\"name\": null, \"password\": \"correct horse\"}".to_owned(), "/name", "wrong_type"),
        ("{\"name\": [\"hunter2\"], \"password\": \"correct horse\"}".to_owned(), "/name", "wrong_type"),
        ("{\"name\": \"Ada\", \"password\": {\"hunter2\": 1}}".to_owned(), "/password", "wrong_type"),
        (format!("{{{good}, \"id\": null}}"), "/id", "wrong_type"),
        (format!("{{{good}, \"locked\": \"hunter2, expected hunter2\"}}"), "/locked", "wrong_type"),
        (format!("{{{good}, \"locked\": 1}}"), "/locked", "wrong_type"),
        (format!("{{{good}, \"department\": null}}"), "/department", "wrong_type"),
        (format!("{{{good}, \"name\": \"hunter2\"}}"), "/name", "duplicate_field"),
        (format!("{{{good}, \"admin\": true}}"), "/admin", "unknown_field"),
        (format!("{{{good}, \"a/b~c\": true}}"), "/a~1b~0c", "unknown_field"),
        (format!("{{{good}, \"Locked\": true}}"), "/Locked", "unknown_field"),
        (format!("{{{good}, \"version\": 3}}"), "/version", "unknown_field"),
    ] {
        let answer = post(&stack, "/users", body.clone()).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.text);
        answer.expect_field(pointer, code);
        assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    }
    let long = format!("{{{good}, \"{}\": true}}", "x".repeat(900_000));
    let answer = post(&stack, "/users", long).await;
    answer.expect_problem(422, "invalid");
    assert!(answer.text.len() < 4096, "an answer of {} bytes", answer.text.len());
    let nested = json!({ "from": { "backup_id": "x", "page": 1 } });
    stack.client().post("/restores", nested).await.expect_field("/from/page", "unknown_field");
    let policy = json!({ "policy": { "backup_every": 10 } });
    stack.client().put("/departments/sales", policy).await.expect_field("/policy/backup_every", "wrong_type");
    // An array does not stand for an object, although its items would fit the fields in their order.
    for (path, body) in [("/backups", json!(["default"])), ("/users", json!(["u1", "default", "Ada", "correct horse"]))]
    {
        stack.client().post(path, body).await.expect_field("", "wrong_type");
    }
    stack.client().put("/departments/sales", json!([])).await.expect_field("", "wrong_type");
    stack.client().put("/departments/sales", json!({ "policy": ["10s"] })).await.expect_field("/policy", "wrong_type");
    let from = json!({ "from": ["0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f"] });
    stack.client().post("/restores", from).await.expect_field("/from", "wrong_type");
    assert!(stack.all_users("default").await.is_empty());
    stack.client().get("/departments/sales").await.expect_problem(404, "not_found");
    assert_eq!(stack.client().get("/restores").await.expect(200).json["items"], json!([]));
}
