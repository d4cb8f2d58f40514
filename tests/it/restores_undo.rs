//! Undoing restores: every record gets the value that it had just before, and nothing that changed since is touched.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::client::Answer;
use crate::harness::records::{assert_same_content, hash_number};
use crate::harness::restoring::{OTHER_HASH, causes, from};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

const UNKNOWN: &str = "/restores/0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f";

/// A department whose records were changed in every way since the backup.
async fn changed_in_every_way(settings: Settings) -> (Stack, Value) {
    let stack = Stack::start(settings).await;
    stack.create_users("default", 30).await;
    stack.change("default-00009", json!({ "locked": true })).await;
    let backup = stack.backup("default").await;
    let id = |n: usize| format!("default-{n:05}");
    stack.delete(&id(0)).await;
    stack.change(&id(1), json!({ "name": "User 00000 ü" })).await;
    // Two swap their names.
    stack.change(&id(2), json!({ "name": "aside" })).await;
    stack.change(&id(3), json!({ "name": "User 00002 ü" })).await;
    stack.change(&id(2), json!({ "name": "User 00003 ü" })).await;
    stack.change(&id(4), json!({ "password_hash": hash_number(777) })).await;
    stack.change(&id(5), json!({ "locked": true })).await;
    stack.change(&id(9), json!({ "locked": false })).await;
    stack.create("default", "new", "User 00001 ü").await;
    (stack, backup)
}

fn everything() -> Value {
    json!({ "mode": "exact", "credentials": "restore", "locked": "restore" })
}

fn location(job: &Value) -> String {
    format!("/restores/{}", job["id"].as_str().expect("have an id"))
}

#[tokio::test]
async fn an_undo_gives_every_record_back_and_an_undo_of_it_takes_that_back() {
    let (stack, backup) = changed_in_every_way(Settings { range_records: 3, ..Settings::default() }).await;
    let wanted = stack.records_of_backup(&backup).await;
    let before = stack.records("default").await;
    let restore = stack.restored(&backup, everything()).await;
    let restored = stack.records("default").await;
    assert_same_content(&wanted, &restored);

    let undo = stack.undone(&location(&restore)).await;
    assert_same_content(&before, &stack.records("default").await);
    assert_eq!(undo["from"]["undo_of"], restore["id"], "{undo}");
    assert_ne!(undo["id"], restore["id"]);
    let plan = &undo["plan"];
    assert_eq!(json!([plan["creates"], plan["deletes"], plan["conflicts"]]), json!([1, 1, 0]), "{undo}");
    assert_eq!(undo["progress"]["conflicts"], 0, "{undo}");
    let shown = stack.client().get(&location(&restore)).await.expect(200).json;
    assert_eq!(shown["undone_by"], undo["id"], "{shown}");
    let after = stack.records("default").await;
    for (id, user) in &after {
        let known = restored.get(id).map_or(0, |user| user.version).max(before[id].version);
        let same = restored.get(id).is_some_and(|restored| restored.rev == user.rev);
        assert!(same || user.version > known, "{id}: the version goes on");
    }
    let changes = stack.pages(&format!("{}/changes", location(&undo)), 2).await;
    assert_eq!(changes.len() as u64, undo["progress"]["changes_applied"].as_u64().expect("be counted"), "{changes:?}");

    stack.undone(&location(&undo)).await;
    assert_same_content(&wanted, &stack.records("default").await);
}

#[tokio::test]
async fn what_was_changed_since_the_restore_is_a_conflict_and_stays() {
    let (stack, backup) = changed_in_every_way(Settings::default()).await;
    let before = stack.records("default").await;
    let restore = stack.restored(&backup, everything()).await;
    stack.change("default-00001", json!({ "locked": true })).await;
    stack.delete("default-00004").await;
    stack.create("default", "new", "A stranger").await;
    let live = stack.records("default").await;

    let undo = stack.undone(&location(&restore)).await;
    let after = stack.records("default").await;
    for id in ["default-00001", "new"] {
        assert_eq!(after[id], live[id], "{id} stays as it is");
    }
    assert!(!after.contains_key("default-00004"));
    assert!(after["default-00009"].same_content(&before["default-00009"]), "the others are undone");
    let mut found = causes(&stack.pages(&format!("{}/conflicts", location(&undo)), 2).await);
    found.sort();
    let conflict = |id: &str, cause: &str| (id.to_owned(), cause.to_owned(), false);
    let expected =
        [conflict("default-00001", "changed"), conflict("default-00004", "gone"), conflict("new", "appeared")];
    assert_eq!(found, expected);
    assert_eq!(undo["plan"]["conflicts"], 3, "{undo}");
}

#[tokio::test]
async fn a_record_that_the_restore_wrote_over_a_conflict_gets_the_value_just_before() {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 5).await;
    let backup = stack.backup("default").await;
    for n in 0..5 {
        stack.change(&format!("default-{n:05}"), json!({ "name": format!("Before the plan {n}") })).await;
    }
    let mut body = everything();
    body["on_conflict"] = "overwrite".into();
    let planned = stack.plan(from(&backup, body)).await;
    // The plan knows nothing of these.
    stack.change("default-00001", json!({ "name": "After the plan", "password_hash": OTHER_HASH })).await;
    stack.delete("default-00002").await;
    let before = stack.records("default").await;
    let restore = stack.carry_out(&planned).await;
    assert_eq!(restore["progress"]["conflicts"], 2, "{restore}");
    stack.undone(&location(&restore)).await;
    assert_same_content(&before, &stack.records("default").await);
}

#[tokio::test]
async fn only_one_of_several_undos_is_taken_and_the_others_are_told_which() {
    let (stack, backup) = changed_in_every_way(Settings { replicas: 2, ..Settings::default() }).await;
    let restore = stack.restored(&backup, everything()).await;
    let path = format!("{}/undo", location(&restore));
    let ask = |n: usize| {
        let (client, path) = (stack.replicas[n % 2].client.clone(), path.clone());
        async move { client.send(reqwest::Method::POST, &path, &[], None).await }
    };
    let answers: Vec<Answer> = futures::future::join_all((0..6).map(ask)).await;
    let taken: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 202).collect();
    assert_eq!(taken.len(), 1, "{answers:?}");
    let id = taken[0].json["id"].as_str().expect("have an id");
    for refused in answers.iter().filter(|answer| answer.status != 202) {
        refused.expect_problem(409, "already_undone");
        assert!(refused.json["detail"].as_str().is_some_and(|detail| detail.contains(id)), "{}", refused.text);
    }
    stack.ended(taken[0].header("location"), "complete").await;
    stack.undo(&location(&restore)).await.expect_problem(409, "already_undone");
}

#[tokio::test]
async fn a_restore_that_has_not_ended_cannot_be_undone_and_a_cancelled_one_can() {
    let stack = Stack::start(Settings { range_records: 1, ..Settings::default() }).await;
    stack.create_users("default", 300).await;
    let backup = stack.backup("default").await;
    for n in 0..300 {
        stack.change(&format!("default-{n:05}"), json!({ "name": format!("Renamed {n}") })).await;
    }
    let before = stack.records("default").await;
    let planned = stack.plan(from(&backup, json!({}))).await;
    let refused = stack.undo(&planned.location).await;
    refused.expect_problem(409, "not_ended");
    stack.apply(&planned).await.expect(202);
    eventually("the restore is under way", Duration::from_mins(1), async || {
        let job = stack.client().get(&planned.location).await.expect(200).json;
        (job["progress"]["batches"].as_u64()? > 3).then_some(())
    })
    .await;
    stack.cancel(&planned.location).await.expect(202);
    stack.ended(&planned.location, "cancelled").await;
    let undo = stack.undone(&planned.location).await;
    let made = undo["progress"]["changes_applied"].as_u64().expect("be counted");
    assert!(made > 3 && made < 300, "{undo}");
    assert_same_content(&before, &stack.records("default").await);
    stack.undo(UNKNOWN).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_restore_that_changed_nothing_is_undone_by_changing_nothing() {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 3).await;
    let backup = stack.backup("default").await;
    // Kept by the policies: the records are compared one by one, since the states differ, and nothing has to be written.
    stack.change("default-00001", json!({ "password_hash": OTHER_HASH })).await;
    stack.change("default-00002", json!({ "name": "Aside" })).await;
    stack.change("default-00002", json!({ "name": "User 00002 ü" })).await;
    let before = stack.documents("default").await;
    let restore = stack.restored(&backup, json!({})).await;
    let undo = stack.undone(&location(&restore)).await;
    assert_eq!(undo["progress"]["changes_applied"], 0, "{undo}");
    assert_eq!(stack.documents("default").await, before);
}

#[tokio::test]
async fn a_restore_of_a_deleted_department_is_not_undone() {
    let stack = Stack::start(Settings::default()).await;
    stack.department("sales").await;
    let backup = stack.backup("sales").await;
    let restore = stack.restored(&backup, json!({})).await;
    stack.client().delete("/departments/sales").await.expect(204);
    stack.undo(&location(&restore)).await.expect_problem(409, "department_deleted");
}
