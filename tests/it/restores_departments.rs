//! Restores of empty, emptied and deleted departments, and who may ask for them.

use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::restoring::from;
use crate::harness::settings::Settings;

#[tokio::test]
async fn the_backup_of_an_empty_department_removes_nobody_in_merge_and_everybody_in_exact() {
    let stack = Stack::start(Settings::default()).await;
    let empty = stack.backup("default").await;
    assert_eq!(empty["records"], 0);
    stack.create_users("default", 5).await;
    let done = stack.restored(&empty, json!({})).await;
    assert_eq!(json!([done["plan"]["deletes"], done["plan"]["unchanged"]]), json!([0, 0]));
    assert_eq!(stack.documents("default").await.len(), 5);
    let done = stack.restored(&empty, json!({ "mode": "exact" })).await;
    assert_eq!(done["plan"]["deletes"], 5, "{done}");
    assert_eq!(stack.documents("default").await.len(), 0);
    assert_eq!(stack.backup("default").await["root"], empty["root"]);
    stack.restored(&empty, json!({ "mode": "exact" })).await;
}

#[tokio::test]
async fn a_department_whose_users_were_all_deleted_comes_back_whole() {
    let stack = Stack::start(Settings { range_records: 7, chunk_records: 16, ..Settings::default() }).await;
    stack.create_users("default", 60).await;
    let before = stack.documents("default").await;
    let backup = stack.backup("default").await;
    for id in before.keys() {
        stack.delete(id).await;
    }
    stack.backup("default").await;
    let done = stack.restored(&backup, json!({})).await;
    assert_eq!(done["progress"]["changes_applied"], 60, "{done}");
    let after = stack.documents("default").await;
    assert!(after.keys().eq(before.keys()));
    assert_eq!(stack.backup("default").await["root"], backup["root"]);
}

/// A department `sales` that was backed up with three users, and emptied.
async fn emptied() -> (Stack, Value) {
    let stack = Stack::start(Settings::default()).await;
    stack.department("sales").await;
    stack.create_users("sales", 3).await;
    let backup = stack.backup("sales").await;
    for n in 0..3 {
        stack.delete(&format!("sales-{n:05}")).await;
    }
    (stack, backup)
}

#[tokio::test]
async fn a_deleted_department_is_restored_only_after_it_was_made_again() {
    let (stack, backup) = emptied().await;
    stack.client().delete("/departments/sales").await.expect(204);
    let refused = stack.client().post("/restores", from(&backup, json!({ "apply": true }))).await;
    refused.expect_problem(409, "department_deleted");
    assert_eq!(stack.documents("sales").await.len(), 0);
    stack.department("sales").await;
    stack.restored(&backup, json!({})).await;
    assert_eq!(stack.documents("sales").await.len(), 3);
}

#[tokio::test]
async fn a_department_that_is_deleted_between_plan_and_apply_gets_no_user() {
    let (stack, backup) = emptied().await;
    let planned = stack.plan(from(&backup, json!({}))).await;
    stack.client().delete("/departments/sales").await.expect(204);
    stack.apply(&planned).await.expect(202);
    let failed = stack.ended(&planned.location, "failed").await;
    assert_eq!(failed["cause"]["code"], "department_deleted", "{failed}");
    assert_eq!(failed["progress"]["changes_applied"], 0, "{failed}");
    assert_eq!(stack.documents("sales").await.len(), 0);
}
