//! The leader dies in the middle of a restore: the next one goes on from the checkpoint, and nothing is lost or done twice.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::records::{assert_same_content, hash_number};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

const GROUPS: usize = 70;

#[tokio::test]
async fn a_restore_whose_leader_is_killed_is_finished_from_its_checkpoint_by_the_next_one() {
    let settings = Settings { replicas: 3, targets: 3, range_records: 4, ..Settings::default() };
    let mut stack = Stack::start(settings).await;
    stack.create_users("default", 10 * GROUPS).await;
    lock_some(&stack).await;
    let backup = stack.backup("default").await;
    let wanted = stack.records_of_backup(&backup).await;
    change_most(&stack).await;

    let body = json!({ "from": { "backup_id": backup["id"] }, "mode": "exact",
        "credentials": "restore", "locked": "restore", "apply": true });
    let location = stack.restore(body).await.header("location").to_owned();
    let (at_the_kill, job) = survives_its_leader(&mut stack, &location).await;
    assert_eq!(job["progress"]["conflicts"], 0, "{job}");
    assert_same_content(&wanted, &stack.records("default").await);
    let again = stack.backup("default").await;
    assert_eq!(again["root"], backup["root"], "the same records give the same root");
    assert_every_range_was_done_once(&stack, &at_the_kill).await;
}

/// Kills the leader in the middle of a restore, and sees the next one finish it. Returns the restore as it was at the kill
/// and as it is at its end.
pub(super) async fn survives_its_leader(stack: &mut Stack, location: &str) -> (Value, Value) {
    let old = eventually("the restore is under way", Duration::from_mins(1), async || {
        let job = stack.client().get(location).await.expect(200).json;
        assert_ne!(job["state"], "complete", "it was over before it could be interrupted");
        let (done, total) = progress(&job)?;
        (done * 10 > total * 2).then(|| job["executed_by"].clone())
    })
    .await;
    stack.crash(old["replica"].as_str().expect("have an id"));
    let at_the_kill = stack.client().get(location).await.expect(200).json;
    let (checkpoint, total) = progress(&at_the_kill).expect("have progress");
    assert!(checkpoint * 10 >= total && checkpoint * 10 <= total * 9, "{checkpoint} of {total} is not the middle");

    let mut last = checkpoint;
    let job = eventually("the restore has ended", Duration::from_mins(1), async || {
        let job = stack.client().get(location).await.expect(200).json;
        let (done, _) = progress(&job)?;
        assert!(done >= last, "it went back from {last} to {done}");
        last = done;
        matches!(job["state"].as_str(), Some("complete" | "failed" | "cancelled")).then_some(job)
    })
    .await;
    assert_eq!(job["state"], "complete", "{job}");
    assert_ne!(job["executed_by"]["replica"], old["replica"]);
    assert!(job["executed_by"]["epoch"].as_u64() > old["epoch"].as_u64(), "{job}");
    assert_eq!(progress(&job), Some((total, total)), "{job}");
    (at_the_kill, job)
}

#[tokio::test]
async fn an_undo_whose_leader_is_killed_is_finished_by_the_next_one_and_a_listener_hears_it_through() {
    let settings = Settings { replicas: 3, targets: 3, range_records: 4, ..Settings::default() };
    let mut stack = Stack::start(settings).await;
    stack.create_users("default", 10 * GROUPS).await;
    lock_some(&stack).await;
    let backup = stack.backup("default").await;
    change_most(&stack).await;
    let before = stack.records("default").await;
    let with = json!({ "mode": "exact", "credentials": "restore", "locked": "restore" });
    let restore = stack.restored(&backup, with).await;
    let of = format!("/restores/{}", restore["id"].as_str().expect("have an id"));
    let leader = stack.leader_of("default").await;
    let other = stack.replicas.iter().find(|replica| replica.id != leader["replica"]).expect("have a follower");
    let mut listener = other.client.listen("?kind=restore", None).await;
    let location = stack.undo(&of).await.expect(202).header("location").to_owned();
    let (_, job) = survives_its_leader(&mut stack, &location).await;
    let heard = listener.until(|event| event["id"] == job["id"] && event["state"] == "complete").await;
    let executed: Vec<&Value> = heard.iter().map(|event| &event["executed_by"]["replica"]).collect();
    assert!(executed.contains(&&leader["replica"]), "a listener hears both leaders: {executed:?}");
    assert_eq!(executed.last(), Some(&&job["executed_by"]["replica"]));
    assert_eq!(job["progress"]["conflicts"], 0, "{job}");
    assert_same_content(&before, &stack.records("default").await);
}

#[tokio::test]
async fn a_restore_into_another_department_gives_the_same_new_ids_whoever_goes_on_with_it() {
    let settings = Settings { replicas: 3, targets: 3, range_records: 4, ..Settings::default() };
    let mut stack = Stack::start(settings).await;
    stack.create_users("default", 10 * GROUPS).await;
    stack.department("sales").await;
    let backup = stack.backup("default").await;
    let planned = stack.plan(json!({ "from": { "backup_id": backup["id"] }, "into": "sales" })).await;
    let path = format!("{}/changes", planned.location);
    let changes = stack.pages(&path, 1000).await;
    // What the plan has found counts for the ids, whatever becomes of the users meanwhile. Nobody knows any more whether those
    // who are gone were locked last.
    let gone: BTreeSet<String> = (0..10 * GROUPS).step_by(7).map(|n| format!("default-{n:05}")).collect();
    for id in &gone {
        stack.delete(id).await;
    }
    stack.apply(&planned).await.expect(202);
    let (_, job) = survives_its_leader(&mut stack, &planned.location).await;
    assert_eq!(job["progress"]["conflicts"], gone.len(), "{job}");
    assert_eq!(job["plan"]["renumbered"], 10 * GROUPS, "{job}");
    assert_eq!(stack.pages(&path, 1000).await, changes);
    let id = |change: &Value, field: &str| change[field].as_str().expect("be a text").to_owned();
    let kept = changes.iter().filter(|change| !gone.contains(&id(change, "renumbered_from")));
    let promised: BTreeSet<String> = kept.map(|change| id(change, "user_id")).collect();
    assert_eq!(promised.len(), 10 * GROUPS - gone.len());
    assert!(stack.records("sales").await.keys().eq(&promised));
}

fn progress(job: &Value) -> Option<(u64, u64)> {
    let progress = &job["progress"];
    let total = progress["changes_total"].as_u64().filter(|total| *total > 0)?;
    Some((progress["changes_done"].as_u64()?, total))
}

/// Insists that the ranges are numbered without a gap, that epochs only grow, and that the second leader began where the
/// first one stopped.
async fn assert_every_range_was_done_once(stack: &Stack, at_the_kill: &Value) {
    let ranges = stack.database().await.collection::<Document>("restore_batches");
    let find = ranges.find(doc! {}).sort(doc! { "_id.batch": 1 }).await.expect("find the ranges");
    let found: Vec<Document> = find.try_collect().await.expect("read the ranges");
    let number =
        |range: &Document| range.get_document("_id").and_then(|key| key.get_i64("batch")).expect("be numbered");
    let numbers: Vec<i64> = found.iter().map(number).collect();
    assert!((0..).zip(&numbers).all(|(n, number)| n == *number), "{numbers:?}");
    let epochs: Vec<i64> = found.iter().map(|range| range.get_i64("epoch").expect("have an epoch")).collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
    let first = epochs.iter().filter(|epoch| **epoch == epochs[0]).count() as u64;
    let seen = at_the_kill["progress"]["batches"].as_u64().expect("have a number");
    assert!(first == seen || first == seen + 1, "one may have been on its way: {seen} {first}");
    assert!(first < epochs.len() as u64, "two leaders worked on it: {epochs:?}");
}

fn path(group: usize, n: usize) -> String {
    format!("/users/default-{:05}", group * 10 + n)
}

fn name(group: usize, n: usize) -> String {
    format!("User {:05} ü", group * 10 + n)
}

/// Locks one user of each group of ten.
async fn lock_some(stack: &Stack) {
    let client = stack.client();
    let lock = |group| async move { client.patch(&path(group, 7), json!({ "locked": true })).await.expect(200) };
    futures::stream::iter(0..GROUPS).map(lock).buffer_unordered(8).collect::<Vec<_>>().await;
}

/// In each group of ten: a delete, a name that is passed on, new hashes, locks, names that two users swap, a new user.
async fn change_most(stack: &Stack) {
    let changes = futures::stream::iter(0..GROUPS).map(|group| change_group(stack.client(), group));
    changes.buffer_unordered(8).collect::<Vec<_>>().await;
}

async fn change_group(client: &Client, group: usize) {
    let patch = async |n: usize, body: Value| drop(client.patch(&path(group, n), body).await.expect(200));
    client.delete(&path(group, 0)).await.expect(204);
    patch(1, json!({ "name": format!("Renamed {group}") })).await;
    patch(2, json!({ "password_hash": hash_number(1_000_000 + group as u64) })).await;
    patch(3, json!({ "locked": true, "name": name(group, 0) })).await;
    patch(4, json!({ "name": format!("Between {group}") })).await;
    patch(5, json!({ "name": name(group, 4) })).await;
    patch(4, json!({ "name": name(group, 5) })).await;
    patch(7, json!({ "locked": false })).await;
    let new = json!({ "id": format!("new-{group:03}"), "name": name(group, 1), "password_hash": hash_number(7) });
    client.post("/users", new).await.expect(201);
}
