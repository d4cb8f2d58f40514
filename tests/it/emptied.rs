//! A target whose directory is another, empty one than before: what is said of it is what it holds.

use std::time::Duration;

use crate::harness::archived::journal_of;
use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;
use crate::harness::{Stack, eventually};

const WITHIN: Duration = Duration::from_mins(1);

/// How far a target is said to hold the journal of the default department.
async fn through(stack: &Stack, target: &str) -> Option<u64> {
    let shown = stack.client().get("/departments/default").await.expect(200).json;
    let copies = shown["head"]["journal"].as_array()?.clone();
    copies.iter().find(|copy| copy["target"] == target)?["through"].as_u64()
}

#[tokio::test]
async fn a_target_that_a_new_process_finds_empty_is_filled_before_it_is_said_to_hold_anything() {
    let backup = ", scrub_every = \"1s\", journal_every = \"50ms\"".to_owned();
    let mut stack = Stack::start(Settings { targets: 3, backup, ..Settings::default() }).await;
    stack.create_users("default", 50).await;
    let first = stack.backup("default").await;
    present_everywhere(&stack, &first).await;
    let targets = stack.folder.path().join("targets");
    std::fs::rename(targets.join("t3"), targets.join("away")).expect("hide the target");
    // It makes the missing directory, so what lay there is gone for it.
    stack.replicas[0].stop();
    stack.replicas[0].restart();
    eventually("it is ready again", WITHIN, async || stack.is_ready(stack.client()).await.then_some(())).await;
    stack.leader_of("default").await;
    stack.create("default", "later", "Later").await;
    eventually("the target is said to hold everything", WITHIN, async || {
        (through(&stack, "t3").await == Some(51)).then_some(())
    })
    .await;
    assert_eq!(journal_of(&stack, "t3", "default").len(), 51);
    let second = stack.backup("default").await;
    present_everywhere(&stack, &second).await;
    stack.vault(&["t3"], &["verify"]).expect(0);
}

#[tokio::test]
async fn a_target_that_is_exchanged_under_its_leader_counts_again_only_when_it_holds_everything() {
    let backup = ", journal_every = \"50ms\"".to_owned();
    let stack = Stack::start(Settings { targets: 3, backup, ..Settings::default() }).await;
    stack.create_users("default", 50).await;
    let first = stack.backup("default").await;
    present_everywhere(&stack, &first).await;
    let targets = stack.folder.path().join("targets");
    std::fs::rename(targets.join("t3"), targets.join("away")).expect("hide the target");
    // What stays behind of a disk that is unmounted.
    std::fs::create_dir(targets.join("t3")).expect("leave an empty directory");
    stack.create("default", "later", "Later").await;
    eventually("the target is said to hold everything", WITHIN, async || {
        (through(&stack, "t3").await == Some(51)).then_some(())
    })
    .await;
    assert_eq!(journal_of(&stack, "t3", "default").len(), 51);
    stack.backup("default").await;
    let listed = stack.client().get("/backups?department=default").await.expect(200).json;
    for backup in listed["items"].as_array().expect("have items") {
        present_everywhere(&stack, backup).await;
    }
    stack.vault(&["t3"], &["verify"]).expect(0);
}
