//! Random requests for every operation of the document: never a 500, always problem+json, always the replica's name.
//!
//! The seed is fixed, so that a failure comes again; `ROLLKEEPER_TEST_SEED` takes another.

use futures::StreamExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::harness::Stack;
use crate::harness::client::{Answer, Client};
use crate::harness::settings::Settings;

const COMMITTED: &str = include_str!("../../openapi/openapi.json");
/// Requests for each operation.
const EACH: usize = 150;
/// Requests under way at the same time.
const AT_ONCE: usize = 8;
const UUID: &str = "0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f";
const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$c2FtcGxlLXNhbHQtMDE$1rBUU2jrGMzPeKRYNGndy8ozvtm05CBFs59hxa/MB5k";
/// Texts that have been somebody's bug.
const TEXTS: [&str; 30] = [
    "",
    " ",
    "a",
    "default",
    "nowhere",
    "u1",
    UUID,
    HASH,
    "null",
    "true",
    "-1",
    "0",
    "1e9d",
    "10s",
    "31d",
    "\u{0}",
    "a\u{0}b",
    "\u{feff}",
    "\u{202e}x",
    "é",
    "e\u{301}",
    "😀",
    "../../etc/passwd",
    "%00",
    "%ff",
    "${jndi:x}",
    "{\"$gt\":\"\"}",
    "$where",
    "2026-11-23T09:30:00.000Z",
    "9999-12-31T23:59:59.999999999Z",
];
const HEADERS: [&str; 12] = [
    "if-match",
    "if-none-match",
    "prefer",
    "x-request-id",
    "accept",
    "accept-encoding",
    "idempotency-key",
    "traceparent",
    "range",
    "expect",
    "content-encoding",
    "x-http-method-override",
];
const HEADER_VALUES: [&str; 16] = [
    "",
    "*",
    "\"0000000000000000\"",
    "W/\"x\"",
    "\"",
    "wait=0",
    "wait=1",
    "wait=-1",
    "wait=x",
    "gzip",
    "text/html",
    "é",
    "\t",
    "bytes=0-1",
    "a, b; c=\"d",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
];

/// One operation of the document.
struct Operation {
    method: Method,
    path: String,
    query: Vec<String>,
    media: Option<String>,
    fields: Vec<String>,
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(COMMITTED).expect("read the document");
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("have paths") {
        for (method, operation) in item.as_object().expect("have operations") {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_query = parameters.iter().filter(|parameter| parameter["in"] == "query");
            let content = operation["requestBody"]["content"].as_object();
            let mut fields = Vec::new();
            for media in content.into_iter().flat_map(Map::values) {
                names_of(&document, &media["schema"], &mut fields);
            }
            found.push(Operation {
                method: Method::from_bytes(method.to_uppercase().as_bytes()).expect("be a method"),
                path: path.clone(),
                query: in_query.map(|parameter| parameter["name"].as_str().expect("have a name").to_owned()).collect(),
                media: content.and_then(|content| content.keys().next().cloned()),
                fields,
            });
        }
    }
    found
}

/// The names of all fields below a schema.
fn names_of(document: &Value, schema: &Value, names: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#')).expect("lead somewhere");
        return names_of(document, target, names);
    }
    for one in schema["oneOf"].as_array().into_iter().chain(schema["allOf"].as_array()).flatten() {
        names_of(document, one, names);
    }
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        names.push(name.clone());
        names_of(document, below, names);
    }
}

fn text(random: &mut StdRng) -> String {
    match random.random_range(0..8) {
        0 => (0..random.random_range(0..40)).map(|_| random.random::<char>()).collect(),
        1 => "x".repeat(*[63, 64, 65, 128, 129, 1024, 1025, 5000].choose(random).expect("have one")),
        _ => (*TEXTS.choose(random).expect("have one")).to_owned(),
    }
}

fn value(random: &mut StdRng, fields: &[String], depth: usize) -> Value {
    match random.random_range(0..12) {
        0 => Value::Null,
        1 => json!(random.random::<bool>()),
        2 => json!(random.random::<i64>()),
        3 => json!(random.random::<f64>()),
        4 if depth > 0 => (0..random.random_range(0..4)).map(|_| value(random, fields, depth - 1)).collect(),
        5 | 6 if depth > 0 => object(random, fields, depth - 1),
        _ => json!(text(random)),
    }
}

fn object(random: &mut StdRng, fields: &[String], depth: usize) -> Value {
    let mut object = Map::new();
    for _ in 0..random.random_range(0..6) {
        let name = if random.random_ratio(9, 10) { fields.choose(random).cloned() } else { None };
        let name = name.unwrap_or_else(|| text(random));
        object.insert(name, value(random, fields, depth));
    }
    Value::Object(object)
}

fn body(random: &mut StdRng, operation: &Operation) -> Vec<u8> {
    let mut bytes = object(random, &operation.fields, 3).to_string().into_bytes();
    match random.random_range(0..8) {
        0 => bytes.truncate(random.random_range(0..=bytes.len())),
        1 => {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        2 => bytes = (0..random.random_range(0..200)).map(|_| random.random()).collect(),
        3 => bytes = [bytes.clone(), b"\n".to_vec(), bytes].concat(),
        4 => bytes = value(random, &operation.fields, 2).to_string().into_bytes(),
        _ => {}
    }
    bytes
}

fn encoded(random: &mut StdRng, text: &str) -> String {
    if random.random_ratio(1, 20) {
        return "%ff%c3%28".to_owned();
    }
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn address(random: &mut StdRng, operation: &Operation) -> String {
    let mut path = String::new();
    for part in operation.path.split('/').skip(1) {
        let part = if part.starts_with('{') {
            let text = text(random);
            encoded(random, &text)
        } else {
            part.to_owned()
        };
        path = path + "/" + &part;
    }
    for n in 0..random.random_range(0..4) {
        let known = if random.random_ratio(9, 10) { operation.query.choose(random).cloned() } else { None };
        let (name, value) = (known.unwrap_or_else(|| text(random)), text(random));
        path = path + if n == 0 { "?" } else { "&" } + &encoded(random, &name) + "=" + &encoded(random, &value);
    }
    path
}

async fn ask(client: &Client, operation: &Operation, seed: u64) -> (String, Answer) {
    let mut random = StdRng::seed_from_u64(seed);
    let path = address(&mut random, operation);
    let mut headers: Vec<(&str, &str)> = Vec::new();
    match &operation.media {
        Some(media) if random.random_ratio(19, 20) => headers.push(("content-type", media)),
        _ => {}
    }
    for _ in 0..random.random_range(0..3) {
        let name = HEADERS.choose(&mut random).expect("have one");
        headers.push((name, HEADER_VALUES.choose(&mut random).expect("have one")));
    }
    let other = [Method::PUT, Method::POST, Method::OPTIONS, Method::TRACE].choose(&mut random).expect("have one");
    let method = if random.random_ratio(1, 20) { other.clone() } else { operation.method.clone() };
    let what = format!("seed {seed}: {method} {path} {headers:?}");
    let sent = if operation.media.is_some() { body(&mut random, operation) } else { Vec::new() };
    (what, client.send_bytes(method, &path, &headers, sent).await)
}

fn check(what: &str, answer: &Answer) {
    let status = answer.status.as_u16();
    assert_eq!(answer.header("x-served-by"), "r1", "{what}: {status}");
    assert!(!answer.header("x-request-id").is_empty(), "{what}: {status}");
    if status < 400 {
        return;
    }
    assert!(status < 500 || (status == 503 && !answer.header("retry-after").is_empty()), "{what}: {}", answer.text);
    assert_eq!(answer.header("content-type"), "application/problem+json", "{what}: {}", answer.text);
    assert_eq!(answer.json["status"], status, "{what}: {}", answer.text);
    for field in ["type", "title", "detail", "code", "request_id", "instance"] {
        assert!(answer.json[field].as_str().is_some_and(|text| !text.is_empty()), "{what}: {}", answer.text);
    }
}

#[tokio::test]
async fn no_request_is_answered_by_a_500_and_every_refusal_is_a_problem() {
    let stack = Stack::start(Settings::default()).await;
    let witness = json!({ "id": "witness", "name": "Witness", "password_hash": HASH });
    let before = stack.client().post("/users", witness).await.expect(201).json;
    let seed = std::env::var_os("ROLLKEEPER_TEST_SEED").map_or(1, |seed| {
        seed.into_string().ok().and_then(|seed| seed.parse::<u64>().ok()).expect("ROLLKEEPER_TEST_SEED is a number")
    });
    let operations = operations();
    assert!(operations.len() >= 22, "{}", operations.len());
    let requests = operations.iter().enumerate().flat_map(|(at, operation)| {
        (0..EACH as u64).map(move |n| (operation, seed.wrapping_mul(1_000_003) + (at as u64) * 10_000 + n))
    });
    let asked = futures::stream::iter(requests).map(|(operation, seed)| ask(stack.client(), operation, seed));
    let answers: Vec<(String, Answer)> = asked.buffer_unordered(AT_ONCE).collect().await;
    for (what, answer) in &answers {
        check(what, answer);
    }
    // Both kinds were there, else the test says little.
    let good = answers.iter().filter(|(_, answer)| answer.status.is_success()).count();
    assert!(good > 100 && good < answers.len() / 2, "{good} of {} were good", answers.len());
    assert_eq!(stack.client().get("/users/witness").await.expect(200).json, before);
    stack.client().get("/readyz").await.expect(200);
}
