//! Departments that share a stream under load: a slow one delays no other, and moving leaderships lose and double nothing.

use std::time::{Duration, Instant};

use rollkeeper::domain::history::Change;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::errors::hide;
use super::{WITHIN, cursors, gaps, head, sync};
use crate::harness::archived::journal_of;
use crate::harness::changes::{Change as Written, Changes};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};
use crate::model::{create, write_on};

/// Insists that the journal on the first target is exactly what was written, in its order.
fn assert_journal_is(stack: &Stack, department: &str, written: &[Written]) {
    let journal = journal_of(stack, "t1", department);
    let told: Vec<_> = journal
        .into_iter()
        .map(|(_, change, _)| match change {
            Change::Put(user) => (user.id.to_string(), Some(user)),
            Change::Delete(id) => (id.to_string(), None),
            Change::Patch(..) => panic!("nobody patched anything"),
        })
        .collect();
    let wanted: Vec<_> = written.iter().map(|change| (change.user.clone(), change.record.clone())).collect();
    assert_eq!(told.len(), wanted.len(), "{department}");
    for (n, (told, wanted)) in told.iter().zip(&wanted).enumerate() {
        assert!(told == wanted, "{department}: change {} is of {}, not of {}", n + 1, told.0, wanted.0);
    }
}

#[tokio::test]
async fn a_department_whose_targets_are_dead_delays_no_other_and_loses_nothing() {
    let backup = ", segment_bytes = 65536".to_owned();
    let stack = Stack::start(Settings { backup, targets: 1, ..Settings::default() }).await;
    for department in ["slow", "fast"] {
        stack.department(department).await;
        stack.first_slot_done(department).await;
    }
    let changes = Changes::of(&stack.database().await, "slow").await;
    hide(&stack, 1, "slow", true);
    stack.create_users("slow", 2000).await;
    eventually("the slow department has left the stream", WITHIN, async || {
        stack.replicas[0].log().contains("it leaves the change stream").then_some(())
    })
    .await;
    for n in 0..20 {
        stack.create("fast", &format!("fast-{n}"), &format!("Fast {n}")).await;
        let asked = Instant::now();
        assert_eq!(sync(&stack, "fast").await["sequence"], n + 1);
        assert!(asked.elapsed() < Duration::from_secs(3), "it took {:?}", asked.elapsed());
    }
    assert_eq!(cursors(&stack, "r1").await, 1, "nobody reads for the slow one, which could not keep it");
    stack.create_users("slow", 2010).await;
    create(stack.client(), "slow", "slow-last").await;
    assert_eq!(head(&stack, "slow").await["sequence"], 0);

    let opened = || stack.replicas[0].log().matches("opened the change stream").count();
    let before = opened();
    hide(&stack, 1, "slow", false);
    eventually("the slow department has caught up", WITHIN, async || {
        let answer = stack.client().post("/departments/slow/sync", serde_json::json!({})).await;
        (answer.status == 200 && answer.json["sequence"] == 2011).then_some(())
    })
    .await;
    assert_journal_is(&stack, "slow", &changes.up_to("slow-last").await);
    assert!(gaps(&stack, "slow").await.is_empty());
    assert!(opened() > before, "it had not left the stream: nobody came back into it");
    eventually("all are in one stream again", WITHIN, async || (cursors(&stack, "r1").await == 1).then_some(())).await;
}

#[tokio::test]
async fn leaderships_that_move_between_replicas_under_writes_lose_and_double_nothing() {
    let backup = ", segment_bytes = 65536".to_owned();
    let mut stack = Stack::start(Settings { replicas: 3, targets: 1, backup, ..Settings::default() }).await;
    let names: Vec<String> = (0..6).map(|n| format!("dept-{n}")).collect();
    let mut all = Vec::new();
    for name in &names {
        stack.department(name).await;
        all.push(Changes::of(&stack.database().await, name).await);
    }
    // Only the first takes writes; the other two lead by turns.
    let (stop, mut writers) = (CancellationToken::new(), JoinSet::new());
    for (seed, name) in (0..).zip(&names) {
        writers.spawn(write_on(stack.client().clone(), name.clone(), seed, stop.clone()));
    }
    let count = || all.iter().map(Changes::count).sum::<usize>();
    for (id, gently) in [("r2", true), ("r3", false), ("r2", false), ("r3", true)] {
        let begun = count();
        eventually("users are written", WITHIN, async || (count() > begun + 300).then_some(())).await;
        if gently {
            stack.replica(id).stop();
        } else {
            stack.replica(id).kill();
        }
        let begun = count();
        eventually("users are written", WITHIN, async || (count() > begun + 300).then_some(())).await;
        stack.replica(id).restart();
    }
    stop.cancel();
    while let Some(writer) = writers.join_next().await {
        writer.expect("write until the end");
    }
    for (name, changes) in names.iter().zip(&all) {
        let last = format!("{name}-last");
        create(stack.client(), name, &last).await;
        let written = changes.up_to(&last).await;
        let receipt = eventually("a receipt", WITHIN, async || {
            let answer = stack.client().post(&format!("/departments/{name}/sync"), serde_json::json!({})).await;
            (answer.status == 200).then_some(answer.json)
        })
        .await;
        assert_eq!(receipt["sequence"], written.len(), "{name}: {receipt}");
        assert_journal_is(&stack, name, &written);
        assert!(gaps(&stack, name).await.is_empty());
    }
}
