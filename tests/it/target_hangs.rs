//! One of three targets hangs: it answers nobody, and nobody waits for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::archived::names_in;
use crate::harness::hanging::{end_hang, end_hang_at, hang, hang_at};
use crate::harness::settings::Settings;
use crate::harness::stack::{leader_seen_by, present_everywhere};
use crate::harness::{Stack, eventually};

const WITHIN: Duration = Duration::from_mins(1);
/// When a target that does not answer counts as one that hangs.
const HANGS_FOR: Duration = Duration::from_secs(2);

/// The file in a folder whose name sorts last.
fn last_in(folder: &Path) -> PathBuf {
    folder.join(names_in(folder).into_iter().max().expect("have a file"))
}

/// How far each target holds the journal.
async fn held(stack: &Stack) -> Vec<(String, i64)> {
    let shown = stack.client().get("/departments/default").await.expect(200).json;
    let journal = shown["head"]["journal"].as_array().expect("have copies").clone();
    let of = |copy: &Value| Some((copy["target"].as_str()?.to_owned(), copy["through"].as_i64()?));
    journal.iter().map(|copy| of(copy).expect("have both")).collect()
}

#[tokio::test]
async fn a_leader_that_claims_while_a_target_hangs_goes_on_with_the_quorum_of_the_others() {
    let targets_extra = format!("operation_timeout = \"{}s\"", HANGS_FOR.as_secs());
    let mut stack = Stack::start(Settings { replicas: 2, targets: 3, targets_extra, ..Settings::default() }).await;
    stack.first_slot_done("default").await;
    stack.create_users("default", 40).await;
    present_everywhere(&stack, &stack.backup("default").await).await;
    eventually("every target has the journal", WITHIN, async || {
        held(&stack).await.iter().all(|(_, through)| *through == 40).then_some(())
    })
    .await;

    // What a writer asks for first, and what a leader that claims reads to see what was written there last.
    let target = stack.folder.path().join("targets/t3");
    let line = target.join("departments/default/1");
    let read_by_a_claim = [last_in(&line.join("journal")), last_in(&line.join("snapshots"))];
    hang(&target);
    for file in &read_by_a_claim {
        hang_at(file);
    }
    let leader = stack.leader_of("default").await["replica"].as_str().expect("have an id").to_owned();
    stack.crash(&leader);
    leader_seen_by(stack.client(), "default", |it| it["replica"] != *leader).await;

    stack.create("default", "meanwhile", "Meanwhile").await;
    let receipt = stack.client().post("/departments/default/sync", json!({})).await.expect(200).json;
    assert_eq!(receipt["sequence"], 41, "{receipt}");
    let backup = stack.backup("default").await;
    assert_eq!(backup["sequence"], 41, "{backup}");
    for copy in backup["copies"].as_array().expect("have copies") {
        let wanted = if copy["target"] == "t3" { "owed" } else { "present" };
        assert_eq!(copy["state"], wanted, "{backup}");
    }
    stack.create("default", "later", "Later").await;
    let receipt = stack.client().post("/departments/default/sync", json!({})).await.expect(200).json;
    let copies = receipt["copies"].as_array().expect("have copies").iter();
    // What was under way may come to the third as well: only what reads it hangs.
    assert!(copies.filter(|copy| copy["through"] == 42).count() >= 2, "{receipt}");

    for file in &read_by_a_claim {
        end_hang_at(file, HANGS_FOR).await;
    }
    end_hang(&target, HANGS_FOR).await;
    present_everywhere(&stack, &backup).await;
    eventually("the target has caught up", WITHIN, async || {
        held(&stack).await.iter().all(|(_, through)| *through == 42).then_some(())
    })
    .await;
}
