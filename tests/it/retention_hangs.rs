//! Retention beside a target that does not fail but hangs.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};
use crate::retention::{backups, deleted, forgotten, id, pruning, set_policy, verified};

#[tokio::test]
async fn a_target_that_hangs_keeps_no_other_from_deleting() {
    let targets_extra = "operation_timeout = \"2s\"".to_owned();
    let stack = Stack::start(Settings { targets: 3, targets_extra, ..pruning() }).await;
    stack.first_slot_done("default").await;
    stack.create_users("default", 40).await;
    let made = backups(&stack, 3).await;
    // Whoever opens a pipe that nobody writes to waits for ever. The marker is read before anything else is.
    let marker = stack.folder.path().join("targets/t3/rollkeeper.json");
    std::fs::remove_file(&marker).expect("take the marker away");
    assert!(Command::new("mkfifo").arg(&marker).status().expect("run mkfifo").success());
    eventually("the target is seen to hang", Duration::from_mins(1), async || {
        let cluster = stack.client().get("/cluster").await.expect(200).json;
        let slow = cluster["targets"].as_array()?.iter().any(|it| it["name"] == "t3" && it["state"] == "slow");
        slow.then_some(())
    })
    .await;
    set_policy(&stack, json!({ "keep_last": 1 })).await;
    let gone: Vec<String> = made[..2].iter().map(id).collect();
    for backup in &gone {
        deleted(&stack, backup).await;
    }
    forgotten(&stack, &gone).await;
    verified(&stack, &id(&made[2])).await;
}
