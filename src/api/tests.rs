//! What can be said of the document without a running service.

use super::*;

fn document() -> serde_json::Value {
    serde_json::from_str(&openapi_json()).unwrap()
}

fn operations(document: &serde_json::Value) -> Vec<(String, &serde_json::Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    each.collect()
}

#[test]
fn every_operation_has_an_id_a_summary_a_description_and_error_ranges() {
    let document = document();
    let operations = operations(&document);
    assert!(operations.len() >= 22, "{}", operations.len());
    for (name, operation) in operations {
        for field in ["operationId", "summary", "description"] {
            assert!(operation[field].is_string(), "{name} has no {field}");
        }
        for range in ["4XX", "5XX"] {
            assert!(operation["responses"][range]["content"]["application/problem+json"].is_object(), "{name} {range}");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(response["description"].is_string(), "{name} {status}");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{name} {parameter}");
        }
    }
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn visit<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
        match value {
            serde_json::Value::Object(object) => {
                found.extend(object.get("$ref").and_then(|reference| reference.as_str()));
                object.values().for_each(|value| visit(value, found));
            }
            serde_json::Value::Array(array) => array.iter().for_each(|value| visit(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    visit(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}
