//! Users through the API of a running replica.

use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::settings::Settings;

#[tokio::test]
async fn a_user_is_made_read_changed_and_deleted() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    let made = client.post("/users", json!({ "name": " Zoë Ångström ", "password": "correct horse battery" })).await;
    let made = made.expect(201);
    assert_eq!(made.json["name"], "Zoë Ångström");
    assert_eq!(made.json["department"], "default");
    assert_eq!(made.json["locked"], false);
    assert!(!made.text.contains("argon2"), "a hash is nobody's business: {}", made.text);
    assert_eq!(made.header("x-served-by"), "r1");
    let path = format!("/users/{}", made.json["id"].as_str().expect("have an id"));
    assert_eq!(client.get(&path).await.expect(200).json["name"], "Zoë Ångström");

    let changed = client.patch(&path, json!({ "locked": true })).await.expect(200);
    assert_eq!(changed.json["locked"], true);
    assert_ne!(changed.header("etag"), made.header("etag"));
    client.delete(&path).await.expect(204);
    client.get(&path).await.expect(404);
}

#[tokio::test]
async fn a_change_that_names_an_old_state_is_refused() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    stack.create_users("default", 1).await;
    let path = "/users/default-00000";
    let old = client.get(path).await.expect(200);
    client.patch(path, json!({ "name": "First" })).await.expect(200);

    let headers = [("content-type", "application/merge-patch+json"), ("if-match", old.header("etag"))];
    let body = json!({ "name": "Second" }).to_string();
    client.send(reqwest::Method::PATCH, path, &headers, Some(body)).await.expect(412);
    client.send(reqwest::Method::DELETE, path, &headers[1..], None).await.expect(412);
    let now = client.get(path).await.expect(200);
    assert_eq!(now.json["name"], "First");
    let headers = [("if-none-match", now.header("etag"))];
    client.send(reqwest::Method::GET, path, &headers, None).await.expect(304);
}

#[tokio::test]
async fn names_are_unique_in_a_department_and_free_in_another() {
    let stack = Stack::start(Settings::default()).await;
    stack.department("sales").await;
    let new =
        |department: &str| json!({ "name": "Ada", "department": department, "password": "correct horse battery" });
    stack.client().post("/users", new("default")).await.expect(201);
    stack.client().post("/users", new("default")).await.expect(409);
    stack.client().post("/users", new("sales")).await.expect(201);
}

#[tokio::test]
async fn pages_hold_every_user_once() {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 25).await;
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = stack.client().get(&format!("/users?limit=10{cursor}")).await.expect(200).json;
        let items = page["items"].as_array().expect("have items");
        assert!(items.len() <= 10);
        ids.extend(items.iter().map(|user| user["id"].as_str().expect("have an id").to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    ids.sort();
    let expected: Vec<String> = (0..25).map(|n| format!("default-{n:05}")).collect();
    assert_eq!(ids, expected);
    for limit in ["0", "1001", "ten"] {
        stack.client().get(&format!("/users?limit={limit}")).await.expect(422);
    }
}

#[tokio::test]
async fn a_broken_line_of_an_import_harms_no_other() {
    let stack = Stack::start(Settings::default()).await;
    let good =
        |n: u8| json!({ "id": format!("u{n}"), "name": format!("User {n}"), "password": "correct horse battery" });
    let lines = [good(1).to_string(), "{\"name\": ".to_owned(), json!({ "id": "u3" }).to_string(), good(4).to_string()];
    let answer = stack.import(lines.join("\n")).await.expect(200);
    assert!(!answer.text.contains("correct horse"), "{}", answer.text);
    let users = stack.all_users("default").await;
    let ids: Vec<&Value> = users.iter().map(|user| &user["id"]).collect();
    assert_eq!(ids, ["u1", "u4"]);
}

#[tokio::test]
async fn a_caller_without_a_token_is_told_so_as_a_problem() {
    let stack = Stack::start(Settings::default()).await;
    let answer = stack.client().with_token(None).get("/users").await.expect(401);
    assert!(answer.header("content-type").starts_with("application/problem+json"), "{:?}", answer.headers);
    assert_eq!(answer.json["status"], 401);
    stack.client().with_token(Some("a token that nobody was given, ever")).get("/users").await.expect(401);
}
