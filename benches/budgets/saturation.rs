//! More and more connections, past what a replica can do: what those that are answered wait for, and who is refused.
//!
//! Rule: a client that is refused comes again when it was told to. Whatever is neither an answer nor a refusal (429, 503) ends the
//! run with an error: a reset, another status, silence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::Rng as _;
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::load::{ask, creation, next_of};
use crate::people::{DEPARTMENT, Person, people};
use crate::table::{Table, millis, percentile};
use crate::{DURING, PEAK_MAX, Run, told};

/// Connections at the same time.
const LEVELS: [usize; 6] = [1, 8, 32, 128, 512, 2048];
/// Who is not answered for so long is not answered.
const PATIENCE: Duration = Duration::from_secs(30);
/// Department of the users that are created.
const CREATED: &str = "saturated";
/// Users that can be created at one level.
const CREATED_MAX: usize = 80_000;
/// Users of a page.
const PAGE: usize = 100;
/// Failures that are told of.
const TOLD: usize = 5;

/// What every connection asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Get,
    Create,
    Page,
}

/// What all connections have in common.
struct Asked {
    address: String,
    head: String,
    act: Act,
    people: Arc<Vec<Person>>,
    next: AtomicUsize,
    begin: Barrier,
    /// Whether refused clients come again at once, as they should not.
    impatient: bool,
}

/// What connections have seen.
#[derive(Debug, Default)]
struct Seen {
    answered: Vec<Duration>,
    refused: Vec<Duration>,
    codes: BTreeMap<String, usize>,
    failed: Vec<String>,
}

/// Every act at every level; one row each.
pub(crate) async fn rising(run: &Run, table: &mut Table) {
    allow_connections();
    run.stack.department(CREATED).await;
    let existing = Arc::new(run.people.clone());
    for (act, what) in [
        (Act::Get, "GET /users/{id}"),
        (Act::Create, "POST /users, given hash"),
        (Act::Page, "GET /users, a page of 100"),
    ] {
        for (n, connections) in (0..).zip(LEVELS) {
            let people = match act {
                Act::Create => Arc::new(people(CREATED, CREATED_MAX, 100 + n)),
                Act::Get | Act::Page => Arc::clone(&existing),
            };
            let what = format!("{what}, rising: {connections} connections");
            level(run, table, &what, (act, connections, false), people).await;
        }
    }
    let most = LEVELS[LEVELS.len() - 1];
    let what = format!("GET /users/{{id}}, rising: {most} connections that ask again at once when refused");
    level(run, table, &what, (Act::Get, most, true), existing).await;
    run.synced().await;
}

async fn level(
    run: &Run,
    table: &mut Table,
    what: &str,
    (act, connections, impatient): (Act, usize, bool),
    people: Arc<Vec<Person>>,
) {
    let replica = &run.stack.replicas[0];
    let address = replica.url.trim_start_matches("http://").to_owned();
    let head = format!("Host: {address}\r\nAuthorization: Bearer {}\r\n", run.stack.token);
    let (next, begin) = (AtomicUsize::new(0), Barrier::new(connections));
    let asked = Arc::new(Asked { address, head, act, people, next, begin, impatient });
    run.memory.forget_peak();
    let mut running = JoinSet::new();
    for _ in 0..connections {
        running.spawn(Arc::clone(&asked).connection());
    }
    let mut seen = Seen::default();
    while let Some(one) = running.join_next().await {
        seen.add(one.expect("ask until the end"));
    }
    let (answered, refused) = (seen.answered.len(), seen.refused.len());
    let rate = per_second(answered);
    told(&format!(
        "{what}: {rate:.0}/s, p99 {}, refused {refused} {:?}",
        millis(percentile(&seen.answered, 99)),
        seen.codes
    ));
    let failed = &seen.failed[..seen.failed.len().min(TOLD)];
    assert!(failed.is_empty(), "{what}: {} requests were neither answered nor refused: {failed:?}", seen.failed.len());
    table.loaded(what, &seen.answered, rate, &seen.refused).memory(run.memory.peak(), PEAK_MAX);
}

impl Asked {
    async fn connection(self: Arc<Self>) -> Seen {
        let mut seen = Seen::default();
        let mut stream = self.connect().await;
        self.begin.wait().await;
        let (begun, mut cursor) = (Instant::now(), None);
        while begun.elapsed() < DURING {
            let (request, expected) = self.request(cursor.as_deref());
            let asked = Instant::now();
            let answer = tokio::time::timeout(PATIENCE, ask(&mut stream, &request)).await;
            let took = asked.elapsed();
            let answer = match answer {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => return seen.failed(error.to_string()),
                Err(_) => return seen.failed(format!("no answer within {PATIENCE:?}")),
            };
            let status = String::from_utf8_lossy(answer.get(9..12).unwrap_or_default()).into_owned();
            if status == expected {
                seen.answered.push(took);
                cursor = text_after(&answer, "\"next_cursor\":\"", '"');
                continue;
            }
            let Some(wait) = refusal(&answer, &status) else {
                return seen.failed(String::from_utf8_lossy(&answer).into_owned());
            };
            seen.refused.push(took);
            let code = text_after(&answer, "\"code\":\"", '"').unwrap_or_default();
            *seen.codes.entry(format!("{status} {code}")).or_default() += 1;
            if !self.impatient {
                // Not all of them at the same moment.
                let wait = wait.mul_f64(rand::rng().random_range(1.0..1.5));
                tokio::time::sleep(wait.min(DURING.saturating_sub(begun.elapsed()))).await;
            }
            if text_after(&answer, "connection: ", '\r').is_some_and(|says| says == "close") {
                stream = self.connect().await;
            }
        }
        seen
    }

    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).await.expect("connect to the replica");
        stream.set_nodelay(true).expect("set an option");
        stream
    }

    /// The next request, and the status of its answer.
    fn request(&self, cursor: Option<&str>) -> (String, &'static str) {
        let head = &self.head;
        match self.act {
            Act::Get => {
                let person = next_of(&self.people, &self.next);
                (format!("GET /users/{} HTTP/1.1\r\n{head}\r\n", person.id), "200")
            }
            Act::Create => {
                let person = self.people.get(self.next.fetch_add(1, Ordering::Relaxed)).expect("have users left");
                (creation(head, person), "201")
            }
            Act::Page => {
                let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
                (format!("GET /users?department={DEPARTMENT}&limit={PAGE}{cursor} HTTP/1.1\r\n{head}\r\n"), "200")
            }
        }
    }
}

impl Seen {
    fn failed(mut self, how: String) -> Self {
        self.failed.push(how);
        self
    }

    fn add(&mut self, mut other: Self) {
        self.answered.append(&mut other.answered);
        self.refused.append(&mut other.refused);
        self.failed.append(&mut other.failed);
        for (code, count) in other.codes {
            *self.codes.entry(code).or_default() += count;
        }
    }
}

/// When a refused client may come again; none if this is no refusal.
fn refusal(answer: &[u8], status: &str) -> Option<Duration> {
    let after = text_after(answer, "retry-after: ", '\r')?.parse().ok()?;
    matches!(status, "429" | "503").then(|| Duration::from_secs(after))
}

/// What stands in an answer between a text and a character. A cursor is near its end.
fn text_after(answer: &[u8], before: &str, until: char) -> Option<String> {
    let at = answer.windows(before.len()).rposition(|some| some == before.as_bytes())?;
    let rest = String::from_utf8_lossy(&answer[at + before.len()..]);
    rest.split_once(until).map(|(text, _)| text.to_owned())
}

fn per_second(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / DURING.as_secs_f64()
}

/// This process has an end of every connection.
fn allow_connections() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = rustix::process::Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, most).expect("allow as many files as can be allowed");
}
