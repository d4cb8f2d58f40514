//! The committed document is the code's own, and every operation asks who calls.

use crate::harness::Stack;
use crate::harness::settings::Settings;

const COMMITTED: &str = include_str!("../../openapi/openapi.json");
/// Operations that need no token.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

#[test]
fn the_committed_document_is_what_the_code_says() {
    let said = rollkeeper::api::openapi_json();
    assert!(said == COMMITTED, "run `cargo run -- openapi > openapi/openapi.json` and commit it");
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
