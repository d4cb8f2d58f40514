//! Many requests at the same time: of the service by a client as thin as can be, and of MongoDB by the bare driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bare::Bare;
use crate::people::Person;

/// Connections at the same time.
pub(crate) const CONNECTIONS: usize = 32;

/// What every connection does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// Read a user.
    Get,
    /// Create a user with a given hash.
    Post,
}

/// Requests a second of the service over HTTP.
pub(crate) async fn service(base: &str, token: &str, act: Act, people: Arc<Vec<Person>>, during: Duration) -> f64 {
    let address = base.trim_start_matches("http://").to_owned();
    let (head, next) = (format!("Host: {address}\r\nAuthorization: Bearer {token}\r\n"), Arc::new(AtomicUsize::new(0)));
    all(during, || {
        let (address, head, people, next) = (address.clone(), head.clone(), Arc::clone(&people), Arc::clone(&next));
        async move {
            let mut connection = TcpStream::connect(&address).await.expect("connect to the replica");
            connection.set_nodelay(true).expect("set an option");
            let (begun, mut count) = (Instant::now(), 0);
            while begun.elapsed() < during {
                let person = next_of(&people, &next);
                let (request, expected) = match act {
                    Act::Get => (format!("GET /users/{} HTTP/1.1\r\n{head}\r\n", person.id), "200"),
                    Act::Post => (creation(&head, person), "201"),
                };
                exchange(&mut connection, &request, expected).await;
                count += 1;
            }
            count
        }
    })
    .await
}

/// Creates users at a steady rate, each once; tells of each when it was acknowledged.
pub(crate) async fn paced(base: &str, token: &str, people: Arc<Vec<Person>>, rate: u32) -> Vec<(usize, Instant)> {
    let address = base.trim_start_matches("http://").to_owned();
    let head = format!("Host: {address}\r\nAuthorization: Bearer {token}\r\n");
    let (begun, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (address, head, people, next) = (address.clone(), head.clone(), Arc::clone(&people), Arc::clone(&next));
        workers.spawn(async move {
            let mut connection = TcpStream::connect(&address).await.expect("connect to the replica");
            connection.set_nodelay(true).expect("set an option");
            let mut acknowledged = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(person) = people.get(at) else { return acknowledged };
                let due = begun + Duration::from_secs(1) * u32::try_from(at).unwrap_or(u32::MAX) / rate;
                tokio::time::sleep_until(due.into()).await;
                exchange(&mut connection, &creation(&head, person), "201").await;
                acknowledged.push((at, Instant::now()));
            }
        });
    }
    workers.join_all().await.concat()
}

/// The request that creates a user.
pub(crate) fn creation(head: &str, person: &Person) -> String {
    let body = person.body();
    let length = body.len();
    format!("POST /users HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Operations a second of the bare driver.
pub(crate) async fn driver(bare: &Bare, act: Act, people: Arc<Vec<Person>>, during: Duration) -> f64 {
    let next = Arc::new(AtomicUsize::new(0));
    all(during, || {
        let (bare, people, next) = (bare.clone(), Arc::clone(&people), Arc::clone(&next));
        async move {
            let (begun, mut count) = (Instant::now(), 0);
            while begun.elapsed() < during {
                let person = next_of(&people, &next);
                match act {
                    Act::Get => bare.find(&person.id).await,
                    Act::Post => bare.users().insert_one(person.document()).await.map(drop).expect("insert a user"),
                }
                count += 1;
            }
            count
        }
    })
    .await
}

async fn all<F>(during: Duration, work: impl Fn() -> F) -> f64
where
    F: Future<Output = u32> + Send + 'static,
{
    let mut workers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        workers.spawn(work());
    }
    f64::from(workers.join_all().await.iter().sum::<u32>()) / during.as_secs_f64()
}

pub(crate) fn next_of<'a>(people: &'a [Person], next: &AtomicUsize) -> &'a Person {
    // A step that has no factor in common with the number of users, so that neighbours are not read one after another.
    let at = next.fetch_add(1, Ordering::Relaxed);
    &people[at.wrapping_mul(7919) % people.len()]
}

/// Sends a request and reads its answer to the end.
async fn exchange(connection: &mut TcpStream, request: &str, expected: &str) {
    let answer = ask(connection, request).await.expect("be answered");
    assert_eq!(answer.get(9..12), Some(expected.as_bytes()), "{}", String::from_utf8_lossy(&answer));
}

/// Sends a request and reads its answer to the end, head and body.
pub(crate) async fn ask(connection: &mut TcpStream, request: &str) -> std::io::Result<Vec<u8>> {
    connection.write_all(request.as_bytes()).await?;
    let (mut answer, mut length) = (Vec::with_capacity(2048), None);
    loop {
        if connection.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if length.is_none() {
            length = length_of(&answer);
        }
        if length.is_some_and(|length| answer.len() >= length) {
            return Ok(answer);
        }
    }
}

/// How many bytes an answer has, once its head is there.
fn length_of(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let body: usize = lengths.find_map(|(_, length)| length.parse().ok()).unwrap_or_default();
    Some(end + 4 + body)
}
