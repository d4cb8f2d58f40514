//! Restores into another department: records get new ids where theirs live elsewhere, names taken are conflicts, and the
//! leader of the other department carries it out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::records::assert_same_content;
use crate::harness::restoring::{causes, from};
use crate::harness::settings::Settings;

fn text(value: &Value) -> String {
    value.as_str().expect("be a text").to_owned()
}

/// `default` with users and a backup, and `sales` beside it.
async fn two_departments(count: usize, settings: Settings) -> (Stack, Value) {
    let stack = Stack::start(settings).await;
    stack.create_users("default", count).await;
    stack.department("sales").await;
    let backup = stack.backup("default").await;
    (stack, backup)
}

#[tokio::test]
async fn records_whose_id_lives_elsewhere_get_a_new_one_and_the_plan_says_which() {
    let (stack, backup) = two_departments(12, Settings { range_records: 5, ..Settings::default() }).await;
    // Two that no department has any more keep their ids.
    for n in [3, 7] {
        stack.delete(&format!("default-{n:05}")).await;
    }
    let source = stack.documents("default").await;
    let wanted = stack.records_of_backup(&backup).await;
    let planned = stack.plan(from(&backup, json!({ "into": "sales" }))).await;
    let plan = &planned.job["plan"];
    assert_eq!(json!([plan["creates"], plan["renumbered"], plan["conflicts"]]), json!([12, 10, 0]), "{plan}");
    assert_eq!((&planned.job["department"], &planned.job["into"]), (&json!("sales"), &json!("sales")));
    let path = format!("{}/changes", planned.location);
    let changes = stack.pages(&path, 5).await;
    let done = stack.carry_out(&planned).await;
    assert_eq!(json!([done["progress"]["changes_applied"], done["progress"]["conflicts"]]), json!([12, 0]), "{done}");
    assert_eq!(stack.pages(&path, 3).await, changes, "what is shown stays the same");

    assert_eq!(stack.documents("default").await, source, "nothing is taken from where they come from");
    let found = stack.records("sales").await;
    let old_id = |change: &Value| {
        text(if change["renumbered_from"].is_null() { &change["user_id"] } else { &change["renumbered_from"] })
    };
    let mapped: BTreeMap<String, String> =
        changes.iter().map(|change| (old_id(change), text(&change["user_id"]))).collect();
    assert_eq!((mapped.len(), found.len()), (12, 12));
    for (old, user) in &wanted {
        let new = &found[&mapped[old]];
        let kept = ["default-00003", "default-00007"].contains(&old.as_str());
        assert_eq!(kept, *old == mapped[old], "{old}");
        if !kept {
            let id = uuid::Uuid::parse_str(new.id.as_str()).expect("be a UUID");
            assert_eq!(id.get_version_num(), 7, "{id}");
        }
        let same = (&user.name, &user.password_hash, user.locked, user.created_at);
        assert_eq!(same, (&new.name, &new.password_hash, new.locked, new.created_at), "{old}");
    }
    // Another restore makes others, and each of their names is taken.
    let again = stack.restored(&backup, json!({ "into": "sales" })).await;
    let location = format!("/restores/{}", text(&again["id"]));
    let conflicts = causes(&stack.pages(&format!("{location}/conflicts"), 100).await);
    assert_eq!(conflicts.len(), 10);
    assert!(conflicts.iter().all(|(_, cause, _)| cause == "name_taken"), "{conflicts:?}");
    assert_eq!(again["plan"]["unchanged"], 2, "those that kept their ids are there: {again}");
    assert_same_content(&found, &stack.records("sales").await);
}

#[tokio::test]
async fn a_restore_into_another_department_touches_nobody_there_and_is_undone_whole() {
    let (stack, backup) = two_departments(6, Settings::default()).await;
    stack.create("sales", "theirs", "User 00002 ü").await;
    let before = stack.documents("sales").await;
    let restore =
        stack.restored(&backup, json!({ "into": "sales", "users": ["default-00001", "default-00002"] })).await;
    assert_eq!(restore["progress"]["changes_applied"], 1, "{restore}");
    let location = format!("/restores/{}", text(&restore["id"]));
    let conflicts = stack.pages(&format!("{location}/conflicts"), 100).await;
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0]["cause"], "name_taken");
    assert_eq!(stack.documents("sales").await.len(), 2);
    stack.undone(&location).await;
    assert_eq!(stack.documents("sales").await, before);
}

#[tokio::test]
async fn an_id_that_lives_elsewhere_is_a_conflict_that_the_plan_knows_of() {
    let (stack, backup) = two_departments(5, Settings::default()).await;
    for n in [1, 2] {
        stack.delete(&format!("default-{n:05}")).await;
    }
    stack.create("sales", "default-00001", "Moved").await;
    let planned = stack.plan(from(&backup, json!({}))).await;
    let plan = &planned.job["plan"];
    assert_eq!(json!([plan["creates"], plan["conflicts"], plan["renumbered"]]), json!([2, 1, 0]), "{plan}");
    stack.carry_out(&planned).await;
    let conflicts = causes(&stack.pages(&format!("{}/conflicts", planned.location), 10).await);
    assert_eq!(conflicts, [("default-00001".to_owned(), "id_elsewhere".to_owned(), false)]);
}

#[tokio::test]
async fn a_department_that_is_not_there_or_was_deleted_gets_no_records() {
    let (stack, backup) = two_departments(1, Settings::default()).await;
    let ask = async |into: &str| stack.client().post("/restores", from(&backup, json!({ "into": into }))).await;
    ask("nowhere").await.expect_problem(404, "not_found");
    ask("No").await.expect_field("/into", "invalid_department");
    stack.client().delete("/departments/sales").await.expect(204);
    ask("sales").await.expect_problem(409, "department_deleted");
    // Into where they come from is no other department.
    let done = stack.restored(&backup, json!({ "into": "default" })).await;
    assert_eq!((&done["into"], &done["plan"]["unchanged"]), (&Value::Null, &json!(1)), "{done}");
}

#[tokio::test]
async fn restores_of_two_departments_run_side_by_side() {
    let settings = Settings { range_records: 1, ..Settings::default() };
    let (stack, backup) = two_departments(250, settings).await;
    stack.create_users("sales", 250).await;
    let other = stack.backup("sales").await;
    for department in ["default", "sales"] {
        for n in 0..250 {
            stack.delete(&format!("{department}-{n:05}")).await;
        }
    }
    let mut locations = Vec::new();
    for backup in [&backup, &other] {
        locations.push(stack.restore(from(backup, json!({ "apply": true }))).await.header("location").to_owned());
    }
    let both = "both are in the middle at the same time";
    crate::harness::eventually(both, std::time::Duration::from_mins(1), async || {
        let mut going = 0;
        for location in &locations {
            let job = stack.client().get(location).await.expect(200).json;
            assert_ne!(job["state"], "failed", "{job}");
            going += u64::from(job["state"] == "applying" && job["progress"]["batches"].as_u64()? > 0);
        }
        (going == 2).then_some(())
    })
    .await;
    for location in &locations {
        let done = stack.ended(location, "complete").await;
        assert_eq!(done["progress"]["changes_applied"], 250, "{done}");
    }
}
