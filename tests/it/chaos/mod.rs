//! Chaos: leaders, `ZooKeeper` and `MongoDB` break in many ways, one or two at once; what happens is recorded, and the
//! record is checked for the invariants of coordination.
//!
//! `make chaos` sets `CHAOS` (how many failovers) and `CHAOS_SEED`, and `CHAOS_SESSION_MS` asks for another session timeout;
//! `make test` has a few. What is recorded and the report stay in `.run/chaos`. I6 has tests of its own (`fence`, `failover`).
//!
//! | checker | shown to go red |
//! |---|---|
//! | I3 | on a build without the fence comparison (`unfenced`), and by a change to the record |
//! | I4 | on a build whose lease is only what its client believes (`unleased`), and by a change to the record |
//! | I1, I2, I5, I7, I8, I9, I10, I11 | by one change to a history that was recorded (`red`) |

mod breaking;
mod checks;
mod clients;
mod commits;
mod faults;
mod history;
mod recorder;
mod red;
mod report;
mod views;
mod world;
mod znodes;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use faults::{Deck, SHORT, What};
use history::{Event, History, now_us, us};
use recorder::Recorder;
use world::World;

use crate::harness::{eventually, number, variable};

/// The session timeout of `make chaos`; the few rounds of `make test` have a shorter one.
const SESSION: Duration = Duration::from_secs(6);
const SESSION_SHORT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_mins(2);
const SEED: u64 = 7;

/// One round: breaks what shall break, mends it, and waits until all is well. Tells whether a leader has changed.
async fn round(world: &mut World, number: u64, faults: &[What], deck: &mut Deck) -> bool {
    world.until_led().await;
    pause(deck.up_to(world.session / 3)).await;
    let before = world.nodes().counters;
    let fault = faults::name(faults);
    world.recorder.record(Event::Round { round: number, fault: fault.clone() });
    let (begun, mut open) = (Instant::now(), Vec::new());
    for what in faults {
        if !open.is_empty() {
            pause(deck.up_to(world.session / 4)).await;
        }
        let broken = world.break_it(number, *what, &open).await;
        open.push(broken);
    }
    open.sort_by_key(|open| open.until_us);
    for broken in open {
        world.mend(number, broken).await;
    }
    world.until_led().await;
    world.recorder.record(Event::Settled { round: number });
    let after = world.nodes().counters;
    let changed = before.iter().filter(|(department, counter)| after.get(*department) > Some(*counter)).count();
    eprintln!("round {number}: {fault}: {changed} leaders changed, {:.1?}", begun.elapsed());
    changed > 0
}

/// Lets things go on for so long.
async fn pause(span: Duration) {
    let until = now_us() + us(span);
    eventually("time passes", PATIENCE, async || (now_us() >= until).then_some(())).await;
}

/// Where a run keeps its history, and all runs the last report.
fn folder(seed: u64) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".run/chaos").join(seed.to_string());
    std::fs::create_dir_all(&folder).expect("make a folder");
    folder
}

/// Keeps what was recorded, without the logs, when a run cannot go on.
#[derive(Debug)]
struct Keeper {
    recorder: Recorder,
    file: PathBuf,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.file.exists() {
            self.recorder.history().write(&self.file);
        }
    }
}

/// Checks a history, writes the report, and insists that nothing is broken.
fn judge(history: &History, kept_in: Option<&Path>) {
    let findings = checks::check(history);
    let report = report::report(history, &findings);
    eprintln!("{report}");
    if let Some(folder) = kept_in {
        std::fs::write(folder.join("report.md"), &report).expect("write the report");
        std::fs::write(folder.with_file_name("report.md"), &report).expect("write the report");
    }
    let broken: Vec<&String> = findings.iter().flat_map(|finding| &finding.violations).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    for finding in findings.iter().filter(|finding| finding.invariant != "I8") {
        assert!(finding.looked > 0, "{} has seen nothing", finding.invariant);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_invariants_hold_whatever_breaks() {
    let many = number("CHAOS");
    // `make test` does the same each time.
    let fresh = || if many.is_some() { rand::random() } else { SEED };
    let seed = number("CHAOS_SEED").unwrap_or_else(fresh);
    let short = if many.is_some() { SESSION } else { SESSION_SHORT };
    let session = number("CHAOS_SESSION_MS").map_or(short, Duration::from_millis);
    eprintln!("chaos: CHAOS_SEED={seed}, {} failovers, T = {session:?}", many.unwrap_or(SHORT.len() as u64));
    let (mut world, mut deck) = (World::start(session, seed, None).await, Deck::of(seed));
    let folder = folder(seed);
    let keeper = Keeper { recorder: world.recorder.clone(), file: folder.join("history.jsonl") };
    let _ = std::fs::remove_file(&keeper.file);
    let (mut failovers, mut rounds) = (0, 0);
    while many.map_or(rounds < SHORT.len() as u64, |many| failovers < many) {
        let faults = if many.is_some() { deck.draw() } else { SHORT[usize::try_from(rounds).expect("fit")] };
        rounds += 1;
        failovers += u64::from(round(&mut world, rounds, faults, &mut deck).await);
    }
    let history = world.end().await;
    history.write(&keeper.file);
    judge(&history, Some(&folder));
}

#[test]
#[ignore = "makes the report of a kept history again: CHAOS_HISTORY names the file"]
fn a_kept_history_is_judged_again() {
    let text = std::fs::read_to_string(variable("CHAOS_HISTORY")).expect("read the history");
    judge(&History::parse(&text), None);
}
