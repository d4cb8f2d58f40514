//! Restores of selected users: exactly those, also deleted ones; what nobody knows is named.

use serde_json::json;

use crate::harness::Stack;
use crate::harness::restoring::{causes, from};
use crate::harness::settings::Settings;

#[tokio::test]
async fn exactly_the_selected_users_are_restored_also_deleted_ones() {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 10).await;
    let backup = stack.backup("default").await;
    for n in 1..=4 {
        stack.delete(&format!("default-{n:05}")).await;
        stack.change(&format!("default-{:05}", n + 4), json!({ "name": format!("Renamed {n}") })).await;
    }
    stack.create("default", "new", "A new one").await;
    let before = stack.documents("default").await;
    // Twice the same id is once.
    let users = ["default-00006", "default-00002", "default-00002"];
    let done = stack.restored(&backup, json!({ "users": users, "mode": "exact" })).await;
    assert_eq!(done["users"], json!(["default-00002", "default-00006"]));
    let mut after = stack.documents("default").await;
    assert!(after.remove("default-00002").is_some());
    assert_eq!(after["default-00006"].get_str("name").ok(), Some("User 00006 ü"));
    after.insert("default-00006".to_owned(), before["default-00006"].clone());
    assert_eq!(after, before);
}

#[tokio::test]
async fn selected_users_that_the_point_does_not_have_are_named_and_exact_removes_the_live_ones() {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 3).await;
    let backup = stack.backup("default").await;
    stack.create("default", "new", "A new one").await;
    stack.create("default", "other", "Another one").await;
    let users = ["nobody", "default-00001", "new"];
    let planned = stack.plan(from(&backup, json!({ "users": users }))).await;
    let plan = &planned.job["plan"];
    assert_eq!(plan["missing_users"], json!(["new", "nobody"]), "{plan}");
    assert_eq!(json!([plan["creates"], plan["updates"], plan["deletes"], plan["unchanged"]]), json!([0, 0, 0, 1]));
    let done = stack.restored(&backup, json!({ "users": users, "mode": "exact" })).await;
    assert_eq!(done["plan"]["missing_users"], json!(["new", "nobody"]), "{done}");
    assert_eq!(done["plan"]["deletes"], 1);
    let names = stack.names("default").await;
    assert!(!names.contains_key("new") && names.contains_key("other"), "{names:?}");
}

#[tokio::test]
async fn a_name_that_a_user_outside_the_selection_holds_is_a_conflict_and_stays_with_that_user() {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 4).await;
    let backup = stack.backup("default").await;
    stack.change("default-00001", json!({ "name": "Free" })).await;
    stack.change("default-00002", json!({ "name": "User 00001 ü" })).await;
    let before = stack.documents("default").await;
    let done = stack.restored(&backup, json!({ "users": ["default-00001"] })).await;
    assert_eq!(stack.documents("default").await, before);
    let location = format!("/restores/{}/conflicts", done["id"].as_str().expect("have an id"));
    let conflicts = stack.pages(&location, 10).await;
    assert_eq!(causes(&conflicts), [("default-00001".to_owned(), "name_taken".to_owned(), false)]);
    // Both together pass the name on.
    stack.restored(&backup, json!({ "users": ["default-00001", "default-00002"] })).await;
    let names = stack.names("default").await;
    assert_eq!(names["default-00001"], "User 00001 ü");
    assert_eq!(names["default-00002"], "User 00002 ü");
}
