//! The schedule: each slot is taken once or counted as missed, whoever leads and whoever is away.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};
use rollkeeper::domain::clock::Clock;
use serde_json::{Value, json};

use crate::harness::settings::Settings;
use crate::harness::stack::leader_seen_by;
use crate::harness::{Stack, eventually};

const EVERY_SECONDS: i64 = 1;

/// How far a schedule has come, as MongoDB has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Schedule {
    /// Seconds since the Unix epoch.
    last_slot: i64,
    missed: i64,
}

async fn schedule(stack: &Stack) -> Option<Schedule> {
    let departments = stack.database().await.collection::<Document>("departments");
    let found = departments.find_one(doc! { "_id": "default" }).await.expect("find").expect("have the department");
    let schedule = found.get_document("schedule").expect("have a schedule");
    let last_slot = schedule.get_datetime("last_slot").ok()?.timestamp_millis() / 1000;
    Some(Schedule { last_slot, missed: schedule.get_i64("missed_slots").expect("be counted") })
}

/// Waits until a slot after `slot` was taken.
async fn slot_after(stack: &Stack, slot: i64) -> Schedule {
    eventually("the next slot is taken", Duration::from_secs(30), async || {
        schedule(stack).await.filter(|schedule| schedule.last_slot > slot)
    })
    .await
}

/// Slots of all scheduled backups, whatever became of them.
async fn slots(stack: &Stack) -> Vec<i64> {
    let backups = stack.database().await.collection::<Document>("backups");
    let find = backups.find(doc! { "kind": "scheduled" }).await.expect("find the backups");
    let found: Vec<Document> = find.try_collect().await.expect("read the backups");
    found.iter().map(|backup| backup.get_datetime("slot").expect("have a slot").timestamp_millis() / 1000).collect()
}

/// Makes slots much shorter than the API allows, so that many of them pass.
async fn shorten_slots(stack: &Stack) -> Schedule {
    let departments = stack.database().await.collection::<Document>("departments");
    let before = eventually("the first slot is taken", Duration::from_secs(30), async || schedule(stack).await).await;
    let set = doc! { "policy.backup_every_seconds": EVERY_SECONDS, "updated_at": DateTime::now() };
    departments.update_one(doc! { "_id": "default" }, doc! { "$set": set }).await.expect("shorten the slots");
    slot_after(stack, before.last_slot).await
}

#[tokio::test]
async fn every_slot_is_taken_once_or_counted_as_missed_over_killed_leaders_and_an_outage_of_all() {
    let mut stack = Stack::start(Settings { replicas: 3, ..Settings::default() }).await;
    let first = shorten_slots(&stack).await;
    for _ in 0..2 {
        let old = stack.leader_of("default").await;
        stack.crash(old["replica"].as_str().expect("have an id"));
        leader_seen_by(stack.client(), "default", |leader| leader["epoch"].as_u64() > old["epoch"].as_u64()).await;
        let at = schedule(&stack).await.expect("have a schedule");
        eventually("the new leader takes a slot", Duration::from_secs(30), async || {
            slots(&stack).await.iter().any(|slot| *slot > at.last_slot).then_some(())
        })
        .await;
    }

    stack.replicas[0].kill();
    let before = schedule(&stack).await.expect("have a schedule");
    eventually("three slots have passed", Duration::from_secs(30), async || {
        (Clock::System.now().as_millis() / 1000 > before.last_slot + 3 * EVERY_SECONDS).then_some(())
    })
    .await;
    stack.replicas[0].restart();
    let back = slot_after(&stack, before.last_slot).await;
    assert!(back.missed - before.missed >= 3, "{before:?} {back:?}");
    let shown = eventually("the API answers", Duration::from_secs(30), async || {
        let path = "/departments/default";
        stack.client().try_send(reqwest::Method::GET, path, &[], None).await.ok()
    })
    .await;
    assert!(shown.json["schedule"]["missed_slots"].as_i64() >= Some(back.missed), "{}", shown.text);

    stack.replicas[0].kill();
    let last = schedule(&stack).await.expect("have a schedule");
    let slots = slots(&stack).await;
    let once: BTreeSet<i64> = slots.iter().copied().collect();
    assert_eq!(once.len(), slots.len(), "a slot was taken twice: {slots:?}");
    let taken = once.range(first.last_slot + 1..=last.last_slot).count();
    let passed = (last.last_slot - first.last_slot) / EVERY_SECONDS;
    let missed = last.missed - first.missed;
    assert_eq!(i64::try_from(taken).expect("fit") + missed, passed, "{first:?} {last:?} {slots:?}");
    assert!(taken >= 2 && missed >= 3, "{taken} taken, {missed} missed");
}

#[tokio::test]
async fn slots_of_a_shorter_policy_are_not_missed_before_there_was_one() {
    let stack = Stack::start(Settings { backup_every: "31d".to_owned(), ..Settings::default() }).await;
    let first = eventually("the first slot is taken", Duration::from_secs(30), async || schedule(&stack).await).await;
    // A slot that finds the backup before it still under way is missed, and here none should be.
    stack.first_slot_done("default").await;
    let policy = json!({ "policy": { "backup_every": "10s" } });
    stack.client().put("/departments/default", policy).await.expect(200);
    slot_after(&stack, first.last_slot).await;
    let shown: Value = stack.client().get("/departments/default").await.expect(200).json;
    assert_eq!(shown["schedule"]["missed_slots"], 0, "{shown}");
}
