//! What the targets themselves tell: a failed backup leaves its word, and an emptied target is noticed and filled again.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::settings::Settings;
use crate::harness::stack::leader_seen_by;
use crate::harness::{Stack, eventually};

fn target(stack: &Stack, name: &str) -> PathBuf {
    stack.folder.path().join("targets").join(name)
}

/// Takes a backup and waits until every target holds it.
async fn backup_everywhere(stack: &Stack) -> String {
    stack.first_slot_done("default").await;
    let backup = stack.backup("default").await;
    let path = format!("/backups/{}", backup["id"].as_str().expect("have an id"));
    eventually("every copy is present", Duration::from_mins(1), async || {
        let backup = stack.client().get(&path).await.expect(200).json;
        copies(&backup).all(|copy| copy["state"] == "present").then_some(())
    })
    .await;
    path
}

fn copies(backup: &Value) -> impl Iterator<Item = &Value> {
    backup["copies"].as_array().expect("have copies").iter()
}

#[tokio::test]
async fn a_failed_backup_leaves_its_word_on_the_targets_that_are_left() {
    let stack = Stack::start(Settings { targets: 3, ..Settings::default() }).await;
    backup_everywhere(&stack).await;
    for name in ["t2", "t3"] {
        std::fs::rename(target(&stack, name), target(&stack, &format!("{name}-away"))).expect("hide the target");
    }
    let job = stack.client().post("/backups", json!({ "department": "default" })).await.expect(202);
    let failed = stack.ended(job.header("location"), "failed").await;
    let id = failed["id"].as_str().expect("have an id");
    let folder = target(&stack, "t1").join("departments/default/1/backups").join(id);
    eventually("the word is on the target that is left", Duration::from_mins(1), async || {
        let mut words = std::fs::read_dir(&folder).ok()?;
        words.next().map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_target_that_was_emptied_is_noticed_by_the_next_leader_and_filled_again() {
    let mut stack = Stack::start(Settings { replicas: 2, targets: 3, ..Settings::default() }).await;
    stack.create_users("default", 50).await;
    let path = backup_everywhere(&stack).await;
    let old = stack.leader_of("default").await;
    std::fs::remove_dir_all(target(&stack, "t2")).expect("empty the target");
    std::fs::create_dir(target(&stack, "t2")).expect("make the folder again");
    let id = old["replica"].as_str().expect("have an id").to_owned();
    stack.replica(&id).kill();
    stack.replicas.retain(|replica| replica.id != id);
    leader_seen_by(stack.client(), "default", |leader| leader["replica"] != old["replica"]).await;

    let manifests = target(&stack, "t2").join("departments/default/1/snapshots");
    eventually("the manifest is there again", Duration::from_mins(1), async || {
        std::fs::read_dir(&manifests).ok()?.next().map(drop)
    })
    .await;
    eventually("its copy is said to be present again", Duration::from_mins(1), async || {
        let backup = stack.client().get(&path).await.expect(200).json;
        copies(&backup).all(|copy| copy["state"] == "present").then_some(())
    })
    .await;
}
