//! Values at and past their limits: ids, names, departments, credentials, durations, lists of users.

use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::client::Answer;
use crate::harness::settings::Settings;

const PASSWORD: &str = "correct horse battery";
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxlLXNhbHQtMDE$1rBUU2jrGMzPeKRYNGndy8ozvtm05CBFs59hxa/MB5k";

async fn create(stack: &Stack, fields: Value) -> Answer {
    let mut user = json!({ "name": "Ada", "password_hash": HASH });
    for (name, value) in fields.as_object().expect("be an object") {
        user[name] = value.clone();
    }
    stack.client().post("/users", user).await
}

#[tokio::test]
async fn an_id_keeps_to_its_limits() {
    let stack = Stack::start(Settings::default()).await;
    let (shortest, longest) = ("~".to_owned(), "Az09._~-".repeat(8));
    for (at, id) in [&shortest, &longest].into_iter().enumerate() {
        let made = create(&stack, json!({ "id": id, "name": format!("User {at}") })).await.expect(201);
        assert_eq!(made.header("location"), format!("/users/{id}"));
        let read = stack.client().get(&format!("/users/{id}")).await.expect(200);
        assert_eq!(read.json["id"], **id);
    }
    let bad = [
        String::new(),
        "x".repeat(65),
        "a/b".to_owned(),
        "a b".to_owned(),
        "é".to_owned(),
        "a\u{0}".to_owned(),
        "a\n".to_owned(),
        "%41".to_owned(),
        "$where".to_owned(),
    ];
    for id in bad {
        create(&stack, json!({ "id": id })).await.expect_field("/id", "invalid_id");
    }
    for path in ["/users/%00", "/users/a%2Fb", "/users/%E2%82%AC", &format!("/users/{}", "x".repeat(65))] {
        stack.client().get(path).await.expect_problem(404, "not_found");
        stack.client().delete(path).await.expect_problem(404, "not_found");
        stack.client().patch(path, json!({ "locked": true })).await.expect_problem(404, "not_found");
    }
    assert_eq!(stack.all_users("default").await.len(), 2);
}

#[tokio::test]
async fn a_name_keeps_to_its_limits_in_characters_after_trimming_and_composing() {
    let stack = Stack::start(Settings::default()).await;
    let taken = [
        ("x".to_owned(), "x".to_owned()),
        ("😀".repeat(128), "😀".repeat(128)),
        (format!(" \u{2003}{}\t", "王".repeat(128)), "王".repeat(128)),
        ("e\u{301}".repeat(128), "é".repeat(128)),
        ("<script>'\"; DROP {$ne: 1} \\ \u{202e}".to_owned(), "<script>'\"; DROP {$ne: 1} \\ \u{202e}".to_owned()),
    ];
    for (sent, kept) in &taken {
        let made = create(&stack, json!({ "name": sent })).await.expect(201);
        assert_eq!(made.json["name"], **kept);
    }
    // The same name in another form is the same name.
    create(&stack, json!({ "name": "é".repeat(128) })).await.expect_problem(409, "name_taken");
    let bad = [
        String::new(),
        " \t\n ".to_owned(),
        "x".repeat(129),
        "😀".repeat(129),
        "e\u{301}".repeat(129),
        "a\u{0}b".to_owned(),
        "a\nb".to_owned(),
        "a\u{7f}b".to_owned(),
        "a\u{85}b".to_owned(),
        "\u{1b}[31mred".to_owned(),
        "x".repeat(900_000),
    ];
    stack.client().patch("/users/nobody", json!({ "name": "" })).await.expect_problem(404, "not_found");
    let first = stack.all_users("default").await[0].clone();
    let path = format!("/users/{}", first["id"].as_str().expect("have an id"));
    for name in &bad {
        create(&stack, json!({ "name": name })).await.expect_field("/name", "invalid_name");
        stack.client().patch(&path, json!({ "name": name })).await.expect_field("/name", "invalid_name");
    }
    assert_eq!(stack.all_users("default").await.len(), taken.len());
    assert_eq!(stack.client().get(&path).await.expect(200).json, first);
}

#[tokio::test]
async fn a_department_name_keeps_to_its_limits_wherever_it_is_given() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    for good in ["0", &"x".repeat(63), "a--"] {
        client.put(&format!("/departments/{good}"), json!({})).await.expect(201);
    }
    let bad = [String::new(), "x".repeat(64), "-a".to_owned(), "Sales".to_owned(), "a_b".to_owned(), "é".to_owned()];
    for name in bad {
        create(&stack, json!({ "department": name })).await.expect_field("/department", "invalid_department");
        let body = json!({ "department": name });
        client.post("/backups", body).await.expect_field("/department", "invalid_department");
        if !name.is_empty() {
            let path = format!("/departments/{name}");
            client.put(&path, json!({})).await.expect_parameter("department", "invalid_department");
            client.get(&path).await.expect_problem(404, "not_found");
            client.delete(&path).await.expect_problem(404, "not_found");
        }
        for list in ["users", "backups", "restores"] {
            let answer = client.get(&format!("/{list}?department={name}")).await;
            answer.expect_parameter("department", "invalid_department");
        }
    }
    for name in ["nowhere", "nowhere-2"] {
        create(&stack, json!({ "department": name })).await.expect_field("/department", "unknown_department");
        let body = json!({ "department": name });
        client.post("/backups", body).await.expect_field("/department", "unknown_department");
    }
    let made = create(&stack, json!({ "id": "stays" })).await.expect(201);
    let moved = client.patch("/users/stays", json!({ "department": "0" })).await;
    moved.expect_field("/department", "department_fixed");
    assert_eq!(client.get("/users/stays").await.expect(200).json, made.json);
    assert_eq!(client.get("/departments").await.expect(200).json["items"].as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn a_credential_is_one_password_or_one_affordable_hash() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    let longest = "ü".repeat(512);
    client.post("/users", json!({ "id": "long", "name": "Long", "password": longest })).await.expect(201);
    let both = json!({ "name": "Ada", "password": PASSWORD, "password_hash": HASH });
    client.post("/users", both).await.expect_field("/password_hash", "two_credentials");
    client.post("/users", json!({ "name": "Ada" })).await.expect_field("/password", "missing_credential");
    for password in [String::new(), longest + "x"] {
        let body = json!({ "name": "Ada", "password": password });
        client.post("/users", body).await.expect_field("/password", "invalid_password");
    }
    let before = client.get("/users/long").await.expect(200).json;
    let salt = "c2FtcGxlLXNhbHQtMDE";
    for (part, bad) in [
        ("m=19456", "m=262145"),
        ("m=19456", "m=4194304"),
        ("m=19456", "m=4294967295"),
        ("m=19456", "m=4294967296"),
        ("m=19456", "m=99999999999999999999"),
        ("m=19456", "m=7"),
        ("m=19456", "m=-1"),
        ("m=19456", "m=1e5"),
        ("t=2", "t=0"),
        ("t=2", "t=17"),
        ("t=2", "t=4294967295"),
        ("p=1", "p=0"),
        ("p=1", "p=17"),
        ("p=1", "p=16777215"),
        ("m=19456,t=2,p=1", "m=8,t=1,p=2"),
        ("m=19456,t=2,p=1", "t=2,m=19456,p=1"),
        ("m=19456,t=2,p=1", "m=19456,t=2"),
        ("m=19456,t=2,p=1", "m=19456,t=2,p=1,data=AAAA"),
        ("m=19456,t=2,p=1", ""),
        ("argon2id", "argon2x"),
        ("argon2id", "scrypt"),
        ("v=19", "v=99"),
        (salt, ""),
        (salt, "!!"),
        (salt, "c2FtcGxl"),
        (salt, "c2FtcGxlLXNhbHQtMDE="),
        ("1rBUU2jrGMzPeKRYNGndy8ozvtm05CBFs59hxa/MB5k", "1rBUU2jr"),
        ("1rBUU2jrGMzPeKRYNGndy8ozvtm05CBFs59hxa/MB5k", "1rBUU2jrGMzPeKRYNGndy8ozvtm05CBFs59hxa/MB5k$x"),
        ("$argon2id", "argon2id"),
        ("$argon2id", " $argon2id"),
    ] {
        let hash = HASH.replacen(part, bad, 1);
        assert_ne!(hash, HASH);
        let answer = create(&stack, json!({ "password_hash": hash })).await;
        assert_eq!(answer.status, 422, "{hash}: {}", answer.text);
        answer.expect_field("/password_hash", "invalid_password_hash");
        assert!(!answer.text.contains("1rBUU2jr"), "{}", answer.text);
        let answer = client.patch("/users/long", json!({ "password_hash": hash })).await;
        answer.expect_field("/password_hash", "invalid_password_hash");
    }
    for hash in ["", "$", "$$$$$$", "$2b$12$abcdefghijklmnopqrstuv", "plain", &"$argon2id".repeat(1000), "\u{0}"] {
        let answer = create(&stack, json!({ "password_hash": hash })).await;
        answer.expect_field("/password_hash", "invalid_password_hash");
    }
    assert_eq!(client.get("/users/long").await.expect(200).json, before);
    // All at once: every field that is wrong is named.
    let answer = create(&stack, json!({ "id": "a b", "name": "", "department": "A", "password_hash": "x" })).await;
    for (pointer, code) in [
        ("/id", "invalid_id"),
        ("/name", "invalid_name"),
        ("/department", "invalid_department"),
        ("/password_hash", "invalid_password_hash"),
    ] {
        answer.expect_field(pointer, code);
    }
    assert_eq!(stack.all_users("default").await.len(), 1);
}

#[tokio::test]
async fn a_policy_takes_whole_seconds_from_ten_seconds_to_thirty_one_days() {
    let stack = Stack::start(Settings::default()).await;
    let put = async |every: &str| {
        stack.client().put("/departments/sales", json!({ "policy": { "backup_every": every } })).await
    };
    for (sent, shown) in [("10s", "10s"), ("7d", "7d"), ("90m 1s", "1h 30m 1s"), ("31d", "31d"), ("24h", "1d")] {
        let answer = put(sent).await;
        assert!(answer.status.is_success(), "{}", answer.text);
        assert_eq!(answer.json["policy"]["backup_every"], shown);
    }
    let before = stack.client().get("/departments/sales").await.expect(200).json;
    for every in ["0s", "9s", "32d", "31d 1s", "10500ms", "10s 1ns", "1year", "292471208677y"] {
        put(every).await.expect_field("/policy/backup_every", "invalid_backup_every");
    }
    for every in ["", "-1s", "1e9d", "10", "ten seconds", "10x", "99999999999999999999y", "18446744073709551615d", "∞"]
    {
        put(every).await.expect_field("/policy/backup_every", "invalid_duration");
    }
    let after = stack.client().get("/departments/sales").await.expect(200).json;
    assert_eq!((&after["policy"], &after["rev"]), (&before["policy"], &before["rev"]));
}

#[tokio::test]
async fn a_restore_names_a_complete_backup_and_users_that_can_be() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    stack.create_users("default", 3).await;
    let backup = stack.backup("default").await["id"].clone();
    let with = |field: &str, value: Value| json!({ "from": { "backup_id": backup }, field: value });
    for id in ["", "nope", "0197F4E2-7A1B-7C3D-8E4F-5A6B7C8D9E0F", "../../etc/passwd"] {
        let body = json!({ "from": { "backup_id": id } });
        client.post("/restores", body).await.expect_field("/from/backup_id", "invalid_uuid");
    }
    let body = json!({ "from": { "backup_id": "0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f" } });
    client.post("/restores", body).await.expect_problem(404, "not_found");
    client.post("/restores", with("users", json!([]))).await.expect_field("/users", "invalid_users");
    let many: Vec<String> = (0..10_001).map(|n| format!("u{n}")).collect();
    client.post("/restores", with("users", json!(many))).await.expect_field("/users", "invalid_users");
    let users = json!(["default-00000", "a b"]);
    client.post("/restores", with("users", users)).await.expect_field("/users/1", "invalid_id");
    client.post("/restores", with("users", json!([7]))).await.expect_field("/users/0", "wrong_type");
    for field in ["mode", "credentials", "locked", "on_conflict"] {
        let pointer = format!("/{field}");
        client.post("/restores", with(field, json!("everything"))).await.expect_field(&pointer, "wrong_type");
        client.post("/restores", with(field, json!(null))).await.expect_field(&pointer, "wrong_type");
    }
    client.post("/restores", with("apply", json!("yes"))).await.expect_field("/apply", "wrong_type");
    assert_eq!(client.get("/restores").await.expect(200).json["items"], json!([]));
    assert_eq!(stack.all_users("default").await.len(), 3);
}
