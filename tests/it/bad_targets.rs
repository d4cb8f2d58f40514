//! Targets of another repository, spoilt markers and wrong keys: a clear error, and nothing is overwritten.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use age::secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

fn target(stack: &Stack, n: usize) -> PathBuf {
    stack.folder.path().join(format!("targets/t{n}"))
}

/// Every file below a folder with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("list") {
        let path = entry.expect("list").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).expect("read"));
        }
    }
    found
}

/// Empties the folder of a target, and puts something else there.
fn replace_target(folder: &Path, marker: &[u8], key: &[u8]) {
    std::fs::remove_dir_all(folder).expect("remove the target");
    std::fs::create_dir_all(folder.join("departments/default/1/chunks")).expect("make the target");
    std::fs::write(folder.join("rollkeeper.json"), marker).expect("write the marker");
    std::fs::write(folder.join("rollkeeper.key"), key).expect("write the key");
    std::fs::write(folder.join("departments/default/1/chunks/ab"), b"somebody's").expect("write an object");
}

async fn restart(stack: &mut Stack) {
    let replica = stack.replica("r1");
    replica.restart();
    let client = replica.client.clone();
    eventually("the replica serves again", Duration::from_mins(1), async || {
        let answer = client.try_send(reqwest::Method::GET, "/readyz", &[], None).await.ok()?;
        answer.status.is_success().then_some(())
    })
    .await;
}

async fn target_seen(stack: &Stack, name: &str, state: &str) -> Value {
    eventually(&format!("{name} is {state}"), Duration::from_mins(1), async || {
        let cluster = stack.client().get("/cluster").await.expect(200).json;
        let targets = cluster["targets"].as_array().expect("have targets");
        targets.iter().find(|target| target["name"] == name && target["state"] == state).cloned()
    })
    .await
}

#[tokio::test]
async fn a_target_that_holds_something_else_is_foreign_and_is_neither_read_nor_written() {
    let mut stack = Stack::start(Settings { targets: 3, ..Settings::default() }).await;
    stack.create_users("default", 20).await;
    stack.backup("default").await;
    let own_marker = std::fs::read(target(&stack, 1).join("rollkeeper.json")).expect("read the marker");
    let own_key = std::fs::read(target(&stack, 1).join("rollkeeper.key")).expect("read the key");
    let other_marker = json!({ "format": 1, "repository_id": "another", "recipients": [] }).to_string().into_bytes();
    let newer: Vec<u8> =
        String::from_utf8(own_marker.clone()).expect("text").replace("\"format\":1", "\"format\":2").into();
    let cases: [(&str, &[u8], &[u8]); 6] = [
        ("another repository", &other_marker, &own_key),
        ("no JSON", b"\x00garbage\xff", &own_key),
        ("an empty marker", b"", &own_key),
        ("a newer format", &newer, &own_key),
        ("a spoilt key", &own_marker, b"garbage"),
        ("an empty key", &own_marker, b""),
    ];
    for (what, marker, key) in cases {
        stack.replica("r1").stop();
        replace_target(&target(&stack, 3), marker, key);
        let before = files(&target(&stack, 3));
        restart(&mut stack).await;
        let seen = target_seen(&stack, "t3", "foreign").await;
        assert_eq!(seen["cause"]["code"], "other_repository", "{what}: {seen}");
        let message = seen["cause"]["message"].as_str().expect("have a message");
        assert!(message.contains("`t3`") && message.contains("rollkeeper."), "{what}: {message}");
        let backup = stack.backup("default").await;
        let copies = backup["copies"].as_array().expect("have copies");
        let copy = copies.iter().find(|copy| copy["target"] == "t3").expect("have a copy of each target");
        assert_eq!(
            (&copy["state"], &copy["cause"]["code"]),
            (&json!("owed"), &json!("other_repository")),
            "{what}: {copy}"
        );
        assert_eq!(files(&target(&stack, 3)), before, "{what}: nothing is overwritten");
    }
}

#[tokio::test]
async fn targets_that_no_database_knows_and_that_disagree_are_left_alone_and_the_reason_is_told() {
    let mut stack = Stack::start(Settings { targets: 2, ..Settings::default() }).await;
    stack.create_users("default", 5).await;
    stack.replica("r1").stop();
    // The database has lost its word on the repository, and one target does not know it either.
    let mongo = mongodb::Client::with_uri_str(&stack.place.mongodb).await.expect("connect to MongoDB");
    let repository = mongo.database(&stack.place.database).collection::<mongodb::bson::Document>("repository");
    repository.delete_many(mongodb::bson::doc! {}).await.expect("delete");
    std::fs::write(target(&stack, 2).join("rollkeeper.json"), b"garbage").expect("spoil the marker");
    let before = (files(&target(&stack, 1)), files(&target(&stack, 2)));
    restart(&mut stack).await;
    let cluster = eventually("the reason is told", Duration::from_mins(1), async || {
        let cluster = stack.client().get("/cluster").await.expect(200).json;
        cluster["repository_cause"].is_object().then_some(cluster)
    })
    .await;
    assert_eq!(cluster["repository_open"], false);
    assert_eq!(cluster["repository_cause"]["code"], "other_repository", "{cluster}");
    assert!(cluster["repository_cause"]["message"].as_str().is_some_and(|text| text.contains("`t2`")), "{cluster}");
    // Users are served, a backup waits and says why.
    assert_eq!(stack.all_users("default").await.len(), 5);
    stack.leader_of("default").await;
    let waiting = stack.client().post("/backups", json!({ "department": "default" })).await.expect(202).json;
    assert_eq!(
        (&waiting["state"], &waiting["cause"]["code"]),
        (&json!("queued"), &json!("other_repository")),
        "{waiting}"
    );
    assert_eq!((files(&target(&stack, 1)), files(&target(&stack, 2))), before);
}

/// Runs `rollkeeper serve` to its end.
fn serve(stack: &Stack, arguments: &[&str]) -> Output {
    let config = stack.folder.path().join("r1.toml");
    let mut command = Command::new("timeout");
    command.arg("60").arg(env!("CARGO_BIN_EXE_rollkeeper")).arg("serve").arg("--config").arg(config).args(arguments);
    command.output().expect("run `rollkeeper serve`")
}

#[tokio::test]
async fn serve_ends_with_two_and_a_sentence_when_the_keys_cannot_work() {
    let mut stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 5).await;
    stack.backup("default").await;
    stack.replica("r1").stop();
    let before = (files(&target(&stack, 1)), files(&target(&stack, 2)));
    let (other, identity) = (age::x25519::Identity::generate(), stack.folder.path().join("identity"));
    let own = std::fs::read_to_string(&identity).expect("read the identity");
    let other_text = other.to_string().expose_secret().to_owned();
    let other_recipient = format!("keys.recipients={}", other.to_public());
    let both = format!("keys.recipients={},{}", stack.place.recipient, other.to_public());
    let cases: [(&str, Option<&str>, &[&str], &str); 7] = [
        ("another identity", Some(&other_text), &[], "keys.recipients"),
        ("another identity and recipient", Some(&other_text), &["--set", &other_recipient], "rollkeeper.key"),
        ("another identity among the recipients", Some(&other_text), &["--set", &both], "rollkeeper.key"),
        ("no identity at all", Some("garbage"), &[], "age-keygen"),
        ("an empty file", Some(""), &[], "identity"),
        ("no file", None, &[], "identity"),
        ("no recipient", Some(&own), &["--set", "keys.recipients=age1nonsense"], "keys.recipients[0]"),
    ];
    for (what, text, arguments, sentence) in cases {
        match text {
            Some(text) => std::fs::write(&identity, text).expect("write the identity"),
            None => std::fs::remove_file(&identity).expect("remove the identity"),
        }
        let ended = serve(&stack, arguments);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{what}: {said}");
        assert!(said.contains(sentence), "{what}: {said}");
        assert!(!said.contains("AGE-SECRET-KEY"), "{what}: {said}");
        assert_eq!((files(&target(&stack, 1)), files(&target(&stack, 2))), before, "{what}: nothing is overwritten");
    }
    std::fs::write(&identity, own).expect("write the identity");
    restart(&mut stack).await;
    assert_eq!(stack.all_users("default").await.len(), 5);
    stack.backup("default").await;
}
