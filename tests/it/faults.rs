//! Faults in the middle of a backup, a restore and the targets: what is promised holds.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::records::assert_same_content;
use crate::harness::settings::Settings;
use crate::harness::stack::leader_seen_by;
use crate::harness::{Stack, eventually};

/// Hides a target, as an unmounted disk would be.
fn lose_target(stack: &Stack, name: &str) {
    let targets = stack.folder.path().join("targets");
    std::fs::rename(targets.join(name), targets.join(format!("{name}-away"))).expect("hide the target");
}

/// Waits until every target has a whole backup, so that nothing is being written when a target is lost.
async fn settled(stack: &Stack) {
    stack.first_slot_done("default").await;
    let backup = stack.backup("default").await;
    let path = format!("/backups/{}", backup["id"].as_str().expect("have an id"));
    eventually("every copy is present", Duration::from_mins(1), async || {
        let backup = stack.client().get(&path).await.expect(200).json;
        ["t1", "t2", "t3"].iter().all(|target| copy_state(&backup, target) == "present").then_some(())
    })
    .await;
}

fn bring_target_back(stack: &Stack, name: &str) {
    let targets = stack.folder.path().join("targets");
    std::fs::rename(targets.join(format!("{name}-away")), targets.join(name)).expect("bring the target back");
}

fn copy_state<'a>(backup: &'a Value, target: &str) -> &'a Value {
    let copies = backup["copies"].as_array().expect("have copies");
    &copies.iter().find(|copy| copy["target"] == target).expect("have a copy of each target")["state"]
}

#[tokio::test]
async fn with_one_of_three_targets_dead_backups_complete_and_the_copy_is_caught_up_later() {
    let stack = Stack::start(Settings { targets: 3, ..Settings::default() }).await;
    stack.create_users("default", 300).await;
    settled(&stack).await;
    lose_target(&stack, "t3");
    let backup = stack.backup("default").await;
    assert_eq!(copy_state(&backup, "t1"), "present", "{backup}");
    assert_eq!(copy_state(&backup, "t3"), "owed", "{backup}");
    bring_target_back(&stack, "t3");
    let path = format!("/backups/{}", backup["id"].as_str().expect("have an id"));
    eventually("the owed copy is caught up", Duration::from_mins(1), async || {
        let backup = stack.client().get(&path).await.expect(200).json;
        (copy_state(&backup, "t3") == "present").then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_two_of_three_targets_dead_a_backup_fails_with_its_cause_and_is_not_listed() {
    let stack = Stack::start(Settings { targets: 3, ..Settings::default() }).await;
    stack.create_users("default", 100).await;
    settled(&stack).await;
    lose_target(&stack, "t2");
    lose_target(&stack, "t3");
    let job = stack.client().post("/backups", json!({ "department": "default" })).await.expect(202);
    let failed = stack.ended(job.header("location"), "failed").await;
    assert_eq!(failed["cause"]["code"], "quorum_not_reached", "{failed}");
    let listed = stack.client().get("/backups?department=default").await.expect(200).json;
    let items = listed["items"].as_array().expect("have items");
    assert!(items.iter().all(|item| item["id"] != failed["id"]), "{listed}");
}

#[tokio::test]
async fn a_frozen_leader_that_comes_back_leaves_the_restore_to_the_next_one() {
    let settings = Settings { replicas: 3, targets: 3, range_records: 5, ..Settings::default() };
    let mut stack = Stack::start(settings).await;
    stack.create_users("default", 1500).await;
    let before = stack.all_users("default").await;
    let backup = stack.backup("default").await;
    let wanted = stack.records_of_backup(&backup).await;
    for user in before.iter().step_by(2) {
        let path = format!("/users/{}", user["id"].as_str().expect("have an id"));
        stack.client().delete(&path).await.expect(204);
    }
    let body = json!({ "from": { "backup_id": backup["id"] }, "mode": "exact",
        "credentials": "restore", "locked": "restore", "apply": true });
    let location = stack.restore(body).await.header("location").to_owned();
    let frozen = eventually("the restore is under way", Duration::from_mins(1), async || {
        let job = stack.client().get(&location).await.expect(200).json;
        let (done, total) = (job["progress"]["changes_done"].as_u64()?, job["progress"]["changes_total"].as_u64()?);
        (done > 0 && done < total).then(|| job["executed_by"].clone())
    })
    .await;
    let id = frozen["replica"].as_str().expect("have an id").to_owned();
    stack.replica(&id).freeze();
    let living = stack.replicas.iter().find(|replica| replica.id != id).expect("have another").client.clone();
    let new = leader_seen_by(&living, "default", |leader| leader["replica"] != frozen["replica"]).await;
    assert!(new["epoch"].as_u64() > frozen["epoch"].as_u64(), "{frozen} {new}");
    stack.replica(&id).thaw();
    let job = eventually("the restore is complete", Duration::from_mins(1), async || {
        let job = living.get(&location).await.expect(200).json;
        (job["state"] == "complete").then_some(job)
    })
    .await;
    assert_eq!(job["executed_by"]["epoch"], new["epoch"], "{job}");
    assert_eq!(job["progress"]["conflicts"], 0, "{job}");
    assert_eq!(job["progress"]["changes_done"], job["progress"]["changes_total"], "{job}");
    assert_same_content(&wanted, &stack.records("default").await);
    assert_no_effect_of_an_old_epoch(&stack).await;
}

/// Reads every range of the restores in commit order: epochs only grow.
async fn assert_no_effect_of_an_old_epoch(stack: &Stack) {
    use futures::TryStreamExt as _;
    use mongodb::bson::{Document, doc};
    let client = mongodb::Client::with_uri_str(&stack.place.mongodb).await.expect("connect to MongoDB");
    let batches = client.database(&stack.place.database).collection::<Document>("restore_batches");
    let find = batches.find(doc! {}).sort(doc! { "_id.batch": 1 });
    let found: Vec<Document> = find.await.expect("find").try_collect().await.expect("read the ranges");
    let epochs: Vec<i64> = found.iter().map(|batch| batch.get_i64("epoch").expect("have an epoch")).collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
    assert!(epochs.first() < epochs.last(), "two leaders worked on it: {epochs:?}");
}
