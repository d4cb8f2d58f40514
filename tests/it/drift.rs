//! The history is compared with the live records now and then; a difference is an alarm with the ids.

use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

/// What the last comparison of `default` found, once it is of this sequence or a later one.
async fn compared(stack: &Stack, at_least: i64) -> Value {
    eventually("the history was compared with the live records", Duration::from_mins(1), async || {
        let head = stack.client().get("/departments/default").await.expect(200).json["head"].clone();
        head["drift"]["sequence"].as_i64().filter(|sequence| *sequence >= at_least).map(|_| head["drift"].clone())
    })
    .await
}

/// Writes a user straight into MongoDB and moves the head behind that, as if the change stream had never told of it.
async fn write_past_the_history(stack: &Stack) {
    let database = stack.database().await;
    let users = database.collection::<Document>("users");
    let mut user = users.find_one(doc! { "_id.id": "default-00003" }).await.expect("find").expect("be there");
    user.insert("_id", doc! { "department": "default", "id": "unseen" });
    user.insert("name", "Unseen");
    users.insert_one(user).await.expect("insert");
    users.update_one(doc! { "_id.id": "default-00005" }, doc! { "$set": { "locked": true } }).await.expect("update");
    let now = database.run_command(doc! { "ping": 1 }).await.expect("ping");
    let now = now.get_document("$clusterTime").and_then(|time| time.get_timestamp("clusterTime")).expect("have one");
    let behind = mongodb::bson::Timestamp { time: now.time, increment: now.increment + 1 };
    let set = doc! { "$set": { "token": Bson::Null, "cluster_time": behind } };
    database.collection::<Document>("heads").update_one(doc! { "_id": "default" }, set).await.expect("move the head");
}

#[tokio::test]
async fn a_history_that_misses_a_write_is_an_alarm_with_the_ids() {
    let settings = Settings { backup: ", rescan_every = \"1s\"".to_owned(), ..Settings::default() };
    let mut stack = Stack::start(settings).await;
    stack.create_users("default", 40).await;
    let good = compared(&stack, 40).await;
    assert_eq!((&good["records"], &good["differing"], &good["ids"]), (&json!(40), &json!(0), &json!([])), "{good}");

    let id = stack.replicas[0].id.clone();
    stack.replica(&id).kill();
    write_past_the_history(&stack).await;
    stack.replica(&id).restart();
    eventually("the replica serves again", Duration::from_mins(1), async || {
        let answer = stack.client().try_send(Method::GET, "/readyz", &[], None).await;
        answer.ok().filter(|answer| answer.status == 200).map(drop)
    })
    .await;
    let alarm = eventually("the comparison finds the difference", Duration::from_mins(1), async || {
        let drift = compared(&stack, 40).await;
        (drift["checked_at"] != good["checked_at"] && drift["differing"] != 0).then_some(drift)
    })
    .await;
    assert_eq!((&alarm["records"], &alarm["differing"]), (&json!(41), &json!(2)), "{alarm}");
    assert_eq!(alarm["ids"], json!(["default-00005", "unseen"]));
}
