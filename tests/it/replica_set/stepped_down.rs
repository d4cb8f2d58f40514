//! The primary steps down while clients write and a restore is applied.

use std::time::Instant;

use futures::{StreamExt, TryStreamExt};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use super::load::Load;
use super::{WITHIN, start};
use crate::harness::members::Members;
use crate::harness::records::assert_same_content;
use crate::harness::{Stack, eventually};

const USERS: usize = 240;

#[tokio::test]
async fn a_restore_is_finished_exactly_when_the_primary_steps_down_in_the_middle_of_it_under_load() {
    let (stack, members) = start().await;
    stack.department("sales").await;
    stack.create_users("sales", USERS).await;
    let backup = stack.backup("sales").await;
    let wanted = stack.records_of_backup(&backup).await;
    change_all(&stack).await;
    let load = Load::on(&stack).await;
    let job = load
        .during(async {
            load.goes_on().await;
            let body = json!({ "from": { "backup_id": backup["id"] }, "mode": "exact", "apply": true });
            let location = stack.restore(body).await.header("location").to_owned();
            for (what, tenths) in [("once", 2), ("twice", 6)] {
                step_down_at(&stack, &members, &location, tenths).await;
                let took = load.served_again(what, Instant::now()).await;
                eprintln!("stepped down {what}: served again after {took:.1?}");
            }
            let job = ended(&stack, &location).await;
            load.goes_on().await;
            job
        })
        .await;
    assert_eq!((&job["state"], &job["progress"]["conflicts"]), (&json!("complete"), &json!(0)), "{job}");
    assert_eq!(job["progress"]["changes_done"], USERS, "{job}");
    assert_same_content(&wanted, &stack.records("sales").await);
    every_range_was_done_once(&stack).await;
    load.holds(&stack).await;
}

/// Renames every user, so that the restore has as many changes.
async fn change_all(stack: &Stack) {
    let rename = |n: usize| async move {
        let path = format!("/users/sales-{n:05}");
        stack.client().patch(&path, json!({ "name": format!("Renamed {n}") })).await.expect(200)
    };
    futures::stream::iter(0..USERS).map(rename).buffer_unordered(16).collect::<Vec<_>>().await;
}

/// Waits until so much of a restore is done, and lets the primary give way.
async fn step_down_at(stack: &Stack, members: &Members, location: &str, tenths: u64) {
    eventually("the restore is under way", WITHIN, async || {
        let job = stack.client().get(location).await;
        assert_ne!(job.json["state"], "complete", "it was over before it could be interrupted");
        let progress = &job.json["progress"];
        let (done, total) = (progress["changes_done"].as_u64()?, progress["changes_total"].as_u64()?);
        (total > 0 && done * 10 > total * tenths).then_some(())
    })
    .await;
    members.step_down().await;
}

/// The restore at its end; whoever asks while there is no primary is refused.
async fn ended(stack: &Stack, location: &str) -> Value {
    eventually("the restore has ended", WITHIN, async || {
        let job = stack.client().get(location).await.json;
        matches!(job["state"].as_str(), Some("complete" | "failed" | "cancelled")).then_some(job)
    })
    .await
}

/// The ranges are numbered without a gap, and each user stands in one of them.
async fn every_range_was_done_once(stack: &Stack) {
    let ranges = stack.database().await.collection::<Document>("restore_batches");
    let find = ranges.find(doc! {}).sort(doc! { "_id.batch": 1 }).await.expect("find the ranges");
    let found: Vec<Document> = find.try_collect().await.expect("read the ranges");
    let number = |range: &Document| range.get_document("_id").and_then(|key| key.get_i64("batch"));
    let numbers: Vec<i64> = found.iter().map(|range| number(range).expect("be numbered")).collect();
    assert!((0..).zip(&numbers).all(|(n, number)| n == *number), "{numbers:?}");
}
