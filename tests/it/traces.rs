//! Traces: what arrives at a collector, and that nobody waits for one that does not answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually, unique};

const SOON: Duration = Duration::from_secs(30);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A collector: whatever was sent to it, head and body.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<Vec<u8>>>>);

impl Collector {
    /// Starts one; its address.
    async fn start(answers: bool) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("have an address");
        let collector = Self::default();
        let kept = collector.clone();
        Handle::current().spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                if answers {
                    Handle::current().spawn(kept.clone().take(stream));
                } else {
                    open.push(stream);
                }
            }
        });
        (collector, format!("http://{address}"))
    }

    async fn take(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        while stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
            let Some(end) = whole(&bytes) else { continue };
            let request = bytes.drain(..end).collect();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }

    fn all(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether anything that was sent holds some bytes.
    fn holds(&self, some: &[u8]) -> bool {
        self.all().iter().any(|request| request.windows(some.len()).any(|bytes| bytes == some))
    }
}

/// Where a request ends, once it is whole.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())?;
    (bytes.len() >= head + 4 + length).then_some(head + 4 + length)
}

fn settings(collector: &str) -> Settings {
    Settings { extra: format!("[telemetry]\notlp_endpoint = \"{collector}\""), ..Settings::default() }
}

#[tokio::test]
async fn the_span_of_a_request_arrives_in_its_trace_with_its_department_and_without_a_secret() {
    let (collector, address) = Collector::start(true).await;
    let mut stack = Stack::start(settings(&address)).await;
    stack.department("traced").await;
    let (password, parent) = (unique("password"), format!("00-{TRACE}-{PARENT}-01"));
    let user = json!({ "id": "ada", "department": "traced", "name": "Name of Ada", "password": password });
    let headers = [("content-type", "application/json"), ("traceparent", &*parent), ("x-request-id", "the-request")];
    stack.client().send(Method::POST, "/users", &headers, Some(user.to_string())).await.expect(201);
    let not_sampled = [("traceparent", "00-aaaabbbbccccddddaaaabbbbccccdddd-00f067aa0ba902b7-00")];
    stack.client().send(Method::GET, "/users/ada", &not_sampled, None).await.expect(200);
    let hash = stack.records("traced").await["ada"].password_hash.expose().to_owned();
    // The end of the process sends what has not been sent.
    stack.replica("r1").stop();

    let ids: Vec<u8> = hex::decode(TRACE).expect("be hexadecimal");
    eventually("the span is there", SOON, async || collector.holds(&ids).then_some(())).await;
    assert!(collector.holds(&hex::decode(PARENT).expect("be hexadecimal")), "it has its parent");
    for wanted in
        ["department.id", "traced", "the-request", "status", "rollkeeper", "service.instance.id", "POST /v1/traces "]
    {
        assert!(collector.holds(wanted.as_bytes()), "no {wanted}");
    }
    let other = hex::decode("aaaabbbbccccddddaaaabbbbccccdddd").expect("be hexadecimal");
    assert!(!collector.holds(&other), "its caller does not record it");
    for secret in [&password, &hash, &stack.token, "Name of Ada"] {
        assert!(!collector.holds(secret.as_bytes()), "a secret was sent");
    }
}

#[tokio::test]
async fn a_collector_that_does_not_answer_holds_up_neither_requests_nor_the_end() {
    let (_, address) = Collector::start(false).await;
    let mut stack = Stack::start(settings(&address)).await;
    let begun = Instant::now();
    for _ in 0..200 {
        stack.client().get("/users?limit=1").await.expect(200);
    }
    assert!(begun.elapsed() < SOON, "200 requests took {:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(stack.replica("r1").stop().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15), "it ended after {:?}", begun.elapsed());
}
