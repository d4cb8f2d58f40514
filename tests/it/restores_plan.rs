//! Plan, then apply: what a plan says, which applications are refused, and what becomes of a plan that is out of date.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::restoring::{causes, from};
use crate::harness::settings::Settings;

/// A stack whose department differs from its backup by one create, one update and one delete.
async fn changed_department() -> (Stack, Value) {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 20).await;
    let backup = stack.backup("default").await;
    stack.delete("default-00003").await;
    stack.change("default-00005", json!({ "name": "Somebody else" })).await;
    stack.create("default", "later", "A later one").await;
    (stack, backup)
}

#[tokio::test]
async fn a_plan_stops_before_anything_is_changed_and_says_what_it_would_do() {
    let (stack, backup) = changed_department().await;
    let before = stack.documents("default").await;
    let planned = stack.plan(from(&backup, json!({ "mode": "exact", "apply": false }))).await;
    let plan = &planned.job["plan"];
    let counts = ["creates", "updates", "deletes", "unchanged", "security_kept"].map(|count| plan[count].as_u64());
    assert_eq!(counts, [Some(1), Some(1), Some(1), Some(18), Some(0)], "{plan}");
    let samples: Vec<(&str, &str)> = plan["samples"]
        .as_array()
        .expect("have samples")
        .iter()
        .map(|sample| {
            (sample["action"].as_str().expect("have an action"), sample["user_id"].as_str().expect("have an id"))
        })
        .collect();
    assert_eq!(samples, [("create", "default-00003"), ("update", "default-00005"), ("delete", "later")]);
    assert_eq!(planned.etag, format!("\"{}\"", plan["hash"].as_str().expect("have a hash")));
    assert_eq!(plan["missing_users"], json!([]));
    assert_eq!(stack.documents("default").await, before);
    let safety = planned.job["safety_backup_id"].as_str().expect("have a safety backup");
    let safety = stack.client().get(&format!("/backups/{safety}")).await.expect(200).json;
    assert_eq!((&safety["kind"], &safety["restore_id"]), (&json!("before_restore"), &planned.job["id"]));
}

#[tokio::test]
async fn a_plan_is_applied_once_and_only_with_its_own_etag() {
    let (stack, backup) = changed_department().await;
    let planned = stack.plan(from(&backup, json!({}))).await;
    let location = planned.location.as_str();
    stack.apply_with(location, &[]).await.expect_problem(428, "precondition_required");
    stack.apply_with(location, &[("if-match", "*")]).await.expect_problem(428, "precondition_required");
    let stale = stack.apply_with(location, &[("if-match", "\"00000000000000000000000000000000\"")]).await;
    assert_eq!(stale.status, 412, "{}", stale.text);
    let done = stack.carry_out(&planned).await;
    assert_eq!(done["progress"]["changes_done"], 2, "{done}");
    assert_eq!(done["progress"]["changes_applied"], 2, "{done}");
    let after = stack.documents("default").await;
    stack.apply(&planned).await.expect_problem(409, "not_planned");
    assert_eq!(stack.documents("default").await, after);
}

#[tokio::test]
async fn records_that_changed_since_the_plan_are_skipped_and_each_is_a_conflict_with_its_cause() {
    let (stack, backup) = changed_department().await;
    let planned = stack.plan(from(&backup, json!({ "mode": "exact" }))).await;
    stack.create("default", "default-00003", "Made again").await;
    stack.change("default-00005", json!({ "name": "Changed again" })).await;
    stack.change("later", json!({ "locked": true })).await;
    let before = stack.documents("default").await;
    let done = stack.carry_out(&planned).await;
    assert_eq!(stack.documents("default").await, before);
    let conflicts = stack.pages(&format!("{}/conflicts", planned.location), 1).await;
    let expected = [("later", "changed"), ("default-00003", "appeared"), ("default-00005", "changed")]
        .map(|(id, cause)| (id.to_owned(), cause.to_owned(), false));
    assert_eq!(causes(&conflicts), expected);
    let progress = &done["progress"];
    assert_eq!((&progress["conflicts"], &progress["changes_applied"]), (&json!(3), &json!(0)), "{done}");
}

#[tokio::test]
async fn with_overwrite_the_point_wins_over_later_changes_and_each_is_reported() {
    let (stack, backup) = changed_department().await;
    stack.change("default-00007", json!({ "locked": true })).await;
    let with = json!({ "mode": "exact", "on_conflict": "overwrite", "locked": "restore" });
    let planned = stack.plan(from(&backup, with)).await;
    stack.create("default", "default-00003", "Made again").await;
    stack.change("default-00005", json!({ "name": "Changed again" })).await;
    stack.delete("default-00007").await;
    stack.change("later", json!({ "locked": true })).await;
    stack.carry_out(&planned).await;
    let names = stack.names("default").await;
    assert_eq!(names.len(), 20);
    for n in [3, 5, 7] {
        assert_eq!(names[&format!("default-{n:05}")], format!("User {n:05} ü"));
    }
    let conflicts = stack.pages(&format!("{}/conflicts", planned.location), 100).await;
    let expected =
        [("later", "changed"), ("default-00003", "appeared"), ("default-00005", "changed"), ("default-00007", "gone")]
            .map(|(id, cause)| (id.to_owned(), cause.to_owned(), true));
    assert_eq!(causes(&conflicts), expected);
}

#[tokio::test]
async fn the_changes_of_a_plan_are_paged_to_exactly_its_counts_without_any_hash() {
    let stack = Stack::start(Settings { chunk_records: 16, ..Settings::default() }).await;
    stack.create_users("default", 120).await;
    let backup = stack.backup("default").await;
    for n in (0..120).step_by(3) {
        stack.delete(&format!("default-{n:05}")).await;
        stack.change(&format!("default-{:05}", n + 1), json!({ "locked": true })).await;
    }
    stack.create("default", "zz-later", "A later one").await;
    let with = json!({ "mode": "exact", "locked": "restore", "credentials": "restore" });
    let planned = stack.plan(from(&backup, with)).await;
    let path = format!("{}/changes", planned.location);
    let changes = stack.pages(&path, 7).await;
    let ids: Vec<&str> = changes.iter().map(|change| change["user_id"].as_str().expect("have an id")).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 81);
    let of = |action: &str| changes.iter().filter(|change| change["action"] == action).count();
    let plan = &planned.job["plan"];
    assert_eq!(json!([of("create"), of("update"), of("delete")]), json!([40, 40, 1]));
    assert_eq!(json!([plan["creates"], plan["updates"], plan["deletes"]]), json!([40, 40, 1]));
    let locked = changes.iter().find(|change| change["user_id"] == "default-00001").expect("be listed");
    assert_eq!(locked["fields"], json!(["locked"]));
    let everything = format!("{changes:?} {}", planned.job);
    assert!(!everything.contains("argon2") && !everything.contains("1rBUU2jr"), "a hash is shown");
    refuses_bad_pages(&stack, &path).await;
    refuses_bad_pages(&stack, &format!("{}/conflicts", planned.location)).await;
}

/// A limit outside its bounds and cursors that were not given for this list are refused.
async fn refuses_bad_pages(stack: &Stack, path: &str) {
    for limit in ["0", "1001", "x"] {
        assert_eq!(stack.client().get(&format!("{path}?limit={limit}")).await.status, 422);
    }
    let users = stack.client().get("/users?limit=1").await.expect(200).json;
    let foreign = users["next_cursor"].as_str().expect("have a cursor").to_owned();
    for cursor in ["forged", "", foreign.as_str()] {
        let refused = stack.client().get(&format!("{path}?cursor={cursor}")).await;
        assert_eq!(refused.status, 400, "{cursor}: {}", refused.text);
    }
}

#[tokio::test]
async fn only_a_known_complete_backup_that_the_caller_may_see_can_be_restored() {
    let stack = Stack::start(Settings::default()).await;
    let unknown = json!({ "from": { "backup_id": "0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f" } });
    stack.client().post("/restores", unknown).await.expect_problem(404, "not_found");
    let malformed = json!({ "from": { "backup_id": "x" } });
    assert_eq!(stack.client().post("/restores", malformed).await.status, 422);
    // A directory that is gone takes the quorum away. Nothing is being written into it by then.
    stack.first_slot_done("default").await;
    let folder = stack.folder.path();
    std::fs::rename(folder.join("targets"), folder.join("gone")).expect("take the targets away");
    let job = stack.client().post("/backups", json!({ "department": "default" })).await.expect(202);
    let failed = stack.ended(job.header("location"), "failed").await;
    let refused = stack.client().post("/restores", from(&failed, json!({}))).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    assert_eq!(refused.json["errors"][0]["code"], "backup_not_complete", "{}", refused.text);
    let listed = stack.client().get("/restores").await.expect(200).json;
    assert_eq!(listed["items"], json!([]));
}

#[tokio::test]
async fn a_restore_names_at_most_ten_thousand_users_and_at_least_one() {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 3).await;
    let backup = stack.backup("default").await;
    let ids = |count: usize| (0..count).map(|n| format!("default-{n:05}")).collect::<Vec<_>>();
    for count in [0, 10_001] {
        let refused = stack.client().post("/restores", from(&backup, json!({ "users": ids(count) }))).await;
        assert_eq!((refused.status.as_u16(), &refused.json["errors"][0]["pointer"]), (422, &json!("/users")));
    }
    let planned = stack.plan(from(&backup, json!({ "users": ids(10_000) }))).await;
    assert_eq!(planned.job["plan"]["unchanged"], 3);
    assert_eq!(planned.job["plan"]["missing_users"].as_array().map(Vec::len), Some(9997));
    let answer = stack.client().send(Method::GET, &planned.location, &[], None).await.expect(200);
    assert_eq!(answer.json["users"].as_array().map(Vec::len), Some(10_000));
}
