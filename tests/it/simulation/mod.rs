//! A seeded simulation on real parts: whatever happens, the history is what MongoDB committed, whole and in order.
//!
//! `SIM_SEED` repeats the choices of a run, `SIM_SECONDS` says how long it acts; `make soak` sets both. What happens when is
//! up to the machine, so a seed repeats what is done and not each interleaving.

mod actions;
mod checks;
mod driver;
mod faults;
mod gaps;
mod history;
mod primary;
mod reader;
mod truth;
mod writers;

use std::time::{Duration, Instant};

use driver::Driver;
use faults::Third;

use crate::harness::members::Members;
use crate::harness::settings::Settings;
use crate::harness::{Stack, number};

/// The departments that are written.
const DEPARTMENTS: [&str; 2] = ["east", "west"];
/// The members of the replica set, so that one can be down.
const MEMBERS: usize = 3;
/// What is done in `make test`.
const SEED: u64 = 7;
/// How long is acted between two looks at everything.
const ROUND: Duration = Duration::from_secs(20);
/// When a target that does not answer counts as one that hangs.
const HANGS_FOR: Duration = Duration::from_secs(2);
/// The longest that anything may take; nothing here waits for more than two session timeouts.
const PATIENCE: Duration = Duration::from_mins(2);

fn settings(third: &Third, members: &Members) -> Settings {
    let backup = ", prune_every = \"1s\", prune_grace = \"1s\", journal_every = \"50ms\", idle_head_every = \"1s\", \
                  merge_after = \"2s\", scrub_every = \"2s\", look_every = \"2s\""
        .to_owned();
    let targets_extra = format!("operation_timeout = \"{}s\"", HANGS_FOR.as_secs());
    let (replicas, targets, mongodb) = (3, 2, Some(members.uri()));
    let sizes = Settings { chunk_records: 16, range_records: 20, ..Settings::default() };
    Settings { replicas, targets, more_targets: third.target(), backup, targets_extra, mongodb, ..sizes }
}

#[tokio::test]
async fn whatever_happens_the_history_is_what_was_committed() {
    // `make test` does the same each time; a soak looks for something new.
    let fresh = || if number("SIM_SECONDS").is_some() { rand::random() } else { SEED };
    let seed = number("SIM_SEED").unwrap_or_else(fresh);
    let seconds = number("SIM_SECONDS").unwrap_or(40);
    eprintln!("simulation: SIM_SEED={seed} SIM_SECONDS={seconds}");
    let third = Third::make().await;
    let members = Members::start(MEMBERS).await;
    let stack = Stack::start(settings(&third, &members)).await;
    let mut driver = Driver::start(stack, third, members, seed).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        driver.act_for(ROUND.min(Duration::from_secs(seconds).saturating_sub(begun.elapsed()))).await;
        driver.settle().await;
        driver.check_everything().await;
    }
    driver.tell();
}
