//! Departments whose targets are dead make lag that everybody sees, and the memory of their replica does not grow.

use mongodb::bson::{Document, doc};
use serde_json::json;

use super::errors::hide;
use super::{WITHIN, gaps, sync};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

const SLOW: [&str; 4] = ["slow-0", "slow-1", "slow-2", "slow-3"];
/// Changes of a mebibyte that each of them gets in a round.
const ROUND: usize = 15;
const ROUNDS: usize = 3;

/// Writes past the service, so that every change line is of a mebibyte: fifteen of each department in turn.
async fn write(stack: &Stack, round: usize) {
    let users = stack.database().await.collection::<Document>("users");
    for n in 0..ROUND {
        for department in SLOW {
            let id = format!("{department}-{round}-{n}");
            let user =
                doc! { "_id": { "department": department, "id": &id }, "name": &id, "filler": "x".repeat(1 << 20) };
            users.insert_one(user).bypass_document_validation(true).await.expect("write past the service");
        }
    }
}

/// Mebibytes that a replica has in memory.
fn memory(stack: &Stack, field: &str) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", stack.replicas[0].process.id()));
    let status = status.expect("read the state of the process");
    let line = status.lines().find(|line| line.starts_with(field)).expect("have the field");
    line.split_whitespace().nth(1).expect("have a number").parse::<i64>().expect("be a number") / 1024
}

async fn lag(stack: &Stack, department: &str) -> f64 {
    let shown = stack.client().get(&format!("/departments/{department}")).await.expect(200).json;
    shown["recovery_window"]["lag_seconds"].as_f64().expect("be a number")
}

#[tokio::test]
async fn many_departments_with_dead_targets_lag_in_sight_and_hold_no_more_than_their_room_together() {
    // Each of them alone may hold four segments, which is more than is written.
    let backup = ", segment_bytes = 33554432".to_owned();
    let stack = Stack::start(Settings { backup, targets: 1, ..Settings::default() }).await;
    for department in SLOW.iter().chain(&["fast"]) {
        stack.department(department).await;
        stack.first_slot_done(department).await;
    }
    for department in SLOW {
        hide(&stack, 1, department, true);
        assert!(lag(&stack, department).await < 1.0, "{department}");
    }
    // Each has a segment in its hand that it cannot put down, so what comes from now on waits behind it.
    for department in SLOW {
        stack.create(department, &format!("{department}-first"), "First").await;
    }
    for department in SLOW {
        eventually("the lag shows", WITHIN, async || (lag(&stack, department).await > 1.0).then_some(())).await;
    }
    let before = memory(&stack, "VmRSS");
    write(&stack, 0).await;
    eventually("all of them have left the stream", WITHIN, async || {
        let log = stack.replicas[0].log();
        let left = |department: &&str| {
            log.lines().any(|line| line.contains("it leaves the change stream") && line.contains(*department))
        };
        SLOW.iter().all(left).then_some(())
    })
    .await;
    for round in 1..ROUNDS {
        write(&stack, round).await;
    }
    stack.create("fast", "fast-a", "Ada").await;
    assert_eq!(sync(&stack, "fast").await["sequence"], 1);
    for department in SLOW {
        let seen = lag(&stack, department).await;
        assert!(seen > 0.0, "{department}");
        eventually("the lag grows", WITHIN, async || (lag(&stack, department).await > seen).then_some(())).await;
    }
    let grown = memory(&stack, "VmHWM") - before;
    assert!(grown < 160, "{grown} MiB more for 180 MiB of changes");

    for department in SLOW {
        hide(&stack, 1, department, false);
    }
    for department in SLOW {
        eventually("it has caught up", WITHIN, async || {
            let answer = stack.client().post(&format!("/departments/{department}/sync"), json!({})).await;
            (answer.status == 200 && answer.json["sequence"] == 1 + ROUNDS * ROUND).then_some(())
        })
        .await;
        assert!(gaps(&stack, department).await.is_empty(), "{department}");
        assert!(lag(&stack, department).await < 1.0, "{department}");
    }
}
