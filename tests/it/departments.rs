//! Departments through the API of a running replica.

use serde_json::json;

use crate::harness::Stack;
use crate::harness::settings::Settings;

#[tokio::test]
async fn the_default_department_exists_and_is_led() {
    let stack = Stack::start(Settings::default()).await;
    let leader = stack.leader_of("default").await;
    assert_eq!(leader["replica"], "r1");
    assert!(leader["epoch"].as_u64().expect("have an epoch") >= 1);
}

#[tokio::test]
async fn a_new_department_gets_a_leader_and_keeps_its_policy() {
    let stack = Stack::start(Settings::default()).await;
    let policy = json!({ "policy": { "backup_every": "10s" } });
    let answer = stack.client().put("/departments/sales", policy).await;
    assert!(answer.status.is_success(), "{}", answer.text);
    stack.leader_of("sales").await;
    let department = stack.client().get("/departments/sales").await.expect(200).json;
    assert_eq!(department["policy"]["backup_every"], "10s");
}

#[tokio::test]
async fn a_department_name_or_policy_that_is_not_valid_is_refused() {
    let stack = Stack::start(Settings::default()).await;
    stack.client().put("/departments/Sales", json!({})).await.expect(422);
    let policy = json!({ "policy": { "backup_every": "1s" } });
    stack.client().put("/departments/sales", policy).await.expect(422);
    stack.client().get("/departments/sales").await.expect(404);
}

#[tokio::test]
async fn a_department_with_users_is_not_deleted() {
    let stack = Stack::start(Settings::default()).await;
    stack.department("sales").await;
    stack.create_users("sales", 1).await;
    stack.client().delete("/departments/sales").await.expect(409);
    assert_eq!(stack.all_users("sales").await.len(), 1);
}
