//! The fence decides: a range of a restore, or the end of a backup, that is under way while the next leader takes over
//! does not commit, and the same tests see it commit in a build whose fence comparison is taken out.

use std::path::PathBuf;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually, variable};

/// How long the fence statement is held up: longer than a takeover, shorter than the lifetime of a transaction.
const HELD_MS: i32 = 4300;

#[tokio::test]
async fn no_range_of_a_frozen_leader_commits_after_the_next_leader_has_claimed() {
    let binary = Settings::default().binary;
    assert_eq!(stale_ranges_after_a_takeover(binary).await, 0);
}

#[tokio::test]
async fn without_the_fence_comparison_a_range_of_a_frozen_leader_commits_after_the_claim() {
    let binary = PathBuf::from(variable("ROLLKEEPER_TEST_UNFENCED"));
    assert!(stale_ranges_after_a_takeover(binary).await > 0, "the test above could not go red");
}

#[tokio::test]
async fn no_backup_of_a_frozen_leader_is_listed_after_the_next_leader_has_claimed() {
    let (frozen, listed) = epochs_of_a_backup_over_a_takeover(Settings::default().binary).await;
    assert!(listed > frozen, "epoch {frozen} was frozen, and the backup is of epoch {listed}");
}

#[tokio::test]
async fn without_the_fence_comparison_a_backup_of_a_frozen_leader_is_listed_after_the_claim() {
    let binary = PathBuf::from(variable("ROLLKEEPER_TEST_UNFENCED"));
    let (frozen, listed) = epochs_of_a_backup_over_a_takeover(binary).await;
    assert_eq!(listed, frozen, "the test above could not go red");
}

/// Freezes a leader whose transaction is at its fence, lets another one claim, thaws it, and counts the ranges of the
/// old epoch that were committed after the claim.
async fn stale_ranges_after_a_takeover(binary: PathBuf) -> usize {
    let settings = Settings { replicas: 2, range_records: 5, own_mongod: true, binary, ..Settings::default() };
    let mut stack = Stack::start(settings).await;
    stack.create_users("default", 3000).await;
    let backup = stack.backup("default").await;
    for user in stack.all_users("default").await.iter().step_by(10) {
        stack.client().delete(&format!("/users/{}", user["id"].as_str().expect("have an id"))).await.expect(204);
    }
    let database = stack.database().await;
    let body = json!({ "from": { "backup_id": backup["id"] }, "apply": true });
    let location = stack.restore(body).await.header("location").to_owned();
    let old = under_way(&stack, &location, "changes_done").await;
    let before = hold_a_fence_statement(&database, &old.replica).await;
    take_over(&mut stack, &database, &old, before).await;
    let committed = count(&database, old.epoch).await;
    stack.replica(&old.replica).thaw();
    ended_for_another(&stack, &location, &old).await;
    count(&database, old.epoch).await - committed
}

/// Freezes a leader that is about to list a backup, lets another one claim, and thaws it: the frozen epoch, and the one
/// whose backup is listed in the end.
async fn epochs_of_a_backup_over_a_takeover(binary: PathBuf) -> (i64, i64) {
    let settings =
        Settings { replicas: 2, targets: 3, chunk_records: 16, own_mongod: true, binary, ..Settings::default() };
    let mut stack = Stack::start(settings).await;
    stack.create_users("default", 12_000).await;
    stack.first_slot_done("default").await;
    let database = stack.database().await;
    let old = Old::of(&stack.leader_of("default").await);
    let body = json!({ "department": "default" });
    let location = stack.client().post("/backups", body).await.expect(202).header("location").to_owned();
    let backups = database.collection::<Document>("backups");
    eventually("the backup was taken up", Duration::from_mins(1), async || {
        let running = backups.find_one(doc! { "kind": "on_demand", "state": "running" }).await.expect("find");
        running.map(drop)
    })
    .await;
    // The next transaction is the one that lists it.
    let before = hold_a_fence_statement(&database, &old.replica).await;
    take_over(&mut stack, &database, &old, before).await;
    stack.replica(&old.replica).thaw();
    let job = ended_for_another(&stack, &location, &old).await;
    (old.epoch, job["executed_by"]["epoch"].as_i64().expect("have an epoch"))
}

/// A leadership that is going to be stale.
struct Old {
    replica: String,
    epoch: i64,
}

impl Old {
    fn of(leader: &Value) -> Self {
        let replica = leader["replica"].as_str().expect("have an id").to_owned();
        Self { replica, epoch: leader["epoch"].as_i64().expect("have an epoch") }
    }
}

/// Waits until a job has made progress, and tells who carries it out.
async fn under_way(stack: &Stack, location: &str, progress: &str) -> Old {
    let by = eventually("the job is under way", Duration::from_mins(1), async || {
        let job = stack.client().get(location).await.expect(200).json;
        assert_ne!(job["state"], "complete", "too early to be in the middle: {job}");
        (job["progress"][progress].as_u64()? > 0).then(|| job["executed_by"].clone())
    })
    .await;
    Old::of(&by)
}

/// Freezes a leader whose next transaction has come to its fence, and returns when another one has claimed.
async fn take_over(stack: &mut Stack, database: &mongodb::Database, old: &Old, held_before: i32) {
    let admin = database.client().database("admin");
    let wait = doc! { "waitForFailPoint": "failCommand", "timesEntered": held_before + 1, "maxTimeMS": 20_000 };
    admin.run_command(wait).await.expect("see the statement held up");
    stack.replica(&old.replica).freeze();
    let fences = database.collection::<Document>("fences");
    eventually("another leader has claimed the fence", Duration::from_mins(1), async || {
        let fence = fences.find_one(doc! { "_id": "default" }).await.expect("read the fence")?;
        (fence.get_i64("epoch").expect("have an epoch") > old.epoch).then_some(())
    })
    .await;
}

/// The job as it is complete, asked of a replica that was never frozen.
async fn ended_for_another(stack: &Stack, location: &str, old: &Old) -> Value {
    let living = &stack.replicas.iter().find(|replica| replica.id != old.replica).expect("have another").client;
    eventually("the job has ended", Duration::from_mins(1), async || {
        let job = living.get(location).await.expect(200).json;
        (job["state"] == "complete").then_some(job)
    })
    .await
}

/// Ranges that an epoch has committed.
async fn count(database: &mongodb::Database, epoch: i64) -> usize {
    let ranges = database.collection::<Document>("restore_batches");
    let found = ranges.count_documents(doc! { "epoch": epoch }).await.expect("count the ranges");
    usize::try_from(found).expect("fit")
}

/// Holds the next fence statement of a replica up inside the server, as soon as it arrives there; tells how many were held
/// up before.
async fn hold_a_fence_statement(database: &mongodb::Database, replica: &str) -> i32 {
    let data = doc! {
        "failCommands": ["findAndModify"], "namespace": format!("{}.fences", database.name()), "appName": replica,
        "blockConnection": true, "blockTimeMS": HELD_MS,
    };
    let set = doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data };
    let reply = database.client().database("admin").run_command(set).await.expect("set the fail point");
    reply.get("count").and_then(mongodb::bson::Bson::as_i32).unwrap_or(0)
}
