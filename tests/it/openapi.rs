//! The committed document is the code's own, and every operation asks who calls.

use serde_json::Value;

use crate::harness::Stack;
use crate::harness::settings::Settings;

const COMMITTED: &str = include_str!("../../openapi/openapi.json");
const COMMITTED_3_0: &str = include_str!("../../openapi/openapi-3.0.json");
/// Operations that need no token.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

#[test]
fn the_committed_document_is_what_the_code_says() {
    let said = rollkeeper::api::openapi_json();
    assert!(said == COMMITTED, "run `cargo run -- openapi > openapi/openapi.json` and commit it");
}

#[test]
fn the_committed_document_of_openapi_3_0_is_what_the_code_says() {
    let said = rollkeeper::api::openapi_3_0_json();
    assert!(said == COMMITTED_3_0, "run `cargo run -- openapi --version 3.0 > openapi/openapi-3.0.json` and commit it");
}

#[test]
fn the_document_of_openapi_3_0_has_the_operations_of_the_other_and_none_of_its_newer_words() {
    let read = |text: &str| serde_json::from_str::<Value>(text).expect("read a document");
    let (newer, older) = (read(COMMITTED), read(COMMITTED_3_0));
    assert_eq!(operation_ids(&newer), operation_ids(&older));
    assert!(operation_ids(&older).len() > 40);
    let mut found = Vec::new();
    walk(&older, "", &mut |at, object| {
        let types = object.get("type").is_some_and(Value::is_array);
        let beside = object.get("$ref").is_some_and(Value::is_string) && object.len() > 1;
        let null = object.get("type").is_some_and(|kind| kind == "null");
        let problem = object.contains_key("application/problem+json");
        if types || beside || null || problem {
            found.push(at.to_owned());
        }
    });
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn no_parameter_of_the_document_is_ever_null() {
    let document: Value = serde_json::from_str(COMMITTED).expect("read the document");
    let mut asked = 0;
    walk(&document, "", &mut |at, object| {
        if object.contains_key("in") && object.contains_key("schema") {
            assert!(object["schema"]["type"].is_string(), "{at}: {}", object["schema"]);
            asked += 1;
        }
    });
    assert!(asked > 80, "only {asked} parameters were looked at");
}

/// Calls `look` with the place of each object of a document, and the object.
fn walk(value: &Value, at: &str, look: &mut impl FnMut(&str, &serde_json::Map<String, Value>)) {
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(i, item)| walk(item, &format!("{at}/{i}"), look)),
        Value::Object(object) => {
            look(at, object);
            object.iter().for_each(|(key, part)| walk(part, &format!("{at}/{key}"), look));
        }
        _ => {}
    }
}

fn operation_ids(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(&document["paths"], "", &mut |_, object| {
        found.extend(object.get("operationId").and_then(Value::as_str).map(str::to_owned));
    });
    found.sort();
    found
}

#[test]
fn the_words_of_enumerations_are_those_that_answers_have() {
    let document: serde_json::Value = serde_json::from_str(COMMITTED).expect("read the document");
    let schemas = document["components"]["schemas"].as_object().expect("have schemas");
    let words = |schema: &serde_json::Value| schema["enum"].as_array().cloned().unwrap_or_default();
    let found: Vec<String> = schemas
        .iter()
        .flat_map(|(name, schema)| words(schema).into_iter().map(move |word| format!("{name} {word}")))
        .collect();
    assert!(found.contains(&r#"BackupStateView "complete""#.to_owned()), "{found:?}");
    let wrong: Vec<&String> = found
        .iter()
        .filter(|at| at.split_once(' ').is_none_or(|(_, word)| word.chars().any(char::is_uppercase)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn every_operation_of_the_document_refuses_a_caller_without_a_token() {
    let stack = Stack::start(Settings::default()).await;
    let nobody = stack.client().with_token(None);
    let document: serde_json::Value = serde_json::from_str(COMMITTED).expect("read the document");
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().expect("have paths") {
        if OPEN.contains(&path.as_str()) {
            continue;
        }
        for method in operations.as_object().expect("have operations").keys() {
            let Ok(method) = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            let at = path.replace(['{', '}'], "");
            let answer = nobody.send(method.clone(), &at, &[("content-type", "application/json")], None).await;
            assert_eq!(answer.status, 401, "{method} {path}: {}", answer.text);
            answer.expect_problem(401, "unauthenticated");
            assert_eq!(answer.header("x-served-by"), "r1");
            asked += 1;
        }
    }
    assert!(asked > 15, "only {asked} operations were asked");
}
