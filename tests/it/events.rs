//! Listening to jobs: what is, what changes, who may hear it, and how a stream ends.

use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::harness::restoring::from;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

fn is(id: &Value, state: &str) -> impl Fn(&Value) -> bool {
    let (id, state) = (id.clone(), state.to_owned());
    move |event: &Value| event["id"] == id && event["state"] == state
}

#[tokio::test]
async fn a_listener_of_any_replica_hears_every_state_of_a_backup_and_a_restore_in_order() {
    let stack = Stack::start(Settings { replicas: 2, range_records: 1, ..Settings::default() }).await;
    let mut listeners = Vec::new();
    for replica in &stack.replicas {
        listeners.push(replica.client.listen("?department=default", None).await);
    }
    stack.create_users("default", 100).await;
    let backup = stack.backup("default").await;
    for n in 0..100 {
        stack.delete(&format!("default-{n:05}")).await;
    }
    let restore = stack.restored(&backup, json!({})).await;
    for listener in &mut listeners {
        let heard = listener.until(is(&restore["id"], "complete")).await;
        assert!(heard.iter().any(is(&backup["id"], "complete")), "{heard:?}");
        let of: Vec<&Value> = heard.iter().filter(|event| event["id"] == restore["id"]).collect();
        let done: Vec<u64> = of.iter().filter_map(|event| event["progress"]["changes_done"].as_u64()).collect();
        assert!(done.is_sorted() && done.last() == Some(&100), "{done:?}");
        assert!(done.iter().any(|done| *done > 0 && *done < 100), "the way is told, not only its end: {done:?}");
        assert_eq!(of[0]["state"], "queued", "{of:?}");
        assert!(of.iter().all(|event| event["kind"] == "restore" && event["department"] == "default"));
        assert_eq!(of.last().expect("have one")["executed_by"], restore["executed_by"]);
    }
}

#[tokio::test]
async fn who_comes_again_hears_what_is_and_what_ended_meanwhile_from_any_replica() {
    let stack = Stack::start(Settings { replicas: 2, ..Settings::default() }).await;
    stack.create_users("default", 3).await;
    let mut listener = stack.client().listen("", None).await;
    let first = stack.backup("default").await;
    listener.until(is(&first["id"], "complete")).await;
    let last = listener.last_id.clone();
    drop(listener);
    stack.delete("default-00001").await;
    let second = stack.backup("default").await;
    let planned = stack.plan(from(&first, json!({}))).await;

    let mut again = stack.replicas[1].client.listen("?kind=restore,backup", Some(&last)).await;
    let heard = again.until(is(&planned.job["id"], "planned")).await;
    assert!(heard.iter().any(is(&second["id"], "complete")), "{heard:?}");
    let mut fresh = stack.replicas[1].client.listen("?kind=restore", None).await;
    let heard = fresh.until(is(&planned.job["id"], "planned")).await;
    assert_eq!(heard.len(), 1, "only what has not ended: {heard:?}");
    // The one that is asked for by name is told whatever its state.
    let id = first["id"].as_str().expect("have an id");
    let mut named = stack.client().listen(&format!("?id={id}"), None).await;
    assert_eq!(named.until(is(&first["id"], "complete")).await.len(), 1);
    stack.cancel(&planned.location).await.expect(202);
    again.until(is(&planned.job["id"], "cancelled")).await;
}

#[tokio::test]
async fn listeners_hear_only_the_department_and_the_kind_that_they_asked_for() {
    let stack = Stack::start(Settings::default()).await;
    stack.department("sales").await;
    let mut sales = stack.client().listen("?department=sales", None).await;
    let mut restores = stack.client().listen("?kind=restore", None).await;
    stack.backup("default").await;
    let backup = stack.backup("sales").await;
    let restore = stack.restored(&backup, json!({})).await;
    let heard = sales.until(is(&restore["id"], "complete")).await;
    assert!(heard.iter().all(|event| event["department"] == "sales"), "{heard:?}");
    let heard = restores.until(is(&restore["id"], "complete")).await;
    assert!(heard.iter().all(|event| event["kind"] == "restore"), "{heard:?}");
    stack.client().get("/jobs/events?kind=users").await.expect_parameter("kind", "invalid_kind");
    stack.client().get("/jobs/events?department=A").await.expect_parameter("department", "invalid_department");
    stack.client().with_token(None).get("/jobs/events").await.expect_problem(401, "unauthenticated");
}

/// Streams of changes of jobs that MongoDB serves for a database.
async fn streams(stack: &Stack) -> usize {
    let client = mongodb::Client::with_uri_str(&stack.place.mongodb).await.expect("connect to MongoDB");
    let pipeline = [
        doc! { "$currentOp": { "allUsers": true, "idleCursors": true } },
        doc! { "$match": { "ns": { "$regex": format!("^{}\\.", stack.place.database) } } },
        doc! { "$match": { "cursor.originatingCommand.pipeline.0.$changeStream.fullDocument": "updateLookup" } },
    ];
    let found = client.database("admin").aggregate(pipeline).await.expect("ask for cursors");
    found.try_collect::<Vec<Document>>().await.expect("read the cursors").len()
}

#[tokio::test]
async fn all_listeners_of_a_replica_share_one_stream_and_too_many_are_refused() {
    let stack = Stack::start(Settings { http: ", event_listeners = 4".to_owned(), ..Settings::default() }).await;
    assert_eq!(streams(&stack).await, 0);
    let mut listeners = Vec::new();
    for _ in 0..4 {
        listeners.push(stack.client().listen("", None).await);
    }
    let refused = stack.client().get("/jobs/events").await;
    refused.expect_problem(503, "too_many_listeners");
    assert!(!refused.header("retry-after").is_empty());
    let one = "there is one stream";
    eventually(one, Duration::from_secs(20), async || (streams(&stack).await == 1).then_some(())).await;
    listeners.pop();
    eventually("a listener that left makes room", Duration::from_secs(20), async || {
        let answer = stack.client().open("/jobs/events", &[]).await;
        (answer.status() == 200).then_some(())
    })
    .await;
    listeners.clear();
    let none = "nobody listens, so there is no stream";
    eventually(none, Duration::from_secs(20), async || (streams(&stack).await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_stream_lives_by_comments_and_ends_when_its_replica_shuts_down() {
    let mut stack = Stack::start(Settings::default()).await;
    let mut listener = stack.client().listen("", None).await;
    listener.until_comments(2).await;
    let begun = std::time::Instant::now();
    stack.replicas[0].terminate();
    while listener.next().await.is_some() {}
    let ended = eventually("the replica has ended", Duration::from_secs(30), async || stack.replicas[0].ended()).await;
    assert!(ended.success());
    assert!(begun.elapsed() < Duration::from_secs(15), "nobody waits for the listener");
}
