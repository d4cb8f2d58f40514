//! Damage to the snapshots on targets: a leader finds it by itself, mends it from another target, and shows what it cannot mend.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::objects::{Damage, Object, chunks};
use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;
use crate::harness::{Stack, eventually};

const SOON: Duration = Duration::from_mins(1);
const TARGETS: usize = 3;

/// Two backups with a snapshot each, which share most chunks, and the chunks of the first.
async fn snapshots() -> (Stack, Value, Vec<Object>) {
    let backup = ", look_every = \"500ms\", scrub_every = \"1s\"".to_owned();
    let settings = Settings { targets: TARGETS, chunk_records: 16, backup, ..Settings::default() };
    let stack = Stack::start(settings).await;
    stack.create_users("default", 200).await;
    let old = stack.backup("default").await;
    let old = present_everywhere(&stack, &old).await;
    let objects: Vec<Object> = chunks(&stack, &old).iter().map(|path| Object::at(&stack, TARGETS, path)).collect();
    stack.create("default", "later", "Later").await;
    let new = stack.backup("default").await;
    present_everywhere(&stack, &new).await;
    (stack, old, objects)
}

async fn copies(stack: &Stack, backup: &Value) -> Vec<Value> {
    let path = format!("/backups/{}", backup["id"].as_str().expect("have an id"));
    let shown = stack.client().get(&path).await.expect(200).json;
    shown["copies"].as_array().expect("have copies").clone()
}

#[tokio::test]
async fn a_leader_finds_damaged_chunks_of_old_snapshots_by_itself_and_mends_them_from_another_target() {
    let (stack, old, objects) = snapshots().await;
    let manifest = Object::at(&stack, TARGETS, old["snapshot"].as_str().expect("have a snapshot"));
    let recipient = stack.place.recipient.clone();
    for (n, kind) in Damage::ALL.into_iter().enumerate() {
        objects[n].damage(n % TARGETS, kind, &objects[n + 1], &recipient);
    }
    manifest.damage(1, Damage::Flipped, &objects[0], &recipient);
    eventually("everything is whole again", SOON, async || {
        objects.iter().chain([&manifest]).all(|object| (0..TARGETS).all(|on| object.is_whole(on))).then_some(())
    })
    .await;
    assert!(copies(&stack, &old).await.iter().all(|copy| copy["state"] == "present"));
    assert!(stack.replicas[0].log().contains("repaired an object of a snapshot"));
}

#[tokio::test]
async fn a_chunk_that_no_target_has_whole_is_shown_and_no_new_snapshot_refers_to_it_until_it_is_back() {
    let (stack, old, objects) = snapshots().await;
    let chunk = &objects[objects.len() / 2];
    // Before the damage is seen: one that is made afterwards shares nothing with it.
    let newest = |listed: &Value| listed["items"][0].clone();
    let shared = newest(&stack.client().get("/backups?department=default").await.expect(200).json);
    for on in 0..TARGETS {
        chunk.damage(on, Damage::Flipped, chunk, &stack.place.recipient);
    }
    eventually("the backup is shown as damaged on every target", SOON, async || {
        copies(&stack, &old).await.iter().all(|copy| copy["state"] == "damaged").then_some(())
    })
    .await;
    let copy = copies(&stack, &old).await[0].clone();
    assert_eq!(copy["cause"]["code"], "copy_damaged", "{copy}");
    assert!(copy["cause"]["message"].as_str().is_some_and(|text| text.contains(chunk.path())), "{copy}");
    eventually("so is the newest one, which shares it", SOON, async || {
        copies(&stack, &shared).await.iter().all(|copy| copy["state"] == "damaged").then_some(())
    })
    .await;

    stack.create("default", "after", "After").await;
    let fresh = stack.backup("default").await;
    let path = format!("/backups/{}/verify", fresh["id"].as_str().expect("have an id"));
    let verified = stack.client().send(Method::POST, &path, &[], None).await.expect(200).json;
    assert_eq!((&verified["whole"], &verified["whole_copies"]), (&json!(true), &json!(TARGETS)), "{verified}");
    assert_eq!(stack.records_of_backup(&fresh).await, stack.records("default").await);

    std::fs::write(stack.folder.path().join("targets/t2").join(chunk.path()), chunk.bytes()).expect("bring it back");
    for backup in [&old, &shared] {
        present_everywhere(&stack, backup).await;
    }
    assert!((0..TARGETS).all(|on| chunk.is_whole(on)));
}
