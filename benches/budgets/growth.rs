//! What a day of 10-second backups stores: some minutes of real ones, and the snapshots that the engine makes in a day.

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::bare::Bare;
use crate::harness::{Stack, eventually};
use crate::people::{DEPARTMENT, Person};

/// Backups of a day.
pub(crate) const DAY: u64 = 24 * 60 * 60 / 10;
/// Changes between two backups.
pub(crate) const CHANGES: u64 = 100;
/// Longest wait for a backup of a slot.
const WITHIN: Duration = Duration::from_mins(1);

/// Bytes on one target.
#[derive(Debug)]
pub(crate) struct Growth {
    /// Of the first snapshot.
    pub(crate) base: u64,
    /// Of the journal and the words of backups, each day.
    pub(crate) journal: u64,
    /// Of the snapshots that are made each day.
    pub(crate) snapshots: u64,
    /// Real backups that this comes from.
    pub(crate) backups: u64,
    /// Snapshots of a day.
    pub(crate) count: u64,
}

/// Lets the schedule take so many backups, with the changes spread evenly between them.
pub(crate) async fn growth(stack: &Stack, bare: &Bare, people: &[Person], backups: u64) -> Growth {
    let folder = stack.folder.path().join(format!("targets/t1/departments/{DEPARTMENT}/1"));
    let sizes = || ["journal", "backups"].map(|name| bytes_below(&folder.join(name))).iter().sum::<u64>();
    let first = ["snapshots", "chunks"].map(|name| bytes_below(&folder.join(name))).iter().sum::<u64>();
    every(stack, "10s").await;
    let mut chance = StdRng::seed_from_u64(5);
    slot_done(stack).await;
    let (before, mut written) = (sizes(), 0);
    for _ in 0..backups {
        let last = newest(stack).await;
        // As many each second as make the number until the next slot; one more after it would count to the next backup.
        for _ in 0..10 {
            let some: Vec<Person> =
                (0..CHANGES / 10).map(|_| people[chance.random_range(0..people.len())].renamed(&mut chance)).collect();
            bare.replace(&some).await;
            written += some.len() as u64;
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
        eventually("the next slot is backed up", WITHIN, async || (newest(stack).await != last).then_some(())).await;
    }
    slot_done(stack).await;
    let grown = sizes() - before;
    every(stack, "1h").await;
    // Bytes follow the changes and the number of backups alike, and there are CHANGES of them to each.
    assert_eq!(written, backups * CHANGES, "as many changes as meant");
    let users = people.len() as u64;
    let count = (DAY * CHANGES / (users / 4).max(1)).max(24);
    Growth {
        base: first,
        journal: grown * DAY / backups,
        snapshots: count * rewritten(first, users, count),
        backups,
        count,
    }
}

/// Bytes of a snapshot after the changes of its share of a day, over random users: of the chunks that they touch.
fn rewritten(base: u64, users: u64, count: u64) -> u64 {
    let chunks = (users / 4096).max(1);
    let changes = i32::try_from(DAY * CHANGES / count).unwrap_or(i32::MAX);
    let untouched = (1.0 - 1.0 / f64::from(u32::try_from(chunks).unwrap_or(u32::MAX))).powi(changes);
    // A thousandth is as exact as this is.
    let kept =
        (0..1000_u64).take_while(|n| f64::from(u32::try_from(*n).unwrap_or_default()) < untouched * 1000.0).count();
    base - base * kept as u64 / 1000
}

async fn every(stack: &Stack, every: &str) {
    let policy = json!({ "policy": { "backup_every": every } });
    stack.client().put(&format!("/departments/{DEPARTMENT}"), policy).await.expect(200);
}

/// Waits for a backup of a slot that begins from now on.
async fn slot_done(stack: &Stack) {
    let last = newest(stack).await;
    eventually("a slot is backed up", WITHIN, async || (newest(stack).await != last).then_some(())).await;
}

/// The id of the newest complete scheduled backup.
async fn newest(stack: &Stack) -> String {
    let listed = stack.client().get(&format!("/backups?department={DEPARTMENT}&limit=1")).await.expect(200).json;
    listed["items"][0]["id"].as_str().expect("have a backup").to_owned()
}

/// Bytes of all files below a folder.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
