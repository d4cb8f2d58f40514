//! The leader dies in the middle of a transaction: MongoDB keeps what it has written locked for seconds, and the next leader
//! does not wait for that.

use mongodb::bson::{Document, doc};
use serde_json::json;

use crate::harness::Stack;
use crate::harness::settings::Settings;
use crate::harness::stack::leader_seen_by;

#[tokio::test]
async fn the_next_leader_does_not_wait_for_a_transaction_that_the_last_one_left_open() {
    let mut stack = Stack::start(Settings { replicas: 2, own_mongod: true, ..Settings::default() }).await;
    stack.first_slot_done("default").await;
    let old = stack.leader_of("default").await;
    stack.crash(old["replica"].as_str().expect("have an id"));
    let job = stack.client().post("/backups", json!({ "department": "default" })).await.expect(202);

    // What the dead leader would have done with the job.
    let database = stack.database().await;
    let mut left = database.client().start_session().await.expect("start a session");
    left.start_transaction().await.expect("start a transaction");
    let key = doc! { "_id": { "department": "default", "id": job.json["id"].as_str().expect("have an id") } };
    let take = doc! { "$set": { "progress.records_done": 1_i64 } };
    let backups = database.collection::<Document>("backups");
    let taken = backups.update_one(key, take).session(&mut left).await.expect("write in the transaction");
    assert_eq!(taken.modified_count, 1);

    let new = leader_seen_by(stack.client(), "default", |leader| leader["replica"] != old["replica"]).await;
    assert!(new["epoch"].as_u64() > old["epoch"].as_u64(), "{old} {new}");
    left.commit_transaction().await.expect("the transaction is open all the while");
    stack.ended(job.header("location"), "complete").await;
}
