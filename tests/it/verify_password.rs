//! Passwords are verified without telling who exists, hashes of other programs work and are replaced, guessing is slowed.

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::Stack;
use crate::harness::client::{Answer, Client};
use crate::harness::settings::Settings;

const SALT: &str = "c29tZXNhbHQxMjM0NTY3OA";
const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";
/// Hashes of "correct horse" by other programs.
const FOREIGN: [(&str, &str); 6] = [
    ("bcrypt-2a", "$2a$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"),
    ("bcrypt-2b", BCRYPT),
    ("bcrypt-2y", "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"),
    ("scrypt", "$scrypt$ln=10,r=8,p=2$c29tZXNhbHQxMjM0NTY3OA$MDXSgOxg1ceT/knSpQcO8enYuFfSgb0vgRbQAemv9v0"),
    ("sha256", "$pbkdf2-sha256$i=1000,l=32$c29tZXNhbHQxMjM0NTY3OA$5rLk1DOPpR3gVlTT0jhzhZW5kKSyrMwtQEygB2hmxis"),
    (
        "sha512",
        "$pbkdf2-sha512$i=1000$c29tZXNhbHQxMjM0NTY3OA$sWps1llwgbWXpLF38mZM6tcxgFkocPltUMVyBEGrSPfheU7eCsUOWcMZKKXmKO\
         ibitmvh5s5vvS80Lwu41zzQg",
    ),
];

async fn verify(client: &Client, id: &str, password: &str) -> Answer {
    client.post(&format!("/users/{id}/verify-password"), json!({ "password": password })).await
}

async fn verdict(client: &Client, id: &str, password: &str) -> Value {
    verify(client, id, password).await.expect(200).json
}

fn right() -> Value {
    json!({ "verified": true })
}

fn wrong() -> Value {
    json!({ "verified": false, "reason": "wrong_credentials" })
}

async fn make(client: &Client, id: &str, credential: &str, value: &str) -> Answer {
    client.post("/users", json!({ "id": id, "name": id, credential: value })).await
}

async fn stored(stack: &Stack, id: &str) -> (String, i64) {
    let records = stack.records("default").await;
    let user = &records[id];
    (user.password_hash.expose().to_owned(), user.version)
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_answered_alike_and_cost_the_same() {
    let extra = "[telemetry]\nlevel = \"info,rollkeeper=debug\"".to_owned();
    let stack = Stack::start(Settings { extra, ..Settings::default() }).await;
    let client = stack.client();
    make(client, "ada", "password", "correct horse").await.expect(201);
    assert_eq!(verdict(client, "ada", "correct horse").await, right());
    assert_eq!(verdict(client, "ada", "wrong").await, wrong());
    assert_eq!(verdict(client, "nobody", "correct horse").await, wrong());
    let log = stack.replicas[0].log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let work: Vec<Value> = lines
        .filter(|line| line.to_string().contains("a password was compared"))
        .map(|line| line.pointer("/hash.work").or(line.pointer("/fields/hash.work")).cloned().expect("say the work"))
        .collect();
    assert_eq!(work, vec![json!(2 * 19_456); 3]);
    assert!(!log.contains("correct horse") && !log.contains("$argon2"));
}

#[tokio::test]
async fn a_locked_user_is_refused_and_only_the_right_password_is_told_why() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    make(client, "ada", "password_hash", BCRYPT).await.expect(201);
    client.patch("/users/ada", json!({ "locked": true })).await.expect(200);
    assert_eq!(verdict(client, "ada", "wrong").await, wrong());
    let locked = json!({ "verified": false, "reason": "locked" });
    assert_eq!(verdict(client, "ada", "correct horse").await, locked);
    assert_eq!(stored(&stack, "ada").await, (BCRYPT.to_owned(), 2), "nothing is written for a locked user");
    client.patch("/users/ada", json!({ "locked": false })).await.expect(200);
    assert_eq!(verdict(client, "ada", "correct horse").await, right());
    client.delete("/users/ada").await.expect(204);
    assert_eq!(verdict(client, "ada", "correct horse").await, wrong());
    verify(client, "ada", "").await.expect_field("/password", "invalid_password");
    verify(client, "ada", &"x".repeat(1025)).await.expect_field("/password", "invalid_password");
}

#[tokio::test]
async fn hashes_of_other_programs_are_kept_byte_for_byte_until_the_right_password_comes() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    let line = |(id, hash): &(&str, &str)| json!({ "id": id, "name": id, "password_hash": hash }).to_string() + "\n";
    stack.import(FOREIGN.iter().map(line).collect()).await.expect(200);
    let backup = stack.backup("default").await;
    for (id, _) in FOREIGN {
        client.delete(&format!("/users/{id}")).await.expect(204);
    }
    let body = json!({ "from": { "backup_id": backup["id"] }, "apply": true });
    let restore = stack.restore(body).await;
    stack.ended(restore.header("location"), "complete").await;
    for (id, hash) in FOREIGN {
        let path = format!("/users/{id}");
        let before = client.get(&path).await.expect(200);
        assert_eq!(stored(&stack, id).await.0, hash);
        assert_eq!(verdict(client, id, "wrong").await, wrong());
        assert_eq!(client.get(&path).await.header("etag"), before.header("etag"));
        assert_eq!(verdict(client, id, "correct horse").await, right(), "{id}");
        let after = client.get(&path).await.expect(200);
        assert_ne!(after.header("etag"), before.header("etag"));
        assert_eq!(after.json["version"].as_i64(), before.json["version"].as_i64().map(|version| version + 1));
        assert!(after.json["updated_at"].as_str() > before.json["updated_at"].as_str());
        assert!(stored(&stack, id).await.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{id}");
        assert_eq!(verdict(client, id, "correct horse").await, right());
        assert_eq!(verdict(client, id, "wrong").await, wrong());
        assert_eq!(client.get(&path).await.header("etag"), after.header("etag"), "it is hashed anew once");
    }
}

#[tokio::test]
async fn a_password_longer_than_bcrypt_reads_is_verified_and_never_becomes_the_new_one() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    let hash = "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";
    make(client, "ada", "password_hash", hash).await.expect(201);
    assert_eq!(verdict(client, "ada", &"x".repeat(80)).await, right());
    assert_eq!(verdict(client, "ada", &("x".repeat(72) + "mistyped")).await, right());
    assert_eq!(verdict(client, "ada", &"x".repeat(71)).await, wrong());
    assert_eq!(stored(&stack, "ada").await, (hash.to_owned(), 1));
}

#[tokio::test]
async fn of_many_right_answers_at_once_one_is_hashed_anew() {
    let http = ", hash_concurrency = 2".to_owned();
    let stack = Stack::start(Settings { http, ..Settings::default() }).await;
    make(stack.client(), "ada", "password_hash", BCRYPT).await.expect(201);
    let mut asked = JoinSet::new();
    for _ in 0..8 {
        let client = stack.client().clone();
        asked.spawn(async move { verdict(&client, "ada", "correct horse").await });
    }
    while let Some(answer) = asked.join_next().await {
        assert_eq!(answer.expect("be answered"), right());
    }
    let (hash, version) = stored(&stack, "ada").await;
    assert!(hash.starts_with("$argon2id$") && version == 2, "{version}");
}

#[tokio::test]
async fn a_hash_that_costs_too_much_is_refused_and_one_that_is_there_all_the_same_is_never_computed() {
    let stack = Stack::start(Settings::default()).await;
    let client = stack.client();
    make(client, "ada", "password_hash", BCRYPT).await.expect(201);
    let costly = [
        (BCRYPT.replace("$04$", "$31$"), "04 to 15"),
        (format!("$scrypt$ln=30,r=8,p=1${SALT}${SALT}"), "ln up to 20"),
        (format!("$scrypt$ln=20,r=8,p=1${SALT}${SALT}"), "256 MiB"),
        (format!("$pbkdf2-sha512$i=4000000000${SALT}${SALT}"), "i up to 2000000"),
        (format!("$argon2id$v=19$m=4194304,t=2,p=1${SALT}${SALT}"), "m up to 262144"),
    ];
    for (hash, limit) in &costly {
        for answer in [
            make(client, "bob", "password_hash", hash).await,
            client.patch("/users/ada", json!({ "password_hash": hash })).await,
        ] {
            answer.expect_field("/password_hash", "invalid_password_hash");
            assert!(answer.text.contains(limit) && !answer.text.contains(SALT), "{}", answer.text);
        }
        let line = json!({ "id": "bob", "name": "Bob", "password_hash": hash }).to_string();
        let result = stack.import(line).await.expect(200);
        assert!(result.text.contains("invalid_password_hash") && result.text.contains(limit), "{}", result.text);
    }
    let users = stack.database().await.collection::<Document>("users");
    for (hash, _) in &costly {
        let set = doc! { "$set": { "password_hash": hash } };
        users.update_one(doc! { "_id.id": "ada" }, set).await.expect("write past the service");
        assert_eq!(verdict(client, "ada", "correct horse").await, wrong());
    }
}

#[tokio::test]
async fn too_many_wrong_passwords_for_a_user_are_slowed_and_right_ones_are_never_counted() {
    let extra = "[limits]\nverify_user = { burst = 3, per_minute = 1 }".to_owned();
    let stack = Stack::start(Settings { extra, ..Settings::default() }).await;
    let client = stack.client();
    make(client, "ada", "password", "correct horse").await.expect(201);
    make(client, "bob", "password", "correct horse").await.expect(201);
    for _ in 0..6 {
        assert_eq!(verdict(client, "ada", "correct horse").await, right());
    }
    // Whether there is such a user cannot be seen from the limit either.
    for id in ["ada", "nobody"] {
        for _ in 0..3 {
            assert_eq!(verdict(client, id, "wrong").await, wrong());
        }
        for password in ["wrong", "correct horse"] {
            let refused = verify(client, id, password).await;
            refused.expect_problem(429, "too_many_attempts");
            let after: u64 = refused.header("retry-after").parse().expect("say when to come again");
            assert!((1..=60).contains(&after), "{after}");
        }
    }
    assert_eq!(verdict(client, "bob", "correct horse").await, right());
}

#[tokio::test]
async fn many_wrong_passwords_at_once_are_no_way_around_the_limits_of_user_and_caller() {
    let extra = "[limits]\nverify_user = { burst = 3, per_minute = 1 }\nverify_caller = { burst = 5, per_minute = 1 }";
    let stack = Stack::start(Settings { extra: extra.to_owned(), ..Settings::default() }).await;
    let (mut asked, mut counted, mut refused) = (JoinSet::new(), 0, 0);
    for n in 0..40 {
        let client = stack.client().clone();
        asked.spawn(async move { verify(&client, &format!("user-{}", n % 4), "wrong").await });
    }
    while let Some(answer) = asked.join_next().await {
        let answer = answer.expect("be answered");
        if answer.status == 429 {
            refused += 1;
        } else {
            assert_eq!(answer.expect(200).json, wrong());
            counted += 1;
        }
    }
    assert_eq!((counted, refused), (5, 35));
}
