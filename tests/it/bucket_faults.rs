//! A store in trouble: backups complete on the quorum of the others, what it owes is shown with its cause, and comes when it
//! works again.

use std::time::Duration;

use bytes::Bytes;
use rollkeeper::domain::copies::TargetState;
use rollkeeper::targets::TargetError;
use rollkeeper::targets::layout::ObjectPath;
use serde_json::{Value, json};

use crate::buckets::target_shown;
use crate::harness::buckets::{Bucket, WRONG_KEYS, server};
use crate::harness::faulty::{Fault, Faulty};
use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;
use crate::harness::{Stack, eventually, unique};

const WITHIN: Duration = Duration::from_mins(1);

/// Two directories and a bucket behind a store that can be in trouble, with a first backup everywhere.
async fn stack_before(store: &Faulty, bucket: &Bucket) -> Stack {
    let more_targets = bucket.target_through("east", &store.address());
    let targets_extra = "operation_timeout = \"2s\"".to_owned();
    let stack = Stack::start(Settings { targets: 2, more_targets, targets_extra, ..Settings::default() }).await;
    stack.first_slot_done("default").await;
    stack.create_users("default", 40).await;
    present_everywhere(&stack, &stack.backup("default").await).await;
    stack
}

/// The copy on the bucket.
fn copy(backup: &Value) -> &Value {
    let copies = backup["copies"].as_array().expect("have copies");
    copies.iter().find(|copy| copy["target"] == "east").expect("have a copy of each target")
}

/// Takes a backup of something new, which must complete without the bucket, and waits until its cause is shown.
async fn backup_without_it(stack: &Stack, what: &str) -> Value {
    stack.create("default", &format!("user-{what}"), &format!("User {what}")).await;
    let backup = stack.backup("default").await;
    let path = format!("/backups/{}", backup["id"].as_str().expect("have an id"));
    let others = backup["copies"].as_array().expect("have copies").iter().filter(|copy| copy["target"] != "east");
    assert!(others.clone().all(|copy| copy["state"] == "present"), "{what}: {backup}");
    eventually(&format!("{what}: what is owed is shown with its cause"), WITHIN, async || {
        let backup = stack.client().get(&path).await.expect(200).json;
        assert_eq!(copy(&backup)["state"], "owed", "{what}: {backup}");
        copy(&backup)["cause"]["message"].is_string().then_some(backup)
    })
    .await
}

/// Gives the journal something to write, and waits until it is written.
async fn write_something(stack: &Stack) {
    let id = unique("user").replace('_', "-");
    stack.create("default", &id, &id).await;
    stack.client().post("/departments/default/sync", json!({})).await.expect(200);
}

/// Waits until a replica shows a state of the bucket with some words, which tell nothing of credentials.
async fn shown_as(stack: &Stack, state: &str, words: &str) {
    eventually(&format!("`{state}` is shown, with `{words}`"), WITHIN, async || {
        let shown = target_shown(stack, "east").await;
        let sentence = shown["cause"]["message"].as_str().unwrap_or_default();
        assert!(!sentence.contains("told-too-much") && !sentence.contains("nobody"), "{sentence}");
        (shown["state"] == state && sentence.contains(words)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn whatever_is_the_matter_with_a_store_backups_go_on_without_it_and_it_is_caught_up() {
    let (bucket, store) = (Bucket::make().await, Faulty::before(&server()).await);
    let stack = stack_before(&store, &bucket).await;
    let faults: [(&str, Fault, &str, &str); 7] = [
        ("down", Fault::Down, "down", "start it"),
        ("hangs", Fault::Hangs, "slow", "did not answer"),
        ("busy", Fault::Answers(503, "SlowDown"), "slow", "SlowDown"),
        ("broken", Fault::Answers(500, "InternalError"), "down", "InternalError"),
        ("full", Fault::AnswersPuts(507, ""), "full", "make room"),
        ("read only", Fault::AnswersPuts(403, "AccessDenied"), "read_only", "put and delete"),
        ("skewed", Fault::Answers(403, "RequestTimeTooSkewed"), "down", "set the clocks"),
    ];
    for (what, fault, state, words) in faults {
        store.set(fault);
        let name = what.replace(' ', "-");
        let backup = backup_without_it(&stack, &name).await;
        shown_as(&stack, state, words).await;
        assert!(store.met() > 0, "{what}: nobody met the fault");
        store.set(Fault::None);
        present_everywhere(&stack, &backup).await;
        assert_eq!(target_shown(&stack, "east").await["state"], "ok", "{what}");
    }
}

#[tokio::test]
async fn puts_whose_outcome_is_unknown_are_looked_at_and_not_written_twice() {
    let (bucket, store) = (Bucket::make().await, Faulty::before(&server()).await);
    let stack = stack_before(&store, &bucket).await;
    for (what, fault) in [("after", Fault::ResetsAfterPuts), ("in", Fault::ResetsInPuts)] {
        store.set(fault);
        stack.create("default", &format!("user-{what}"), &format!("User {what}")).await;
        let backup = stack.backup("default").await;
        eventually("a put met the fault", WITHIN, async || (store.met() > 0).then_some(())).await;
        if fault == Fault::ResetsAfterPuts {
            // What is there is found to be there, also while every answer to a put is lost.
            let backup = present_everywhere(&stack, &backup).await;
            assert_eq!(copy(&backup)["state"], "present", "{backup}");
        }
        store.set(Fault::None);
        present_everywhere(&stack, &backup).await;
    }
    let verified = stack.client().post(&format!("/backups/{}/verify", newest(&stack).await), json!({})).await;
    assert!(verified.status.is_success(), "{}", verified.text);
}

#[tokio::test]
async fn a_put_without_an_answer_is_read_before_it_is_put_again() {
    let (bucket, store) = (Bucket::make().await, Faulty::before(&server()).await);
    let target = bucket.open_through(&store.address());
    let path = |name: &str| ObjectPath::from_stored(format!("departments/eng/1/chunks/{name}"));
    let one = || Bytes::from_static(b"one");

    store.set(Fault::ResetsAfterPuts);
    target.put(&path("ab"), one()).await.expect("find it there");
    assert!(store.met() > 0);
    assert_eq!(bucket.get("rolls/departments/eng/1/chunks/ab").await, "one");
    let other = target.put(&path("ab"), Bytes::from_static(b"two")).await;
    assert!(matches!(other, Err(TargetError::Differs { .. })), "{other:?}");

    store.set(Fault::ResetsInPuts);
    target.put(&path("cd"), one()).await.expect_err("be down");
    assert_eq!(target.status().state, TargetState::Down);
    assert!(!bucket.paths().await.iter().any(|path| path.ends_with("cd")), "nothing of it is there");
    store.set(Fault::None);
    target.put(&path("cd"), one()).await.expect("write it");
    assert_eq!(target.size(&path("cd")).await.expect("have a size"), Some(3));
    assert_eq!(target.size(&path("none")).await.expect("have an answer"), None);
    bucket.put("rolls/departments/eng/1/chunks/empty", "").await;
    assert_eq!(target.size(&path("empty")).await.expect("have a size"), Some(0));
    target.delete(&path("cd")).await.expect("delete it");
    target.delete(&path("cd")).await.expect("find it deleted");
    assert_eq!(target.list("departments/ops").await.expect("list"), []);
}

async fn newest(stack: &Stack) -> String {
    let listed = stack.client().get("/backups?department=default").await.expect(200).json;
    listed["items"][0]["id"].as_str().expect("have an id").to_owned()
}

#[tokio::test]
async fn a_slow_store_holds_nobody_up() {
    let (bucket, store) = (Bucket::make().await, Faulty::before(&server()).await);
    let stack = stack_before(&store, &bucket).await;
    store.set(Fault::Slow(Duration::from_millis(700)));
    stack.create("default", "meanwhile", "Meanwhile").await;
    let receipt = stack.client().post("/departments/default/sync", json!({})).await.expect(200).json;
    assert_eq!(receipt["sequence"], 41, "{receipt}");
    let backup = stack.backup("default").await;
    // It works, only later than the others.
    present_everywhere(&stack, &backup).await;
}

#[tokio::test]
async fn credentials_that_are_refused_are_exchanged_without_a_restart() {
    let bucket = Bucket::make().await;
    let store = Faulty::before(&server()).await;
    let stack = stack_before(&store, &bucket).await;
    bucket.give_keys(WRONG_KEYS);
    // The files are read anew after some seconds.
    eventually("the wrong keys are used", WITHIN, async || {
        write_something(&stack).await;
        (target_shown(&stack, "east").await["state"] != "ok").then_some(())
    })
    .await;
    let backup = backup_without_it(&stack, "refused").await;
    shown_as(&stack, "down", "refuses the credentials").await;
    bucket.give_right_keys();
    present_everywhere(&stack, &backup).await;
}

/// Segments come and go, as they are merged.
fn is_segment(path: &str) -> bool {
    path.contains("/journal/")
}

#[tokio::test]
async fn a_bucket_that_is_deleted_and_made_again_is_filled_anew() {
    let (bucket, store) = (Bucket::make().await, Faulty::before(&server()).await);
    let stack = stack_before(&store, &bucket).await;
    let held = bucket.paths().await;
    bucket.delete().await;
    let backup = backup_without_it(&stack, "deleted").await;
    shown_as(&stack, "down", "is not there; make it").await;
    bucket.make_again().await;
    present_everywhere(&stack, &backup).await;
    let segments = |paths: &[String]| paths.iter().filter(|path| is_segment(path)).count();
    eventually("the bucket has everything again", WITHIN, async || {
        let paths = bucket.paths().await;
        let back = held.iter().filter(|path| !is_segment(path)).all(|path| paths.contains(path));
        (back && segments(&paths) > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bucket_that_is_emptied_takes_nothing_until_it_is_filled_anew() {
    let (bucket, store) = (Bucket::make().await, Faulty::before(&server()).await);
    let stack = stack_before(&store, &bucket).await;
    let held = bucket.paths().await;
    bucket.empty().await;
    eventually("the bucket has everything again", WITHIN, async || {
        write_something(&stack).await;
        let paths = bucket.paths().await;
        held.iter().filter(|path| !is_segment(path)).all(|path| paths.contains(path)).then_some(())
    })
    .await;
    present_everywhere(&stack, &stack.backup("default").await).await;
}

#[tokio::test]
async fn with_two_of_three_buckets_away_a_backup_fails_with_its_causes_and_is_not_listed() {
    let (east, west) = (Bucket::make().await, Bucket::make().await);
    let store = Faulty::before(&server()).await;
    let address = store.address();
    let more_targets = east.target_through("east", &address) + &west.target_through("west", &address);
    let targets_extra = "operation_timeout = \"2s\"".to_owned();
    let stack = Stack::start(Settings { targets: 1, more_targets, targets_extra, ..Settings::default() }).await;
    stack.first_slot_done("default").await;
    stack.create_users("default", 40).await;
    store.set(Fault::Answers(503, "SlowDown"));
    let job = stack.client().post("/backups", json!({ "department": "default" })).await.expect(202);
    let failed = stack.ended(job.header("location"), "failed").await;
    let listed = stack.client().get("/backups?department=default").await.expect(200).json;
    let items = listed["items"].as_array().expect("have items");
    assert!(items.iter().all(|item| item["id"] != failed["id"]), "{listed}");
    store.set(Fault::None);
    let backup = present_everywhere(&stack, &stack.backup("default").await).await;
    assert_eq!(backup["sequence"], 40, "{backup}");
}
