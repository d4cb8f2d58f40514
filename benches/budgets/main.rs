//! Measures one replica of the real service beside the bare driver, in one run, and prints a table (`make bench`).
//!
//! A missed budget is a line of the table; only a measurement that could not be made ends the run with an error.
//! `USERS` is the number of users (1000000), `USERS_SMALL` the second size that shows whether memory is flat (a quarter),
//! `CHANGES` how many are folded (1000000), `DEPARTMENTS` how many an idle replica leads (200), `ONLY` names the parts to run.

mod bare;
mod day;
mod fold;
mod growth;
#[expect(dead_code, reason = "the harness of the tests can do more than this needs")]
#[path = "../../tests/it/harness/mod.rs"]
mod harness;
mod history;
mod idle;
mod import;
mod jobs;
mod lag;
mod load;
mod machine;
mod memory;
mod people;
mod saturation;
mod table;
mod written;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use bare::Bare;
use harness::settings::Settings;
use harness::{Stack, variable};
use load::Act;
use memory::Memory;
use people::{DEPARTMENT, Person, one_percent, people};
use table::{Limit, Table, per_second, times};

/// Most memory over idle, in MiB.
const PEAK_MAX: u64 = 128;
/// Longest wait for the journal.
const SYNCED_WITHIN: Duration = Duration::from_mins(10);
/// Budget of comparing a backup with now.
const DIFF_WITHIN: Duration = Duration::from_secs(10);
/// How long requests are counted.
const DURING: Duration = Duration::from_secs(4);

/// A stack with one replica whose department is full.
struct Run {
    stack: Stack,
    bare: Bare,
    memory: Memory,
    people: Vec<Person>,
}

#[tokio::main]
async fn main() {
    let users = number("USERS", 1_000_000);
    let small = number("USERS_SMALL", users / 4);
    let mut table = Table::default();
    let begun = Instant::now();
    let head = {
        let run = Run::start(if asked("flat") { small } else { 1000 }).await;
        let count = run.people.len();
        if asked("flat") {
            flat(&run, &mut table).await;
        }
        let bytes = run.people.iter().map(|person| person.document().as_bytes().len()).sum::<usize>() / count.max(1);
        machine::describe(&run.bare.version().await, users, bytes)
    };
    let backed_up = ["jobs", "growth", "lag", "fold"].into_iter().any(asked);
    if backed_up || asked("saturation") {
        let run = Run::start(users).await;
        if backed_up {
            let first = backups(&run, &mut table).await;
            history::beside(&run, &mut table).await;
            if asked("jobs") {
                requests(&run, &mut table).await;
                restores(&run, &mut table, &first).await;
            }
        }
        if asked("saturation") {
            saturation::rising(&run, &mut table).await;
        }
    }
    if asked("import") {
        import::imports(users, &mut table).await;
    }
    history::alone(users, &mut table).await;
    told(&format!("all of it took {:.0} s", begun.elapsed().as_secs_f64()));
    report(&format!("{head}\n{}", table.markdown()));
}

impl Run {
    async fn start(count: usize) -> Self {
        let settings = Settings { session_timeout: "10s".to_owned(), ..Settings::default() };
        let mut stack = Stack::prepare(&settings).await;
        let bare = Bare::connect(&stack.place.mongodb, &stack.place.database).await;
        let people = people(DEPARTMENT, count, 0);
        stack.serve(&settings).await;
        // The schedule backs the empty department up, so that the first backup of the users is the one that is measured.
        stack.first_slot_done(DEPARTMENT).await;
        let memory = Memory::of(stack.replicas[0].process.id());
        memory.comes_to_rest().await;
        told(&format!("the idle replica has {} MiB; loads {count} users", memory.idle()));
        bare.load(&people).await;
        let run = Self { stack, bare, memory, people };
        run.synced().await;
        run.memory.comes_to_rest().await;
        run
    }

    /// Waits until every change so far is archived.
    async fn synced(&self) {
        let begun = Instant::now();
        while self.stack.client().post(&format!("/departments/{DEPARTMENT}/sync"), json!({})).await.status != 200 {
            assert!(begun.elapsed() < SYNCED_WITHIN, "the journal does not come to its end");
        }
        told(&format!("the journal was level after {:.2} s", begun.elapsed().as_secs_f64()));
    }

    async fn backup(&self, what: &str) -> jobs::Done {
        let done = jobs::backup(&self.stack, self.memory).await;
        told(&format!("{what}: {:.2} s, {} MiB over idle", done.took.as_secs_f64(), done.peak));
        done
    }

    async fn restore(&self, what: &str, from: &Value) -> jobs::Done {
        let done = jobs::restore(&self.stack, self.memory, from).await;
        let (took, applying) = (done.took.as_secs_f64(), done.applying.as_secs_f64());
        told(&format!("{what}: {took:.2} s, of that applying {applying:.2} s, {} MiB over idle", done.peak));
        done
    }

    /// Empties the department, and waits until its leader has followed.
    async fn empty(&self) {
        self.bare.empty().await;
        self.synced().await;
        self.backup("backup of the empty department").await;
    }
}

/// The second size: only what shows whether memory is flat.
async fn flat(run: &Run, table: &mut Table) {
    let users = run.people.len();
    let backup = run.backup("first backup").await;
    table.timed(&format!("first backup of {users} users"), backup.took, users).memory(backup.peak, PEAK_MAX);
    run.empty().await;
    let restore = run.restore("full restore", &backup.job).await;
    table.timed(&format!("full restore of {users} users"), restore.took, users).memory(restore.peak, PEAK_MAX);
}

/// Backups beside a bare scan; gives the first backup.
async fn backups(run: &Run, table: &mut Table) -> jobs::Done {
    let users = run.people.len();
    let mut scans = Vec::new();
    for _ in 0..3 {
        scans.push(run.bare.scan(users).await);
    }
    scans.sort();
    let scan = scans[1];
    table.timed("bare sorted cursor scan, batches of 10,000 (median of 3)", scan, users);
    let archive = run.stack.folder.path().join("users.archive.gz");
    let dump = run.bare.dump(&archive);
    let name = "`mongodump --gzip --archive`";
    match dump {
        Some(took) => {
            table.timed(name, took, users).against("scan", times(took, scan), None);
        }
        None => table.absent(name),
    }
    let first = run.backup("first backup").await;
    let row = table.timed("first backup, 2 targets, sealed, read back", first.took, users);
    row.memory(first.peak, PEAK_MAX).against("scan", times(first.took, scan), None);
    if let Some(dump) = dump {
        row.against("mongodump", times(first.took, dump), Some(Limit::AtMost(0.75)));
    }
    change(run, 1).await;
    let later = run.backup("backup after 1 % changed").await;
    let row = table.timed("backup after 1 % changed", later.took, users);
    row.memory(later.peak, PEAK_MAX).against("first", times(later.took, first.took), Some(Limit::AtMost(0.05)));
    first
}

/// Changes one user in a hundred, anywhere, and waits until the journal has it.
async fn change(run: &Run, seed: u64) {
    run.bare.replace(&one_percent(&run.people, seed)).await;
    run.synced().await;
}

/// Requests of users beside the bare driver at the same concurrency.
async fn requests(run: &Run, table: &mut Table) {
    let replica = &run.stack.replicas[0];
    run.stack.department("posted").await;
    let existing = Arc::new(run.people.clone());
    let connections = load::CONNECTIONS;
    for (act, what) in [(Act::Get, "GET /users/{id}"), (Act::Post, "POST /users, given hash")] {
        let set = |seed| match act {
            Act::Get => Arc::clone(&existing),
            Act::Post => Arc::new(people("posted", 150_000, seed)),
        };
        run.memory.forget_peak();
        let driver = load::driver(&run.bare, act, set(2), DURING).await;
        let service = load::service(&replica.url, &run.stack.token, act, set(3), DURING).await;
        told(&format!("{what}: {service:.0}/s, bare driver {driver:.0}/s"));
        table.rate(&format!("bare driver, the same as {what}, {connections} at once"), driver);
        let row = table.rate(&format!("{what}, {connections} connections"), service);
        row.memory(run.memory.peak(), PEAK_MAX).against("driver", service / driver, Some(Limit::AtLeast(0.8)));
    }
}

/// Restores beside bare inserts.
async fn restores(run: &Run, table: &mut Table, first: &jobs::Done) {
    let users = run.people.len();
    let mut inserts = Duration::MAX;
    for at_once in [1, 4] {
        inserts = run.bare.insert_many(&run.people, at_once).await;
        told(&format!("bare insert_many, {at_once} at once: {:.2} s", inserts.as_secs_f64()));
        table.timed(&format!("bare insert_many, batches of 1,000, {at_once} at once"), inserts, users);
    }
    let archive = run.stack.folder.path().join("users.archive.gz");
    let peer = if archive.exists() { run.bare.restore(&archive).await } else { None };
    match peer {
        Some(took) => {
            table.timed("`mongorestore --gzip --archive`", took, users);
        }
        None => table.absent("`mongorestore --gzip --archive`"),
    }
    run.empty().await;
    let full = run.restore("full restore", &first.job).await;
    assert_eq!(run.bare.count().await, users, "every user is back");
    let row = table.timed("full restore into the emptied department, request to complete", full.took, users);
    row.memory(full.peak, PEAK_MAX).against(
        "insert_many ×4",
        per_second(users, full.took) / per_second(users, inserts),
        None,
    );
    if let Some(peer) = peer {
        let ratio = per_second(users, full.took) / per_second(users, peer);
        row.against("mongorestore", ratio, Some(Limit::AtLeast(2.0)));
    }
    table.timed("of that: the apply phase", full.applying, users);
    run.synced().await;
    let left = jobs::differences(&run.stack, &first.job).await;
    assert_eq!(
        left,
        [0, 0, 0, users as u64],
        "creates, updates, deletes, unchanged: the department is as in the backup"
    );
    change(run, 4).await;
    differences(run, table, first).await;
    let delta = run.restore("restore after 1 % changed", &first.job).await;
    let row = table.timed("restore after 1 % changed, request to complete", delta.took, users);
    row.memory(delta.peak, PEAK_MAX).against("full restore", times(delta.took, full.took), Some(Limit::AtMost(0.05)));
}

/// Every difference between a backup and now, page after page.
async fn differences(run: &Run, table: &mut Table, backup: &jobs::Done) {
    let users = run.people.len();
    run.memory.forget_peak();
    let begun = Instant::now();
    let path = format!("/backups/{}/diff", backup.job["id"].as_str().expect("have an id"));
    let found = run.stack.pages(&path, 1000).await.len();
    let took = begun.elapsed();
    told(&format!("diff: {found} differences in {:.2} s", took.as_secs_f64()));
    let what = format!("diff of a backup and now after 1 % changed, {found} differences in pages of 1,000");
    table.timed(&what, took, users).within(took, DIFF_WITHIN).memory(run.memory.peak(), PEAK_MAX);
}

/// Whether a part is to be run: all are, unless `ONLY` names some.
fn asked(part: &str) -> bool {
    let only = std::env::var_os("ONLY");
    only.is_none_or(|parts| parts.to_string_lossy().split(',').any(|name| name == part))
}

fn number(name: &str, default: usize) -> usize {
    let Some(text) = std::env::var_os(name) else { return default };
    text.to_str()
        .and_then(|text| text.replace('_', "").parse().ok())
        .unwrap_or_else(|| panic!("{name} is not a number"))
}

/// Prints the table, and puts it where `make bench` looks for it.
fn report(text: &str) {
    let _ = writeln!(std::io::stdout(), "\n{text}");
    std::fs::write(Path::new(&variable("ROLLKEEPER_BENCH_TABLE")), text).expect("write the table");
}

/// Says on standard error what goes on.
fn told(text: &str) {
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}
