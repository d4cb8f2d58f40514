//! Users that come through `POST /users/import`, in parts: how many a second, and what the replica needs for it.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::Method;

use crate::bare::Bare;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};
use crate::memory::Memory;
use crate::people::{DEPARTMENT, Person, people};
use crate::table::{Table, per_second};
use crate::{PEAK_MAX, SYNCED_WITHIN, told};

/// Lines of one request.
const PART: usize = 20_000;
/// Another department, imported by several clients at a time.
const TOGETHER: &str = "together";
/// How many clients.
const CLIENTS: usize = 4;

/// All users by one client, and a quarter as many by several.
pub(crate) async fn imports(users: usize, table: &mut Table) {
    let settings = Settings { session_timeout: "10s".to_owned(), ..Settings::default() };
    let stack = Stack::start(settings).await;
    stack.first_slot_done(DEPARTMENT).await;
    stack.department(TOGETHER).await;
    stack.first_slot_done(TOGETHER).await;
    let bare = Bare::connect(&stack.place.mongodb, &stack.place.database).await;
    let memory = Memory::of(stack.replicas[0].process.id());
    memory.comes_to_rest().await;
    let mut alone = 0.0;
    for (department, clients, count) in [(DEPARTMENT, 1, users), (TOGETHER, CLIENTS, users / 4)] {
        let people = people(department, count, clients as u64);
        memory.forget_peak();
        let took = import(&stack, &people, clients).await;
        let rate = per_second(count, took);
        let who = if clients == 1 { "one after the other".to_owned() } else { format!("{clients} at a time") };
        let what = format!("import of {count} users in parts of {PART} lines, {who}");
        told(&format!("{what}: {:.2} s, {rate:.0}/s, {} MiB over idle", took.as_secs_f64(), memory.peak()));
        let row = table.timed(&what, took, count);
        row.memory(memory.peak(), PEAK_MAX);
        if clients == 1 {
            alone = rate;
        } else {
            row.against("one client", rate / alone, None);
        }
        assert_eq!(bare.count_of(department).await, count, "every user is there");
        let level = level(&stack, department).await;
        told(&format!("{what}: the journal was level {:.2} s later", level.as_secs_f64()));
    }
}

/// Sends the parts, and insists that every line made a user.
async fn import(stack: &Stack, people: &[Person], clients: usize) -> Duration {
    let begun = Instant::now();
    let parts = futures::stream::iter(people.chunks(PART)).map(|part| one(stack, part));
    parts.buffer_unordered(clients).collect::<()>().await;
    begun.elapsed()
}

async fn one(stack: &Stack, part: &[Person]) {
    let lines: String = part.iter().map(|person| person.body() + "\n").collect();
    let headers = [("content-type", "application/x-ndjson")];
    let answer = stack.client().send(Method::POST, "/users/import", &headers, Some(lines)).await.expect(200);
    let created = answer.text.lines().filter(|line| line.contains("\"status\":\"created\"")).count();
    let other = answer.text.lines().find(|line| !line.contains("\"status\":\"created\""));
    assert_eq!((created, other), (part.len(), None), "every line made a user");
}

/// How long the journal needs to its end.
async fn level(stack: &Stack, department: &str) -> Duration {
    let (begun, path) = (Instant::now(), format!("/departments/{department}/sync"));
    eventually("the journal is level", SYNCED_WITHIN, async || {
        let answer = stack.client().send(Method::POST, &path, &[], None).await;
        (answer.status == 200).then_some(())
    })
    .await;
    begun.elapsed()
}
