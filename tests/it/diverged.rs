//! Targets that hold another history than MongoDB: nothing is written over it, everybody is told, and an operator ends it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::records::hash_number;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

const SOON: Duration = Duration::from_mins(1);

fn settings() -> Settings {
    Settings { targets: 3, own_mongod: true, backup: ", look_every = \"500ms\"".to_owned(), ..Settings::default() }
}

/// Creates users whose ids begin with a word.
async fn write(stack: &Stack, word: &str, count: u64) {
    for n in 0..count {
        let (id, name) = (format!("{word}-{n:03}"), format!("{word} {n}"));
        stack
            .client()
            .post("/users", json!({ "id": id, "name": name, "password_hash": hash_number(n) }))
            .await
            .expect(201);
    }
}

async fn sync(stack: &Stack) -> Value {
    eventually("a receipt", SOON * 2, async || {
        let answer = stack.client().send(Method::POST, "/departments/default/sync", &[], None).await;
        (answer.status == 200).then_some(answer.json)
    })
    .await
}

async fn department(stack: &Stack) -> Value {
    stack.client().get("/departments/default").await.expect(200).json
}

async fn diverged(stack: &Stack, cause: &str) -> Value {
    let found = eventually("the department is diverged", SOON, async || {
        let answer = stack.client().try_send(Method::GET, "/departments/default", &[], None).await.ok()?;
        answer.json["diverged"].is_object().then(|| answer.json["diverged"].clone())
    })
    .await;
    assert_eq!(found["cause"], cause, "{found}");
    found
}

/// Every object of the departments on the targets.
fn objects(stack: &Stack) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> =
        (1..=3).map(|n| stack.folder.path().join(format!("targets/t{n}/departments"))).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("list") {
            let path = entry.expect("list").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(&path).expect("read"));
            }
        }
    }
    found
}

/// Insists on everything that is promised of a diverged department.
async fn assert_closed(stack: &Stack, found: &Value) {
    let before = objects(stack);
    assert!(found["remedy"].as_str().is_some_and(|text| text.contains("vault restore") && text.contains("rebase")));
    assert!(found["evidence"]["object"].as_str().is_some_and(|path| path.starts_with("departments/default/")));
    let cluster = stack.client().get("/cluster").await.expect(200).json;
    assert_eq!(cluster["diverged"][0]["department"], "default", "{cluster}");
    assert_eq!(cluster["diverged"][0]["cause"], found["cause"], "{cluster}");

    write(stack, "while-diverged", 3).await;
    stack.client().post("/departments/default/sync", json!({})).await.expect_problem(503, "diverged");
    let job = stack.client().post("/backups", json!({ "department": "default" })).await.expect(202);
    eventually("the backup says why it waits", SOON, async || {
        let job = stack.client().get(job.header("location")).await.expect(200).json;
        assert_eq!(job["state"], "queued", "{job}");
        (job["cause"]["code"] == "diverged").then_some(())
    })
    .await;
    assert_eq!(objects(stack), before, "nothing was written to the targets");
}

/// Goes on with the live records, and insists on what comes of it.
async fn rebase(stack: &Stack, found: &Value) {
    let before = objects(stack);
    let path = "/departments/default/rebase";
    let unsure = stack.client().post(path, json!({ "confirm": "another" })).await;
    unsure.expect_field("/confirm", "not_confirmed");
    stack.client().post(path, json!({ "confirm": "default" })).await.expect(202);
    let after = eventually("the department goes on", SOON, async || {
        let seen = department(stack).await;
        seen["diverged"].is_null().then_some(seen)
    })
    .await;
    let head = &after["head"];
    assert!(head["timeline"].as_i64() > found["evidence"]["timeline"].as_i64(), "{after}");
    assert!(head["sequence"].as_i64() >= found["evidence"]["sequence"].as_i64(), "{after}");
    let gaps = after["recovery_window"]["gaps"].as_array().expect("have gaps");
    assert_eq!(gaps.last().map(|gap| &gap["cause"]), Some(&json!("rebased")), "{after}");
    stack.client().post(path, json!({ "confirm": "default" })).await.expect_problem(409, "not_diverged");
    let record = &stack.audit("?action=rebase_department").await[0];
    assert_eq!((&record["subject"], &record["outcome"]), (&json!("default"), &json!("requested")));

    let backup = eventually("a backup of the new timeline", SOON, async || {
        let listed = stack.client().get("/backups?department=default").await.expect(200).json;
        let items = listed["items"].as_array().expect("have items").clone();
        items.into_iter().find(|backup| backup["timeline"] == head["timeline"])
    })
    .await;
    assert!(backup["executed_by"]["epoch"].as_i64() > found["evidence"]["epoch"].as_i64(), "{backup}");
    let receipt = sync(stack).await;
    assert_eq!(receipt["timeline"], head["timeline"], "{receipt}");
    let fresh = stack.backup("default").await;
    assert_eq!(stack.records_of_backup(&fresh).await, stack.records("default").await);
    let left = objects(stack);
    assert!(before.iter().all(|(path, bytes)| left.get(path) == Some(bytes)), "the other history is as it was");
}

#[tokio::test]
async fn mongodb_rolled_back_to_before_a_backup_writes_nothing_until_it_is_rebased() {
    let mut stack = Stack::start(settings()).await;
    write(&stack, "yesterday", 5).await;
    sync(&stack).await;
    let yesterday = stack.copy_of_mongod().await;
    eventually("the service writes again", SOON, async || {
        let body = json!({ "id": "today-first", "name": "today", "password_hash": hash_number(1) });
        (stack.client().post("/users", body).await.status == 201).then_some(())
    })
    .await;
    write(&stack, "today", 5).await;
    stack.backup("default").await;
    stack.replica("r1").stop();
    stack.roll_mongod_back(&yesterday).await;
    stack.replica("r1").restart();

    let found = diverged(&stack, "mongodb_rolled_back").await;
    assert_closed(&stack, &found).await;
    rebase(&stack, &found).await;
    assert!(stack.records("default").await.keys().all(|id| !id.starts_with("today")));
}

#[tokio::test]
async fn mongodb_rolled_back_under_a_running_service_is_found_by_what_its_stream_does_not_show() {
    let mut stack = Stack::start(settings()).await;
    write(&stack, "yesterday", 5).await;
    sync(&stack).await;
    stack.first_slot_done("default").await;
    let yesterday = stack.copy_of_mongod().await;
    eventually("the service writes again", SOON, async || {
        let body = json!({ "id": "today-first", "name": "today", "password_hash": hash_number(1) });
        (stack.client().post("/users", body).await.status == 201).then_some(())
    })
    .await;
    // No backup, and the same leader as yesterday: only the changes themselves are past the head.
    sync(&stack).await;
    stack.roll_mongod_back(&yesterday).await;

    let found = diverged(&stack, "mongodb_rolled_back").await;
    assert_closed(&stack, &found).await;
    rebase(&stack, &found).await;
}

#[tokio::test]
async fn a_clone_of_the_database_that_starts_late_writes_nothing_and_the_original_goes_on() {
    let mut stack = Stack::start(settings()).await;
    write(&stack, "both", 5).await;
    sync(&stack).await;
    let copy = stack.copy_of_mongod().await;
    sync(&stack).await;
    write(&stack, "original", 5).await;
    sync(&stack).await;
    let mut clone = stack.clone_from_copy(&copy).await;
    clone.serve_anyhow(&settings()).await;

    let found = diverged(&clone, "mongodb_rolled_back").await;
    assert_closed(&clone, &found).await;
    write(&stack, "original-again", 5).await;
    sync(&stack).await;
    let backup = stack.backup("default").await;
    assert_eq!(stack.records_of_backup(&backup).await, stack.records("default").await);
    assert!(department(&stack).await["diverged"].is_null());
}

#[tokio::test]
async fn a_leader_sees_that_a_clone_of_its_database_writes_beside_it() {
    let mut stack = Stack::start(settings()).await;
    write(&stack, "both", 5).await;
    sync(&stack).await;
    stack.first_slot_done("default").await;
    let copy = stack.copy_of_mongod().await;
    sync(&stack).await;
    let mut clone = stack.clone_from_copy(&copy).await;
    clone.serve_anyhow(&settings()).await;
    write(&clone, "clone", 5).await;
    sync(&clone).await;

    let found = diverged(&stack, "another_writer").await;
    assert_closed(&stack, &found).await;
    // The copy is switched off, and the operator goes on with the original.
    clone.replicas.clear();
    rebase(&stack, &found).await;
}

#[tokio::test]
async fn an_empty_database_beside_targets_with_a_history_leaves_them_alone_and_says_what_to_do() {
    let settings = Settings { targets: 3, ..Settings::default() };
    let mut stack = Stack::start(settings.clone()).await;
    write(&stack, "user", 5).await;
    stack.backup("default").await;
    stack.replica("r1").stop();
    let before = objects(&stack);
    let mut emptied = stack.emptied();
    emptied.serve_anyhow(&settings).await;

    let cause = eventually("the replica says why the repository is not open", SOON, async || {
        let cluster = emptied.client().get("/cluster").await.expect(200).json;
        assert_eq!(cluster["repository_open"], false, "{cluster}");
        cluster["repository_cause"].as_object().cloned()
    })
    .await;
    assert_eq!(cause["code"], "targets_hold_history", "{cause:?}");
    assert!(cause["message"].as_str().is_some_and(|text| text.contains("vault restore")), "{cause:?}");
    write(&emptied, "user", 3).await;
    let job = emptied.client().post("/backups", json!({ "department": "default" })).await.expect(202);
    eventually("the backup says why it waits", SOON, async || {
        let job = emptied.client().get(job.header("location")).await.expect(200).json;
        (job["cause"]["code"] == "targets_hold_history").then_some(())
    })
    .await;
    assert_eq!(objects(&stack), before);
}

#[tokio::test]
async fn a_target_that_was_behind_before_a_rebase_is_level_after_it_though_the_other_history_has_holes() {
    let mut stack = Stack::start(settings()).await;
    let (disk, away) = (stack.folder.path().join("targets/t3"), stack.folder.path().join("away"));
    write(&stack, "before", 3).await;
    sync(&stack).await;
    std::fs::rename(&disk, &away).expect("take the target away");
    write(&stack, "yesterday", 3).await;
    sync(&stack).await;
    let yesterday = stack.copy_of_mongod().await;
    eventually("the service writes again", SOON, async || {
        let body = json!({ "id": "today-first", "name": "today", "password_hash": hash_number(1) });
        (stack.client().post("/users", body).await.status == 201).then_some(())
    })
    .await;
    // Each in a segment of its own.
    for word in ["today-1", "today-2", "today-3"] {
        write(&stack, word, 1).await;
        sync(&stack).await;
    }
    stack.replica("r1").stop();
    stack.roll_mongod_back(&yesterday).await;
    for target in ["t1", "t2"] {
        let journal = stack.folder.path().join("targets").join(target).join("departments/default/1/journal");
        let mut names = crate::harness::archived::names_in(&journal);
        names.sort();
        // In the middle of what only the other history has.
        std::fs::remove_file(journal.join(&names[names.len() - 2])).expect("make a hole");
    }
    std::fs::rename(&away, &disk).expect("bring the target back");
    stack.replica("r1").restart();
    let found = diverged(&stack, "mongodb_rolled_back").await;
    assert_eq!(department(&stack).await["head"]["journal"].as_array().map(Vec::len), Some(3));
    rebase(&stack, &found).await;
    eventually("every target is level again", SOON, async || {
        let head = department(&stack).await["head"].clone();
        head["journal"].as_array()?.iter().all(|copy| copy["through"] == head["sequence"]).then_some(())
    })
    .await;
}
