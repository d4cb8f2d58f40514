//! The document as OpenAPI 3.0, for generators that know no later version.
//!
//! Rule: it may say less than the document that it is made from, and never anything else.

use serde_json::{Map, Value, json};

const JSON: &str = "application/json";
const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// The same operations in the words of OpenAPI 3.0.
pub(super) fn derived(mut document: Value) -> Value {
    document["openapi"] = json!("3.0.3");
    for item in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method) {
                without_scopes(operation);
                with_one_body(operation);
                with_one_answer(operation);
            }
        }
    }
    in_older_words(&mut document);
    document
}

/// An HTTP scheme names no scopes in 3.0.
fn without_scopes(operation: &mut Value) {
    let Some(requirements) = operation.get_mut("security").and_then(Value::as_array_mut) else { return };
    for requirement in requirements.iter_mut() {
        requirement.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(|scopes| *scopes = json!([]));
    }
    // What differed by its scopes only.
    requirements.dedup();
}

/// Of several media types of a body JSON; lines of JSON as bytes, which the service takes under that name too.
fn with_one_body(operation: &mut Value) {
    let content = operation.get_mut("requestBody").and_then(|body| body.get_mut("content")?.as_object_mut());
    let Some(content) = content else { return };
    if content.contains_key(JSON) {
        content.retain(|kind, _| kind == JSON);
    } else {
        let bytes = json!({"schema": {"type": "string", "format": "binary"}});
        *content = Map::from_iter([("application/octet-stream".to_owned(), bytes)]);
    }
}

/// Errors as JSON, which they are; and where one success has a body and another has none, bodies are not spoken of: no
/// generator for 3.0 has a type for both.
fn with_one_answer(operation: &mut Value) {
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for content in responses.values_mut().filter_map(|response| response.get_mut("content")?.as_object_mut()) {
        if let Some(problem) = content.remove("application/problem+json") {
            content.insert(JSON.to_owned(), problem);
        }
        if let Some(stream) = content.get_mut("text/event-stream") {
            *stream = json!({"schema": {"type": "string"}});
        }
    }
    let success = |(status, _): &(&String, &mut Value)| status.starts_with('2');
    let (mut bodies, mut empty) = (0, 0);
    for (_, response) in responses.iter_mut().filter(success) {
        *(if response.get("content").is_some() { &mut bodies } else { &mut empty }) += 1;
    }
    if bodies > 0 && empty > 0 {
        let spoken = responses.iter_mut().filter(success).filter_map(|(_, response)| response.as_object_mut());
        spoken.for_each(|response| drop(response.remove("content")));
    }
}

/// Schemas: `nullable` for the type `null`, and nothing beside a reference.
fn in_older_words(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(in_older_words),
        Value::Object(object) => {
            object.iter_mut().filter(|(key, _)| *key != "example").for_each(|(_, part)| in_older_words(part));
            if object.get("$ref").is_some_and(Value::is_string) {
                object.retain(|key, _| key == "$ref");
            }
            nullable_type(object);
            nullable_choice(object);
            object.remove("propertyNames");
            // The generator for Rust makes a type of its own of each text that has one of these, wherever it stands.
            for rule in ["pattern", "minLength", "maxLength"] {
                object.remove(rule);
            }
        }
        _ => {}
    }
}

/// `["string", "null"]`.
fn nullable_type(object: &mut Map<String, Value>) {
    let Some(types) = object.get("type").and_then(Value::as_array) else { return };
    let others: Vec<Value> = types.iter().filter(|kind| *kind != "null").cloned().collect();
    let nullable = others.len() < types.len();
    if let [only] = &others[..] {
        object.insert("type".to_owned(), only.clone());
        if nullable {
            object.insert("nullable".to_owned(), json!(true));
        }
    }
}

/// `oneOf` a schema and null.
fn nullable_choice(object: &mut Map<String, Value>) {
    let Some(choices) = object.get_mut("oneOf").and_then(Value::as_array_mut) else { return };
    let null = json!({"type": "null"});
    if !choices.contains(&null) {
        return;
    }
    choices.retain(|choice| *choice != null);
    object.insert("nullable".to_owned(), json!(true));
    // `nullable` means nothing without a type, and all that can be null by a reference are objects.
    object.insert("type".to_owned(), json!("object"));
    if object["oneOf"].as_array().is_some_and(|choices| choices.len() == 1)
        && let Some(only) = object.remove("oneOf")
    {
        object.insert("allOf".to_owned(), only);
    }
}
