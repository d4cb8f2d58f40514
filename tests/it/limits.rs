//! One client that asks for too much, or takes its time, costs the others nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

const SOON: Duration = Duration::from_secs(30);

async fn stack(limits: &str) -> Stack {
    let http = ", hash_concurrency = 1, hash_queue = 64, argon2 = { memory_kib = 19456, iterations = 2 }".to_owned();
    Stack::start(Settings { http, extra: format!("[limits]\n{limits}"), ..Settings::default() }).await
}

async fn connect(stack: &Stack) -> TcpStream {
    let address = stack.replicas[0].url.trim_start_matches("http://").to_owned();
    TcpStream::connect(address).await.expect("connect")
}

/// Everything that comes until the other side closes, or resets what it does not want to read.
async fn to_the_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the connection stays open after {}", String::from_utf8_lossy(&bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_flood_is_shed_at_once_with_503_while_probes_and_what_was_let_in_are_answered() {
    let stack = stack("in_flight = 4").await;
    let mut flood = JoinSet::new();
    for n in 0..60 {
        let client = stack.client().clone();
        flood.spawn(async move {
            client.post("/users", json!({ "name": format!("User {n}"), "password": "correct horse" })).await
        });
    }
    let (mut made, mut shed) = (0, 0);
    while let Some(answer) = flood.join_next().await {
        let answer = answer.expect("be answered");
        if answer.status == 201 {
            made += 1;
        } else {
            answer.expect_problem(503, "overloaded");
            assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
            shed += 1;
        }
        for probe in ["/livez", "/readyz"] {
            stack.client().get(probe).await.expect(200);
        }
    }
    assert!(made >= 4 && shed >= 30, "{made} were made and {shed} shed");
    assert_eq!(stack.records("default").await.len(), made);
}

#[tokio::test]
async fn those_who_wait_for_a_job_take_nobodys_place() {
    let stack = stack("in_flight = 1\nwaiting = 2").await;
    let mut waiting = JoinSet::new();
    for _ in 0..2 {
        let client = stack.client().clone();
        waiting.spawn(async move {
            let body = json!({ "department": "default" }).to_string();
            let headers = [("content-type", "application/json"), ("prefer", "wait=60")];
            client.send(Method::POST, "/backups", &headers, Some(body)).await
        });
    }
    stack.client().get("/users").await.expect(200);
    while let Some(answer) = waiting.join_next().await {
        answer.expect("be answered").expect(200);
    }
}

#[tokio::test]
async fn a_token_that_is_used_too_often_is_told_when_to_come_again() {
    let stack = stack("requests = { burst = 40, per_minute = 60 }").await;
    let client = stack.client();
    let refused = eventually("the burst is used up", SOON, async || {
        let answer = client.get("/users?limit=1").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    refused.expect_problem(429, "rate_limited");
    let after: u64 = refused.header("retry-after").parse().expect("say when to come again");
    assert!((1..=2).contains(&after), "{after}");
    // Neither probes nor other callers pay for it.
    client.get("/readyz").await.expect(200);
    client.with_token(Some("another")).get("/users").await.expect_problem(401, "unauthenticated");
    eventually("it is let in again", SOON, async || (client.get("/users?limit=1").await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn a_connection_that_never_ends_its_headers_is_cut() {
    let stack = stack("header_timeout = \"1s\"").await;
    let mut silent = connect(&stack).await;
    let mut trickling = connect(&stack).await;
    trickling.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n").await.expect("write");
    let (mut reads, mut writes) = trickling.split();
    let trickle = async {
        while writes.write_all(b"x: y\r\n").await.is_ok() {
            // Nothing is waited for: this is how slow the client is.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let cut = async {
        let mut bytes = Vec::new();
        // A reset is an end as well.
        let _ = reads.read_to_end(&mut bytes).await;
    };
    let either = async {
        tokio::select! { () = trickle => {}, () = cut => {} }
    };
    tokio::time::timeout(SOON, either).await.expect("be cut");
    assert_eq!(to_the_end(&mut silent).await, "");
    stack.client().get("/livez").await.expect(200);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_with_408_and_the_connection_is_closed() {
    let stack = stack("body_timeout = \"1s\"").await;
    let mut slow = connect(&stack).await;
    let head = format!(
        "POST /users HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{{\"name\":",
        stack.token
    );
    slow.write_all(head.as_bytes()).await.expect("write");
    let answer = to_the_end(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"body_too_slow\"") && answer.contains("x-served-by: r1"), "{answer}");
    assert!(stack.records("default").await.is_empty());
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_cut() {
    let stack = stack("write_timeout = \"1s\"\n[telemetry]\nlevel = \"info,rollkeeper=debug\"").await;
    stack.create_users("default", 1000).await;
    let mut deaf = connect(&stack).await;
    let request = format!("GET /users?limit=1000 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", stack.token);
    let asked = 200;
    let (mut reads, mut writes) = deaf.split();
    let (asks, mut sends) = (request.repeat(asked), async |text: String| writes.write_all(text.as_bytes()).await);
    // It may be cut while it still asks.
    let _ = tokio::time::timeout(Duration::from_secs(5), sends(asks)).await;
    let log = "a connection was cut";
    eventually("it is cut", SOON, async || stack.replicas[0].log().contains(log).then_some(())).await;
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(SOON, reads.read_to_end(&mut bytes)).await.expect("end");
    let answers = String::from_utf8_lossy(&bytes).matches("HTTP/1.1 200").count();
    assert!(answers < asked, "all of {asked} answers were taken");
    stack.client().get("/livez").await.expect(200);
}

/// Opens so many connections, each with a request, and tells which were served; the others were told why not.
async fn crowd(stack: &Stack, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = connect(stack).await;
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("write");
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await.expect("be answered");
        if begin == *b"HTTP/1.1 200" {
            open.push(stream);
            continue;
        }
        let rest = to_the_end(&mut stream).await;
        let told = rest.contains("\"too_many_connections\"") && rest.contains("retry-after: 1");
        assert!(begin == *b"HTTP/1.1 503" && told, "{} {rest}", String::from_utf8_lossy(&begin));
    }
    open
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so_and_room_is_made_by_those_that_close() {
    let stack = stack("connections = 20").await;
    let open = crowd(&stack, 40).await;
    // The harness has some of its own.
    assert!((10..=20).contains(&open.len()), "{} are open", open.len());
    drop(open);
    there_is_room(&stack).await;
}

async fn there_is_room(stack: &Stack) {
    eventually("there is room", SOON, async || {
        let answer = stack.client().try_send(Method::GET, "/readyz", &[], None).await;
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_for_which_the_system_has_no_files_are_told_so_instead_of_waiting() {
    let folder = tempfile::tempdir().expect("make a folder");
    let few = folder.path().join("few-files");
    let binary = env!("CARGO_BIN_EXE_rollkeeper");
    std::fs::write(&few, format!("#!/bin/sh\nulimit -n 128\nexec {binary} \"$@\"\n")).expect("write a file");
    std::fs::set_permissions(&few, std::fs::Permissions::from_mode(0o755)).expect("make it a program");
    let stack = Stack::start(Settings { binary: few, ..Settings::default() }).await;
    let open = crowd(&stack, 150).await;
    assert!((32..=64).contains(&open.len()), "{} are open", open.len());
    drop(open);
    there_is_room(&stack).await;
    stack.create("default", "ada", "Ada").await;
}
