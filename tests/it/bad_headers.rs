//! Preconditions, cursors, parameters, methods and media types that do not fit.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::Stack;
use crate::harness::client::{Answer, Client};
use crate::harness::settings::Settings;

async fn with(client: &Client, method: Method, path: &str, header: (&str, &str), body: Option<Value>) -> Answer {
    let headers = [header, ("content-type", "application/json")];
    client.send(method, path, &headers, body.map(|body| body.to_string())).await
}

#[tokio::test]
async fn a_change_under_a_condition_that_does_not_hold_is_not_made() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    stack.create_users("default", 1).await;
    let path = "/users/default-00000";
    let first = client.get(path).await.expect(200);
    client.patch(path, json!({ "locked": true })).await.expect(200);
    let now = client.get(path).await.expect(200);
    let (old, tag) = (first.header("etag").to_owned(), now.header("etag").to_owned());
    let (weak, bare, two) = (format!("W/{tag}"), tag.trim_matches('"').to_owned(), format!("{old}, {old}"));
    let try_both = async |value: &str, status: u16, code: &str| {
        let changed = with(client, Method::PATCH, path, ("if-match", value), Some(json!({ "name": "New" }))).await;
        changed.expect_problem(status, code);
        with(client, Method::DELETE, path, ("if-match", value), None).await.expect_problem(status, code);
    };
    for stale in [&old, &weak, &two, "\"\"", "\"0000000000000000\""] {
        try_both(stale, 412, "stale").await;
    }
    for malformed in [&bare, "", "\"", "\"open", "*, \"a\"", "\"a\" \"b\"", "W/*", "w/\"a\"", "'a'", "\u{fc}"] {
        try_both(malformed, 400, "invalid_precondition").await;
    }
    assert_eq!(client.get(path).await.expect(200).json, now.json);
    for unchanged in [&tag, &weak, "*", &format!("{old}, {weak}")] {
        let answer = with(client, Method::GET, path, ("if-none-match", unchanged), None).await.expect(304);
        assert_eq!(answer.header("etag"), tag);
        assert!(answer.text.is_empty());
    }
    let answer = with(client, Method::GET, path, ("if-none-match", &bare), None).await;
    answer.expect_problem(400, "invalid_precondition");
    with(client, Method::GET, path, ("if-none-match", &old), None).await.expect(200);
    // `*` holds for whatever is there, and for nothing that is not.
    with(client, Method::PATCH, path, ("if-match", "*"), Some(json!({ "name": "New" }))).await.expect(200);
    with(client, Method::PATCH, "/users/nobody", ("if-match", "*"), Some(json!({ "name": "x" })))
        .await
        .expect_problem(404, "not_found");
    with(client, Method::DELETE, path, ("if-match", &format!("{old}, {tag}")), None).await.expect_problem(412, "stale");
}

#[tokio::test]
async fn a_department_is_written_under_the_conditions_that_were_sent() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    let path = "/departments/sales";
    let policy = |every: &str| Some(json!({ "policy": { "backup_every": every } }));
    for tag in ["*", "\"0000000000000000\""] {
        with(client, Method::PUT, path, ("if-match", tag), policy("1h")).await.expect_problem(412, "stale");
    }
    client.get(path).await.expect_problem(404, "not_found");
    let made = with(client, Method::PUT, path, ("if-none-match", "*"), policy("1h")).await.expect(201);
    with(client, Method::PUT, path, ("if-none-match", "*"), policy("2h")).await.expect_problem(412, "stale");
    let malformed = with(client, Method::PUT, path, ("if-match", "x"), policy("2h")).await;
    malformed.expect_problem(400, "invalid_precondition");
    with(client, Method::PUT, path, ("if-match", "\"1\""), policy("2h")).await.expect_problem(412, "stale");
    with(client, Method::DELETE, path, ("if-match", "\"1\""), None).await.expect_problem(412, "stale");
    let read = client.get(path).await.expect(200);
    assert_eq!((read.header("etag"), &read.json["policy"]), (made.header("etag"), &made.json["policy"]));
    with(client, Method::PUT, path, ("if-match", made.header("etag")), policy("2h")).await.expect(200);
}

#[tokio::test]
async fn a_plan_is_applied_only_with_its_own_tag() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    stack.create_users("default", 3).await;
    let backup = stack.backup("default").await;
    client.delete("/users/default-00001").await.expect(204);
    let body = json!({ "from": { "backup_id": backup["id"] } });
    let planned = with(client, Method::POST, "/restores", ("prefer", "wait=30"), Some(body)).await.expect(200);
    let path = format!("{}/apply", planned.header("location"));
    let tag = planned.header("etag").to_owned();
    client.send(Method::POST, &path, &[], None).await.expect_problem(428, "precondition_required");
    with(client, Method::POST, &path, ("if-match", "*"), None).await.expect_problem(428, "precondition_required");
    for stale in ["\"x\"", &format!("W/{tag}"), &tag.to_uppercase()] {
        with(client, Method::POST, &path, ("if-match", stale), None).await.expect_problem(412, "stale");
    }
    let malformed = with(client, Method::POST, &path, ("if-match", tag.trim_matches('"')), None).await;
    malformed.expect_problem(400, "invalid_precondition");
    assert_eq!(stack.all_users("default").await.len(), 2);
    let still = client.get(planned.header("location")).await.expect(200).json;
    assert_eq!((&still["state"], &still["apply"]), (&json!("planned"), &json!(false)));
    client.send(Method::POST, &path, &[("if-match", &tag)], None).await.expect(202);
    stack.ended(planned.header("location"), "complete").await;
    client.send(Method::POST, &path, &[("if-match", &tag)], None).await.expect_problem(409, "not_planned");
    let cancel = format!("{}/cancel", planned.header("location"));
    client.send(Method::POST, &cancel, &[], None).await.expect_problem(409, "already_ended");
}

#[tokio::test]
async fn a_cursor_that_was_changed_or_comes_from_another_list_is_refused() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    stack.create_users("default", 5).await;
    let page = client.get("/users?limit=2").await.expect(200).json;
    let cursor = page["next_cursor"].as_str().expect("have a cursor").to_owned();
    let flip = |at: usize| {
        let mut bytes = cursor.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).expect("be text")
    };
    let forged = [flip(0), flip(cursor.len() / 2), flip(cursor.len() - 2), cursor[1..].to_owned()];
    let short = [cursor[..cursor.len() - 1].to_owned(), cursor[..20].to_owned(), String::new(), "A".to_owned()];
    let other = [cursor.clone() + "A", cursor.clone() + "%3D", "%00".to_owned(), "*".to_owned(), "x".repeat(10_000)];
    let twice = format!("{cursor}&cursor={cursor}");
    for bad in forged.iter().chain(&short).chain(&other).chain([&twice]) {
        client.get(&format!("/users?limit=2&cursor={bad}")).await.expect_problem(400, "invalid_cursor");
    }
    for (list, filter) in [("users", "locked=true"), ("users", "department=default"), ("backups", ""), ("restores", "")]
    {
        let answer = client.get(&format!("/{list}?{filter}&cursor={cursor}")).await;
        answer.expect_problem(400, "cursor_mismatch");
    }
    client.get(&format!("/departments?cursor={cursor}")).await.expect_problem(400, "cursor_mismatch");
    // Another size of page is no other list.
    let next = client.get(&format!("/users?limit=3&cursor={cursor}")).await.expect(200).json;
    assert_eq!(next["items"].as_array().map(Vec::len), Some(3));
    assert!(next.get("next_cursor").is_none(), "{next}");
}

#[tokio::test]
async fn a_parameter_that_is_unknown_or_out_of_range_is_refused_on_every_list() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    for list in ["users", "departments", "backups", "restores"] {
        for limit in ["0", "1001", "abc", "-1", "", "1.5", "1e2", "99999999999999999999", "10&limit=10", "%00"] {
            client.get(&format!("/{list}?limit={limit}")).await.expect_parameter("limit", "invalid_limit");
        }
        client.get(&format!("/{list}?limit=1000")).await.expect(200);
        client.get(&format!("/{list}?offset=1")).await.expect_parameter("offset", "unknown_parameter");
    }
    for (query, name, code) in [
        ("locked=yes", "locked", "invalid_flag"),
        ("updated_since=yesterday", "updated_since", "invalid_time"),
        ("updated_since=2026-13-01T00:00:00Z", "updated_since", "invalid_time"),
        ("updated_since=2026-11-23T09:30:00", "updated_since", "invalid_time"),
        ("ids=a,b%20c", "ids", "invalid_id"),
    ] {
        client.get(&format!("/users?{query}")).await.expect_parameter(name, code);
    }
    let ids: Vec<String> = (0..201).map(|n| format!("u{n}")).collect();
    client.get(&format!("/users?ids={}", ids.join(","))).await.expect_parameter("ids", "too_many_ids");
    client.get("/backups?state=done").await.expect_parameter("state", "invalid_state");
    client.get("/restores?state=done").await.expect_parameter("state", "invalid_state");
    for path in ["/backups/nope", "/restores/nope", "/restores/0197F4E2-7A1B-7C3D-8E4F-5A6B7C8D9E0F/changes"] {
        client.get(path).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones_and_a_wrong_media_type_is_415() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    for (method, path, allowed) in [
        (Method::PUT, "/users", "GET,HEAD,POST"),
        (Method::POST, "/users/u1", "DELETE,GET,HEAD,PATCH"),
        (Method::GET, "/users/import", ""),
        (Method::POST, "/cluster", "GET,HEAD"),
        (Method::OPTIONS, "/backups", "GET,HEAD,POST"),
        (Method::TRACE, "/livez", "GET,HEAD"),
        (Method::GET, "/restores/x/apply", "POST"),
    ] {
        let answer = client.send(method.clone(), path, &[], None).await;
        if allowed.is_empty() {
            // `import` is an id like any other to GET.
            answer.expect_problem(405, "method_not_allowed");
            continue;
        }
        answer.expect_problem(405, "method_not_allowed");
        let mut sent: Vec<&str> = answer.header("allow").split(',').collect();
        sent.sort_unstable();
        assert_eq!(sent.join(","), allowed, "{method} {path}");
    }
    let body = json!({ "name": "Ada", "password": "correct horse battery" }).to_string();
    let types =
        ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data", "*/*"];
    for media in types.iter().chain(&["application/merge-patch+json", "application/problem+json", "\u{e9}"]) {
        let headers = [("content-type", *media)];
        let answer = client.send(Method::POST, "/users", &headers, Some(body.clone())).await;
        answer.expect_problem(415, "unsupported_media_type");
    }
    client.send(Method::POST, "/users", &[], Some(body.clone())).await.expect_problem(415, "unsupported_media_type");
    client.send(Method::POST, "/users", &[], None).await.expect_problem(415, "unsupported_media_type");
    let patch = client.send(Method::PATCH, "/users/u1", &[("content-type", "text/plain")], Some(body.clone())).await;
    patch.expect_problem(415, "unsupported_media_type");
    assert!(patch.header("accept-patch").contains("merge-patch+json"), "{:?}", patch.headers);
    assert!(stack.all_users("default").await.is_empty());
    let headers = [("content-type", "Application/JSON; charset=utf-8")];
    client.send(Method::POST, "/users", &headers, Some(body)).await.expect(201);
}

#[tokio::test]
async fn an_error_is_problem_json_whatever_the_client_accepts_and_a_strange_request_id_is_replaced() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    for accept in ["text/html", "application/xml", "image/png;q=0", "nonsense", ""] {
        let answer = client.send(Method::GET, "/users/nobody", &[("accept", accept)], None).await;
        answer.expect_problem(404, "not_found");
        client.send(Method::GET, "/users", &[("accept", accept)], None).await.expect(200);
    }
    for id in ["", "two words", "\u{e9}", &"x".repeat(129)] {
        let answer = client.send(Method::GET, "/nowhere", &[("x-request-id", id)], None).await;
        answer.expect_problem(404, "not_found");
        assert_ne!(answer.header("x-request-id"), id);
    }
    let answer = client.send(Method::GET, "/nowhere", &[("x-request-id", "mine-1")], None).await;
    assert_eq!(answer.json["request_id"], "mine-1");
    for prefer in ["wait=-1", "wait=soon", "wait=99999999999999999999", ";;;,,,", "\u{e9}"] {
        let headers = [("prefer", prefer), ("content-type", "application/json")];
        let body = json!({ "department": "nowhere" }).to_string();
        let answer = client.send(Method::POST, "/backups", &headers, Some(body)).await;
        answer.expect_field("/department", "unknown_department");
    }
}

#[tokio::test]
async fn a_request_that_is_no_http_is_answered_as_a_problem_too() {
    let stack = Stack::start(Settings::default()).await;
    let address = stack.replicas[0].url.trim_start_matches("http://").to_owned();
    let head = format!("host: {address}\r\nauthorization: Bearer {}\r\nconnection: close\r\n", stack.token);
    let many = (0..200).map(|n| format!("x-{n}: 1")).collect::<Vec<_>>().join("\r\n") + "\r\n";
    let requests: [(u16, &str, Vec<u8>); 7] = [
        (400, "invalid_request", [b"GET /users/\xff HTTP/1.1\r\n", head.as_bytes(), b"\r\n"].concat()),
        (400, "invalid_request", [b"GET /users?ids=\xff HTTP/1.1\r\n", head.as_bytes(), b"\r\n"].concat()),
        (400, "invalid_request", b"\x16\x03\x01\x02\x00 no TLS here\r\n\r\n".to_vec()),
        (400, "invalid_request", format!("POST /users HTTP/1.1\r\n{head}content-length: -1\r\n\r\n").into()),
        (414, "uri_too_long", format!("GET /users/{} HTTP/1.1\r\n{head}\r\n", "x".repeat(100_000)).into()),
        (431, "headers_too_large", format!("GET /users HTTP/1.1\r\n{head}{many}\r\n").into()),
        (431, "headers_too_large", format!("GET /users HTTP/1.1\r\n{head}x: {}\r\n\r\n", "x".repeat(500_000)).into()),
    ];
    for (status, code, request) in requests {
        let mut connection = TcpStream::connect(&address).await.expect("connect");
        // It may be answered before it has been sent to its end.
        let _ = connection.write_all(&request).await;
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).expect("be text");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("\r\nx-served-by: r1\r\n"), "{answer}");
        assert!(answer.contains("\r\ncontent-type: application/problem+json\r\n"), "{answer}");
        let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("have a body")).expect("be JSON");
        assert_eq!((&body["status"], &body["code"]), (&json!(status), &json!(code)), "{answer}");
        assert!(answer.contains(body["request_id"].as_str().expect("have an id")), "{answer}");
    }
    stack.client().get("/users").await.expect(200);
}
