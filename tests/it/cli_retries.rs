//! What the command line does when answers are late, lost or refused for the moment. The service is a stand-in here, since a
//! real one does not lose an answer at the moment that a test wishes.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::harness::cli::cli_command;
use crate::harness::vault::Told;

const ID: &str = "0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f";

/// A request as it was sent: its first line, its key, its body.
#[derive(Debug)]
struct Seen {
    line: String,
    key: Option<String>,
    body: String,
}

/// Reads one request, and answers it; without an answer the connection is closed.
async fn serve(listener: &TcpListener, answer: Option<&str>) -> Seen {
    let (connection, _) = listener.accept().await.expect("accept");
    let mut reader = BufReader::new(connection);
    let (mut lines, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.expect("read a line");
        let line = line.trim().to_owned();
        if line.is_empty() {
            break;
        }
        if let Some(said) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = said.parse().expect("be a number");
        }
        lines.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.expect("read the body");
    if let Some(answer) = answer {
        reader.get_mut().write_all(answer.as_bytes()).await.expect("answer");
    }
    let key = lines.iter().find_map(|line| line.strip_prefix("idempotency-key: ")).map(str::to_owned);
    Seen { line: lines[0].clone(), key, body: String::from_utf8(body).expect("be UTF-8") }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
}

fn backup(state: &str) -> String {
    format!(r#"{{"id": "{ID}", "department": "eng", "state": "{state}", "copies": []}}"#)
}

#[tokio::test]
async fn a_post_whose_answer_is_lost_is_sent_again_under_the_same_key_and_its_job_is_waited_for_through_a_restart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let address = listener.local_addr().expect("have an address");
    let create = ["backup", "create", "--department", "eng", "--wait", "--output", "json"];
    let command = cli_command(&format!("http://{address}"), "token", &create).spawn().expect("run the program");

    let first = serve(&listener, None).await;
    let busy = answer("503 Service Unavailable", "retry-after: 1\r\n", r#"{"code": "overloaded", "detail": "Busy."}"#);
    let (refused_at, second) = (Instant::now(), serve(&listener, Some(&busy)).await);
    let third = serve(&listener, Some(&answer("202 Accepted", "", &backup("queued")))).await;
    assert!(refused_at.elapsed() >= Duration::from_secs(1), "it came again before it was told to");
    assert!(first.key.is_some() && first.line.starts_with("POST /backups "), "{first:?}");
    assert_eq!((&first.key, &first.key), (&second.key, &third.key));

    let look = serve(&listener, Some(&answer("200 OK", "", &backup("running")))).await;
    assert_eq!(look.line, format!("GET /backups/{ID} HTTP/1.1"));
    drop(listener);
    // Nobody listens, as while a replica starts.
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}"),
        }
    };
    serve(&listener, None).await;
    serve(&listener, Some(&answer("200 OK", "", &backup("complete")))).await;
    let told = Told::from(command.wait_with_output().await.expect("wait for the program")).expect(0);
    assert_eq!(told.json()["state"], "complete");
    assert!(told.err.contains("trying again"), "{}", told.err);
}

#[tokio::test]
async fn retries_end_with_their_time_and_other_refusals_are_not_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let url = format!("http://{}", listener.local_addr().expect("have an address"));
    let show = ["backup", "show", ID, "--retry-for", "1s"];
    let command = cli_command(&url, "token", &show).spawn().expect("run the program");
    let busy = answer("503 Service Unavailable", "", r#"{"code": "unavailable", "detail": "MongoDB is away."}"#);
    let ended = command.wait_with_output();
    tokio::pin!(ended);
    let told: Told = loop {
        tokio::select! {
            seen = serve(&listener, Some(&busy)) => assert!(seen.line.starts_with("GET "), "{seen:?}"),
            told = &mut ended => break told.expect("wait for the program").into(),
        }
    };
    assert!(told.expect(3).err.contains("it was tried again for 1s"));

    let command = cli_command(&url, "token", &show).spawn().expect("run the program");
    let gone = answer("404 Not Found", "", r#"{"code": "not_found", "detail": "There is no such backup."}"#);
    serve(&listener, Some(&gone)).await;
    let told = Told::from(command.wait_with_output().await.expect("wait for the program")).expect(1);
    assert!(told.err.contains("There is no such backup. (404, not_found)"), "{}", told.err);

    let failed = cli_command(&url, "token", &["backup", "show", ID, "--output", "json"]).spawn().expect("run");
    serve(&listener, Some(&answer("200 OK", "", "<html>another server</html>"))).await;
    let told = Told::from(failed.wait_with_output().await.expect("wait for the program")).expect(1);
    assert!(told.err.contains("is the URL right?"), "{}", told.err);
}

#[tokio::test]
async fn a_job_that_fails_is_exit_code_1_and_one_that_takes_too_long_3() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let url = format!("http://{}", listener.local_addr().expect("have an address"));
    let create = ["backup", "create", "--department", "eng", "--wait"];
    let command = cli_command(&url, "token", &create).spawn().expect("run the program");
    serve(&listener, Some(&answer("202 Accepted", "", &backup("queued")))).await;
    let failed = backup("failed").replace("\"copies\"", r#""cause": {"code": "x", "message": "No target."}, "copies""#);
    serve(&listener, Some(&answer("200 OK", "", &failed))).await;
    let told = Told::from(command.wait_with_output().await.expect("wait for the program")).expect(1);
    assert!(told.err.contains("is failed: No target."), "{}", told.err);

    let command = cli_command(&url, "token", &[&create[..], &["--timeout", "0s"]].concat()).spawn().expect("run");
    serve(&listener, Some(&answer("202 Accepted", "", &backup("queued")))).await;
    serve(&listener, Some(&answer("200 OK", "", &backup("running")))).await;
    let told = Told::from(command.wait_with_output().await.expect("wait for the program")).expect(3);
    assert!(told.err.contains("running and goes on"), "{}", told.err);
}

#[tokio::test]
async fn an_export_whose_connection_breaks_is_not_taken_for_a_whole_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let url = format!("http://{}", listener.local_addr().expect("have an address"));
    let folder = tempfile::tempdir().expect("make a folder");
    let file = folder.path().join("export.ndjson");
    // Two lines, and no last chunk.
    let half = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n16\r\n{\"id\":\"a\"}\n{\"id\":\"b\"}\n\r\n";
    for into in [None, file.to_str()] {
        let into: Vec<&str> = into.iter().flat_map(|file| ["--output-file", file]).collect();
        let command = cli_command(&url, "token", &[&["users", "export"][..], &into].concat()).spawn();
        serve(&listener, Some(half)).await;
        let told = Told::from(command.expect("run").wait_with_output().await.expect("wait for the program")).expect(1);
        assert!(told.err.contains("is not whole"), "{}", told.err);
        assert_eq!(std::fs::read_dir(folder.path()).expect("list the folder").count(), 0);
    }
}

#[tokio::test]
async fn only_lines_without_an_answer_are_imported_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let url = format!("http://{}", listener.local_addr().expect("have an address"));
    let folder = tempfile::tempdir().expect("make a folder");
    let file = folder.path().join("users.ndjson");
    std::fs::write(&file, "{\"a\":1}\n\n{\"a\":2}\n{\"a\":3}\n").expect("write a file");
    let import = ["users", "import", file.to_str().expect("be UTF-8"), "--output", "json"];
    let command = cli_command(&url, "token", &import).spawn().expect("run the program");
    let answered = "{\"line\":2,\"id\":\"b\",\"status\":\"created\"}\n";
    let away =
        "{\"line\":3,\"status\":\"failed\",\"error\":{\"code\":\"unavailable\",\"message\":\"MongoDB is away.\"}}\n";
    let first = serve(&listener, Some(&answer("200 OK", "", &[answered, away].concat()))).await;
    assert_eq!((first.body.as_str(), first.key), ("{\"a\":1}\n{\"a\":2}\n{\"a\":3}", None));
    let taken =
        "{\"line\":1,\"status\":\"failed\",\"error\":{\"code\":\"id_taken\",\"message\":\"The id is taken.\"}}\n";
    let there = "{\"line\":2,\"id\":\"c\",\"status\":\"unchanged\"}\n";
    let second = serve(&listener, Some(&answer("200 OK", "", &[taken, there].concat()))).await;
    assert_eq!(second.body, "{\"a\":1}\n{\"a\":3}");
    let told = Told::from(command.wait_with_output().await.expect("wait for the program")).expect(1);
    let summary = told.json();
    assert_eq!((&summary["lines"], &summary["created"], &summary["unchanged"]), (&3.into(), &1.into(), &1.into()));
    assert!(told.err.contains("line 1: id_taken") && told.err.contains("It was sent before"), "{}", told.err);

    let command = cli_command(&url, "token", &import).spawn().expect("run the program");
    serve(&listener, Some(&answer("200 OK", "", &answered.replace('2', "1")))).await;
    let gone = answer("401 Unauthorized", "", r#"{"code": "token_revoked", "detail": "The token was revoked."}"#);
    serve(&listener, Some(&gone)).await;
    let told = Told::from(command.wait_with_output().await.expect("wait for the program")).expect(1);
    assert!(told.err.contains("token_revoked") && told.err.contains("--from-line 3"), "{}", told.err);
    assert_eq!((&told.json()["complete"], &told.json()["lines"]), (&false.into(), &1.into()));
}
