//! A receipt promises what is on the targets: after a gap that is nothing until a backup bridges it.

use mongodb::bson::{Document, doc};
use serde_json::json;
use tokio::task::JoinSet;

use super::errors::refuse;
use super::{WITHIN, gaps, sync, wait_for_gap};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

#[tokio::test]
async fn after_a_gap_no_receipt_is_given_before_a_backup_has_what_the_gap_swallowed() {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    stack.first_slot_done("default").await;
    stack.create("default", "before", "Before").await;
    sync(&stack, "default").await;
    // Backups of the next timeline fail; its journal does not.
    let line = stack.folder.path().join("targets/t1/departments/default/2");
    std::fs::create_dir_all(&line).expect("make the place of the timeline");
    std::fs::write(line.join("chunks"), "in the way").expect("put something in the way");
    refuse(&stack, &["getMore", "aggregate"], 286, 2).await;
    wait_for_gap(&stack, "default").await;

    let client = stack.client().clone();
    let mut syncs = JoinSet::new();
    syncs.spawn(async move { client.post("/departments/default/sync", json!({})).await });
    let barriers = stack.database().await.collection::<Document>("barriers");
    eventually("a receipt is asked for", WITHIN, async || {
        barriers.find_one(doc! { "state": "open" }).await.expect("look for the barrier")
    })
    .await;
    // What a backup waits for comes after the receipts that may be given.
    let job = stack.client().post("/backups", json!({ "department": "default" })).await.expect(202);
    stack.ended(job.header("location"), "failed").await;
    let early = barriers.find_one(doc! { "receipt.timeline": 2_i64 }).await.expect("look for a receipt");
    assert_eq!(early, None, "nothing has what the gap swallowed");

    std::fs::remove_file(line.join("chunks")).expect("clear the way");
    stack.backup("default").await;
    let receipt = syncs.join_next().await.expect("have asked").expect("answer").expect(200).json;
    assert_eq!(receipt["timeline"], 2, "{receipt}");
    let shown = stack.client().get("/departments/default").await.expect(200).json;
    let until = &shown["recovery_window"]["gaps"][0]["until"];
    assert!(until["sequence"].as_i64() <= receipt["sequence"].as_i64() && !until.is_null(), "{shown} {receipt}");
    assert_eq!(gaps(&stack, "default").await, [("history_lost".to_owned(), 1)]);
}
