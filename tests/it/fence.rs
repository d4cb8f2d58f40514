//! The fence decides: a range of a restore that is under way while the next leader takes over does not commit, and the
//! same test sees it commit in a build whose fence comparison is taken out.

use std::path::PathBuf;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use serde_json::json;

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
    let mongo = mongodb::Client::with_uri_str(&stack.place.mongodb).await.expect("connect to MongoDB");
    let database = mongo.database(&stack.place.database);
    let body = json!({ "from": { "backup_id": backup["id"] }, "apply": true });
    let location = stack.restore(body).await.header("location").to_owned();
    let old = eventually("the restore is under way", Duration::from_mins(1), async || {
        let job = stack.client().get(&location).await.expect(200).json;
        (job["progress"]["changes_done"].as_u64()? > 0).then(|| job["executed_by"].clone())
    })
    .await;
    let (id, epoch) = (old["replica"].as_str().expect("have an id"), old["epoch"].as_i64().expect("have an epoch"));

    hold_the_fence_statement(&mongo, &stack.place.database, id).await;
    stack.replica(id).freeze();
    let fences = database.collection::<Document>("fences");
    eventually("another leader has claimed the fence", Duration::from_mins(1), async || {
        let fence = fences.find_one(doc! { "_id": "default" }).await.expect("read the fence")?;
        (fence.get_i64("epoch").expect("have an epoch") > epoch).then_some(())
    })
    .await;
    let committed = count(&database, epoch).await;
    stack.replica(id).thaw();
    let living = stack.replicas.iter().find(|replica| replica.id != id).expect("have another").client.clone();
    eventually("the restore has ended", Duration::from_mins(1), async || {
        let job = living.get(&location).await.expect(200).json;
        (job["state"] == "complete").then_some(())
    })
    .await;
    count(&database, epoch).await - committed
}

/// Ranges that an epoch has committed.
async fn count(database: &mongodb::Database, epoch: i64) -> usize {
    let ranges = database.collection::<Document>("restore_batches");
    let found = ranges.count_documents(doc! { "epoch": epoch }).await.expect("count the ranges");
    usize::try_from(found).expect("fit")
}

/// Holds the next fence statement of a replica up inside the server, and returns when it has arrived there.
async fn hold_the_fence_statement(mongo: &mongodb::Client, database: &str, replica: &str) {
    let admin = mongo.database("admin");
    let data = doc! {
        "failCommands": ["findAndModify"], "namespace": format!("{database}.fences"), "appName": replica,
        "blockConnection": true, "blockTimeMS": HELD_MS,
    };
    let set = doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data };
    let reply = admin.run_command(set).await.expect("set the fail point");
    let before = reply.get("count").and_then(mongodb::bson::Bson::as_i32).unwrap_or(0);
    let wait = doc! { "waitForFailPoint": "failCommand", "timesEntered": before + 1, "maxTimeMS": 20_000 };
    admin.run_command(wait).await.expect("see the statement held up");
}
