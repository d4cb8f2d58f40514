//! Imports that are sent again: what is there already, as a line says it, is unchanged, and nothing else is taken for it.

use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::restoring::OTHER_HASH;
use crate::harness::settings::Settings;

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxlLXNhbHQtMDE$1rBUU2jrGMzPeKRYNGndy8ozvtm05CBFs59hxa/MB5k";

fn ada() -> Value {
    json!({ "id": "ada", "name": "Ada", "password_hash": HASH })
}

fn with(field: &str, value: Value) -> Value {
    let mut line = ada();
    line[field] = value;
    line
}

async fn import(stack: &Stack, query: &str, lines: &[Value]) -> Vec<Value> {
    let body = lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let path = format!("/users/import{query}");
    let headers = [("content-type", "application/x-ndjson")];
    let answer = stack.client().send(reqwest::Method::POST, &path, &headers, Some(body)).await.expect(200);
    answer.text.lines().map(|line| serde_json::from_str(line).expect("be a result")).collect()
}

async fn outcome(stack: &Stack, query: &str, line: Value) -> String {
    let result = &import(stack, query, &[line]).await[0];
    let code = result["error"]["code"].as_str().map(|code| format!(" {code}")).unwrap_or_default();
    format!("{}{code}", result["status"].as_str().expect("have a status"))
}

#[tokio::test]
async fn a_line_whose_record_is_there_is_unchanged_and_writes_nothing() {
    let stack = Stack::start(Settings::default()).await;
    stack.department("eng").await;
    assert_eq!(outcome(&stack, "", ada()).await, "created");
    let before = stack.all_users("default").await;
    for query in ["", "?on_conflict=fail", "?on_conflict=skip", "?on_conflict=replace"] {
        let result = &import(&stack, query, &[ada()]).await[0];
        assert_eq!((&result["status"], &result["id"]), (&json!("unchanged"), &json!("ada")), "{query}");
    }
    let mut nameless = ada();
    nameless.as_object_mut().expect("be an object").remove("id");
    let result = &import(&stack, "", &[nameless.clone()]).await[0];
    assert_eq!((&result["status"], &result["id"]), (&json!("unchanged"), &json!("ada")));
    assert_eq!(outcome(&stack, "", with("created_at", before[0]["created_at"].clone())).await, "unchanged");
    assert_eq!(stack.all_users("default").await, before, "not even the revision");

    for (field, value) in [
        ("name", json!("Adam")),
        ("password_hash", json!(OTHER_HASH)),
        ("locked", json!(true)),
        ("department", json!("eng")),
        ("created_at", json!("2020-01-01T00:00:00Z")),
    ] {
        assert_eq!(outcome(&stack, "", with(field, value)).await, "failed id_taken", "{field}");
    }
    nameless["password_hash"] = json!(OTHER_HASH);
    assert_eq!(outcome(&stack, "", nameless).await, "failed name_taken");
    assert_eq!(outcome(&stack, "?on_conflict=skip", with("locked", json!(true))).await, "skipped");
    assert_eq!(stack.all_users("default").await, before);
}

#[tokio::test]
async fn an_import_does_not_tell_whether_a_password_is_that_of_a_user() {
    let stack = Stack::start(Settings::default()).await;
    let line = json!({ "id": "ada", "name": "Ada", "password": "correct horse battery" });
    assert_eq!(outcome(&stack, "", line.clone()).await, "created");
    let wrong = json!({ "id": "ada", "name": "Ada", "password": "another horse battery" });
    for query in ["", "?on_conflict=skip"] {
        assert_eq!(outcome(&stack, query, line.clone()).await, outcome(&stack, query, wrong.clone()).await, "{query}");
    }
}

#[tokio::test]
async fn lines_of_one_user_are_taken_in_their_order() {
    let stack = Stack::start(Settings::default()).await;
    import(&stack, "", &[ada()]).await;
    let lines = [with("name", json!("Adam")), ada(), ada()];
    let results = import(&stack, "?on_conflict=replace", &lines).await;
    let statuses: Vec<&Value> = results.iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, ["replaced", "replaced", "replaced"]);
    assert_eq!(stack.all_users("default").await[0]["name"], "Ada");
}
