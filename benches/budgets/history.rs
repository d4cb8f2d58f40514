//! What the continuous history costs and gives: lag, sync, a day's bytes, folds, single users in the past, idle leaders.

use std::time::Duration;

use crate::table::{Limit, Table, millis, per_second, percentile, times};
use crate::{PEAK_MAX, Run, asked, day, fold, growth, idle, lag, number, told};

/// Budget of the lag of a write behind its acknowledgement.
const DURABLE_WITHIN: Duration = Duration::from_secs(2);
/// Budget of a sync.
const SYNC_WITHIN: Duration = Duration::from_secs(1);
/// Budget of one user in the past.
const PAST_WITHIN: Duration = Duration::from_millis(50);
/// Real 10-second backups that a day's bytes come from.
const BACKUPS: u64 = 9;

/// What is measured on the replica whose department is full.
pub(crate) async fn beside(run: &Run, table: &mut Table) {
    if asked("growth") {
        grown(run, table).await;
    }
    if asked("lag") {
        lags(run, table).await;
    }
    if asked("fold") {
        folds(run, table).await;
    }
}

/// What needs a stack of its own.
pub(crate) async fn alone(users: usize, table: &mut Table) {
    if asked("past") {
        past(users, table).await;
    }
    if asked("idle") {
        let departments = number("DEPARTMENTS", 200);
        let [replica, mongod] = idle::idle(departments).await;
        let figure = format!("{replica:.1} s a minute; its mongod {mongod:.1} s");
        told(&format!("idle, leading {departments} departments: {figure}"));
        table.figure(&format!("processor time of an idle replica that leads {departments} departments"), figure);
    }
}

async fn lags(run: &Run, table: &mut Table) {
    run.memory.forget_peak();
    let lag = lag::durable(&run.stack, &run.bare).await;
    let row = format!("acknowledged to durable at {:.0} writes/s (asked: {})", lag.rate, lag::RATE);
    told(&format!("{row}: p99 {}", millis(percentile(&lag.durable, 99))));
    table.latency(&row, &lag.durable, Some(DURABLE_WITHIN)).memory(run.memory.peak(), PEAK_MAX);
    let (took, rate) = lag::syncs(&run.stack).await;
    let row = format!("sync at {rate:.0} writes/s, {} of them", took.len());
    told(&format!("{row}: p99 {}", millis(percentile(&took, 99))));
    table.latency(&row, &took, Some(SYNC_WITHIN));
}

async fn grown(run: &Run, table: &mut Table) {
    let grown = growth::growth(&run.stack, &run.bare, &run.people, BACKUPS).await;
    let mib = |bytes: u64| format!("{:.1} MiB", u32::try_from(bytes / 1024).map_or(f64::MAX, f64::from) / 1024.0);
    let share = |bytes: u64| Duration::from_nanos(bytes).as_secs_f64() / Duration::from_nanos(grown.base).as_secs_f64();
    let (changes, backups, count) = (growth::CHANGES, grown.backups, grown.count);
    table.figure("base: the first snapshot on one target", mib(grown.base));
    let row = format!("a day of 10-second backups, {changes} changes each: journal and words (from {backups} backups)");
    told(&format!("{row}: {} beside {}", mib(grown.journal), mib(grown.base)));
    table.figure(&row, mib(grown.journal)).against("base", share(grown.journal), None);
    let row = format!("the same day's {count} new snapshots (from the chunks that they rewrite)");
    table.figure(&row, mib(grown.snapshots)).against("base", share(grown.snapshots), None);
}

async fn folds(run: &Run, table: &mut Table) {
    let changes = number("CHANGES", 1_000_000);
    let took = fold::fold(&run.stack, &run.people, changes).await;
    told(&format!("fold of {changes} changes: {:.2} s", took.as_secs_f64()));
    let (applied, applying) = fold::applied(&run.bare, &run.people).await;
    let name = "`applyOps`, one change a command, as `mongorestore --oplogReplay` does";
    table.timed(name, applying, applied);
    let replayed = fold::replayed(&run.bare, &run.people, changes).await;
    let peer = "`mongorestore --oplogReplay`";
    match replayed {
        Some(took) => {
            table.timed(peer, took, changes);
        }
        None => table.absent(peer),
    }
    let row = table.timed(&format!("fold of {changes} changes into a state"), took, changes);
    let limit = Some(Limit::AtLeast(50.0));
    row.against("applyOps", per_second(changes, took) / per_second(applied, applying), limit);
    if let Some(replayed) = replayed {
        row.against("mongorestore", times(replayed, took), limit);
    }
}

async fn past(users: usize, table: &mut Table) {
    let reads = day::reads(users).await;
    let row = format!("one user in the past of {users}, the first read after a start ({})", reads.cold.len());
    table.latency(&row, &reads.cold, None);
    let row = format!("one user at any moment of the day, the {} reads that fill the caches", reads.filling.len());
    table.latency(&row, &reads.filling, None);
    let row = format!("one user at any moment of the day, {} reads after them", reads.warm.len());
    told(&format!("{row}: p50 {}, p99 {}", millis(percentile(&reads.warm, 50)), millis(percentile(&reads.warm, 99))));
    table.latency(&row, &reads.warm, Some(PAST_WITHIN)).memory(reads.peak, PEAK_MAX);
}
