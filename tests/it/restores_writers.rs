//! Clients go on writing while a restore applies: nothing that was acknowledged to them is lost, every meeting is a
//! conflict with its cause, and every change of the restore is on record with its rev before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use serde_json::json;

use crate::harness::client::Client;
use crate::harness::restoring::{OTHER_HASH, causes, from};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

const USERS: usize = 400;

/// What a client was told last of a user: its `ETag`, or nothing after a delete.
type Told = BTreeMap<String, Option<String>>;

/// Changes, deletes and creates users from the last one to the first, round after round, until told to stop.
async fn write_on(client: Client, stop: &AtomicBool) -> Told {
    let mut told = Told::new();
    for round in 0_usize.. {
        for n in (round..USERS).rev().step_by(3) {
            if stop.load(Ordering::Relaxed) {
                return told;
            }
            let id = format!("default-{n:05}");
            let path = format!("/users/{id}");
            let answer = match n % 4 {
                0 => {
                    let name = format!("Made {round} {n}");
                    client.post("/users", json!({ "id": id, "name": name, "password_hash": OTHER_HASH })).await
                }
                1 => client.delete(&path).await,
                _ => client.patch(&path, json!({ "name": format!("Changed {round} {n}") })).await,
            };
            match answer.status.as_u16() {
                200 | 201 => drop(told.insert(id, Some(answer.header("etag").trim_matches('"').to_owned()))),
                204 => drop(told.insert(id, None)),
                404 | 409 | 412 => {}
                other => panic!("{other}: {}", answer.text),
            }
        }
    }
    told
}

#[tokio::test]
async fn no_acknowledged_write_of_a_client_is_lost_while_a_restore_applies() {
    let stack = Stack::start(Settings { replicas: 2, range_records: 3, ..Settings::default() }).await;
    stack.create_users("default", USERS).await;
    let backup = stack.backup("default").await;
    for n in 0..USERS {
        let id = format!("default-{n:05}");
        match n % 4 {
            0 => stack.delete(&id).await,
            _ => stack.change(&id, json!({ "name": format!("Before the plan {n}") })).await,
        }
    }
    let planned = stack.plan(from(&backup, json!({}))).await;
    let stop = AtomicBool::new(false);
    let (told, applied) = futures::join!(write_on(stack.replicas[1].client.clone(), &stop), async {
        let applied = stack.carry_out(&planned).await;
        stop.store(true, Ordering::Relaxed);
        applied
    });

    let live: BTreeMap<String, String> = stack
        .all_users("default")
        .await
        .iter()
        .map(|user| {
            (user["id"].as_str().unwrap_or_default().to_owned(), user["rev"].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    for (id, rev) in &told {
        assert_eq!(live.get(id), rev.as_ref(), "the last acknowledged write of {id} is there");
    }
    let conflicts = causes(&stack.pages(&format!("{}/conflicts", planned.location), 1000).await);
    assert!(!conflicts.is_empty() && !told.is_empty(), "they met: {applied}");
    let ids: BTreeSet<&String> = conflicts.iter().map(|(id, ..)| id).collect();
    assert_eq!(ids.len(), conflicts.len(), "each once");
    for (id, cause, overwritten) in &conflicts {
        assert!(told.contains_key(id), "only what a client wrote is a conflict: {id} {cause}");
        assert!(["changed", "gone", "appeared"].contains(&cause.as_str()) && !overwritten, "{id} {cause}");
    }
    let progress = &applied["progress"];
    assert_eq!(progress["conflicts"], conflicts.len(), "{applied}");
    let missed =
        progress["changes_total"].as_u64().zip(progress["changes_applied"].as_u64()).map(|(all, made)| all - made);
    assert_eq!(missed, Some(conflicts.len() as u64), "{applied}");
}

#[tokio::test]
async fn a_record_that_somebody_changed_past_the_service_after_the_plan_is_a_conflict_and_stays() {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 3).await;
    let backup = stack.backup("default").await;
    stack.change("default-00001", json!({ "name": "One" })).await;
    let planned = stack.plan(from(&backup, json!({}))).await;
    // A person in a shell leaves the rev as it is.
    let users = stack.database().await.collection::<Document>("users");
    let update = doc! { "$set": { "name": "By hand" } };
    users.update_one(doc! { "_id.id": "default-00001" }, update).await.expect("write");
    let before = stack.documents("default").await;
    stack.carry_out(&planned).await;
    assert_eq!(stack.documents("default").await, before);
    let conflicts = causes(&stack.pages(&format!("{}/conflicts", planned.location), 10).await);
    assert_eq!(conflicts, [("default-00001".to_owned(), "changed".to_owned(), false)]);
}

#[tokio::test]
async fn every_change_of_a_restore_is_on_record_with_its_rev_before_and_after() {
    let stack = Stack::start(Settings { range_records: 2, ..Settings::default() }).await;
    stack.create_users("default", 8).await;
    let backup = stack.backup("default").await;
    stack.delete("default-00001").await;
    stack.change("default-00002", json!({ "name": "Two" })).await;
    stack.change("default-00003", json!({ "name": "User 00002 ü" })).await;
    stack.create("default", "new", "A new one").await;
    let before = stack.documents("default").await;
    stack.restored(&backup, json!({ "mode": "exact" })).await;
    let after = stack.documents("default").await;
    let batches = stack.database().await.collection::<Document>("restore_batches");
    let found: Vec<Document> = batches
        .find(doc! {})
        .sort(doc! { "_id.batch": 1 })
        .await
        .expect("find the ranges")
        .try_collect()
        .await
        .expect("read the ranges");
    let numbers: Vec<i64> = found
        .iter()
        .map(|batch| batch.get_document("_id").and_then(|key| key.get_i64("batch")).expect("count"))
        .collect();
    assert!(numbers.iter().copied().zip(0..).all(|(number, at)| number == at), "{numbers:?}");
    let mut recorded = BTreeMap::new();
    for record in found.iter().flat_map(|batch| batch.get_array("records").expect("have records")) {
        let record = record.as_document().expect("be a document");
        let id = record.get_str("id").expect("have an id").to_owned();
        let revs = [record.get("before").cloned(), record.get("after").cloned()];
        assert!(recorded.insert(id, revs).is_none(), "each user once: {found:?}");
    }
    assert_eq!(recorded.len(), 4);
    let rev = |users: &BTreeMap<String, Document>, id: &str| {
        Some(users.get(id).and_then(|user| user.get("rev").cloned()).unwrap_or(Bson::Null))
    };
    for (id, revs) in &recorded {
        assert_eq!(*revs, [rev(&before, id), rev(&after, id)], "{id}");
    }
}

#[tokio::test]
async fn users_are_served_while_a_restore_applies() {
    let stack = Stack::start(Settings { range_records: 1, ..Settings::default() }).await;
    stack.create_users("default", 200).await;
    let backup = stack.backup("default").await;
    for n in 0..200 {
        stack.change(&format!("default-{n:05}"), json!({ "name": format!("Renamed {n}") })).await;
    }
    let location = stack.restore(from(&backup, json!({ "apply": true }))).await.header("location").to_owned();
    let mut served = 0;
    eventually("the restore is complete", Duration::from_mins(1), async || {
        let job = stack.client().get(&location).await.expect(200).json;
        if job["state"] == "applying" {
            let name = format!("Newcomer {served}");
            stack.client().post("/users", json!({ "name": name, "password_hash": OTHER_HASH })).await.expect(201);
            stack.client().get("/users/default-00100").await.expect(200);
            served += 1;
        }
        (job["state"] == "complete").then_some(())
    })
    .await;
    assert!(served > 0, "the restore was over too soon");
    assert_eq!(stack.documents("default").await.len(), 200 + served);
}
