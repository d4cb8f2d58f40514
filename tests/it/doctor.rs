//! `rollkeeper doctor` beside a live service: what is well is said to be so, and each thing that is broken is named with what
//! mends it.

use std::path::PathBuf;
use std::process::Command;

use age::secrecy::ExposeSecret as _;
use mongodb::bson::doc;
use serde_json::Value;
use zookeeper_client::{Acls, Client, CreateMode};

use crate::harness::parts::{admin_of, free_port};
use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;
use crate::harness::vault::Told;
use crate::harness::{Stack, variable};

/// What the doctor found.
#[derive(Debug)]
pub(crate) struct Report {
    code: i32,
    pub(crate) json: Value,
}

impl Report {
    /// What was found of a check.
    pub(crate) fn find(&self, part: &str, check: &str) -> Vec<&Value> {
        let checks = self.json["checks"].as_array().expect("have checks");
        checks.iter().filter(|it| it["part"] == part && it["check"] == check).collect()
    }

    /// Insists on the state of a check, that what was found holds a word, and that there is a remedy for what is not well.
    pub(crate) fn expect(&self, part: &str, check: &str, state: &str, word: &str) {
        let found = self.find(part, check);
        let named = found.iter().any(|it| {
            let remedied = state == "ok" || it["remedy"].as_str().is_some_and(|remedy| remedy.len() > 10);
            it["state"] == state && it["found"].as_str().is_some_and(|text| text.contains(word)) && remedied
        });
        assert!(named, "{part} {check} should be {state} with `{word}`: {:#}", self.json);
    }

    /// What is neither well nor unknown, as `part check`.
    fn troubles(&self) -> Vec<String> {
        let checks = self.json["checks"].as_array().expect("have checks").iter();
        let bad = checks.filter(|it| matches!(it["state"].as_str(), Some("warning" | "failed")));
        bad.map(|it| format!("{} {}", it["part"].as_str().unwrap_or(""), it["check"].as_str().unwrap_or(""))).collect()
    }
}

/// A copy of the first replica's configuration with something in it exchanged.
fn config(stack: &Stack, change: impl Fn(String) -> String) -> PathBuf {
    let text = std::fs::read_to_string(stack.folder.path().join("r1.toml")).expect("read the configuration");
    let changed = change(text.clone());
    let path = stack.folder.path().join("doctor.toml");
    std::fs::write(&path, changed).expect("write a configuration");
    path
}

fn command(stack: &Stack, change: impl Fn(String) -> String) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollkeeper"));
    command.args(["doctor", "--output", "json", "--config"]).arg(config(stack, change));
    command
}

fn run(mut command: Command) -> Report {
    let told: Told = command.output().expect("run the program").into();
    Report { code: told.code, json: told.json() }
}

/// What the doctor finds with a changed copy of the first replica's configuration.
pub(crate) fn doctor(stack: &Stack, change: impl Fn(String) -> String) -> Report {
    run(command(stack, change))
}

async fn live() -> Stack {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    stack.first_slot_done("default").await;
    stack
}

#[tokio::test]
async fn a_healthy_stack_is_well_but_for_open_doors_and_nothing_is_left_behind() {
    let stack = live().await;
    let report = doctor(&stack, |text| text);
    // The test's MongoDB knows no users; everything else has to be well.
    assert_eq!(report.troubles(), ["mongodb rights"], "{:#}", report.json);
    assert_eq!((report.code, &report.json["verdict"]), (4, &"warning".into()));
    for (part, check, word) in [
        ("mongodb", "reachable", "rs0"),
        ("mongodb", "write_concern", "majority"),
        ("mongodb", "transaction_lifetime", "is 5"),
        ("zookeeper", "servers", "standalone"),
        ("zookeeper", "session", "2s"),
        ("zookeeper", "chroot", "is there"),
        ("zookeeper", "rights", "made and deleted"),
        ("zookeeper", "acl", "none of"),
        ("target t1", "read", "read back"),
        ("target t1", "write", "ms"),
        ("target t2", "list", "shows"),
        ("target t2", "delete", "gone"),
        ("target t2", "free_space", "MiB"),
        ("key", "repository", "all that answer"),
        ("key", "identity", "opens"),
        ("clock", "skew", "MongoDB"),
        ("clock", "skew", "ZooKeeper"),
        ("clock", "skew", "target t2"),
    ] {
        report.expect(part, check, "ok", word);
    }
    for target in ["t1", "t2"] {
        let left = stack.folder.path().join("targets").join(target).join("doctor");
        assert!(!left.exists(), "{} was left behind", left.display());
    }
    present_everywhere(&stack, &stack.backup("default").await).await;

    let mut table = Command::new(env!("CARGO_BIN_EXE_rollkeeper"));
    let told: Told =
        table.arg("doctor").arg("--config").arg(config(&stack, |text| text)).output().expect("run it").into();
    assert!(told.out.contains("\ntarget t1\n") && told.out.ends_with("verdict: warning\n"), "{}", told.out);
}

#[tokio::test]
async fn a_broken_target_or_key_is_named_with_its_remedy() {
    let stack = live().await;
    let targets = stack.folder.path().join("targets");
    let marker = targets.join("t2/rollkeeper.json");
    let good = std::fs::read_to_string(&marker).expect("read the marker");
    let mut other: Value = serde_json::from_str(&good).expect("be JSON");
    other["repository_id"] = "another".into();
    std::fs::write(&marker, other.to_string()).expect("exchange the marker");
    doctor(&stack, |text| text).expect("key", "repository", "failed", "target t2");
    std::fs::write(&marker, good).expect("mend the marker");

    std::fs::write(targets.join("t2/doctor"), "in the way").expect("write a file");
    let report = doctor(&stack, |text| text);
    report.expect("target t2", "write", "failed", "t2");
    assert_eq!(report.code, 1);
    std::fs::remove_file(targets.join("t2/doctor")).expect("remove the file");

    let identity = age::x25519::Identity::generate();
    let (file, ours) = (stack.folder.path().join("another-identity"), stack.place.recipient.clone());
    std::fs::write(&file, identity.to_string().expose_secret()).expect("write an identity");
    let report = doctor(&stack, |text| {
        let text = text.replace(&ours, &identity.to_public().to_string());
        text.replace("/identity\"", "/another-identity\"")
    });
    report.expect("key", "identity", "failed", "MongoDB");
    report.expect("key", "recipients", "warning", "target t1");
    assert!(!report.json.to_string().contains("AGE-SECRET-KEY"), "the identity is in the report");

    std::fs::rename(targets.join("t2"), targets.join("away")).expect("take the target away");
    let report = doctor(&stack, |text| text);
    report.expect("target t2", "reachable", "failed", "not there");
    assert!(!targets.join("t2").exists(), "a directory was made where a disk is missing");
    assert_eq!(report.code, 1);
    std::fs::rename(targets.join("away"), targets.join("t2")).expect("bring it back");
}

#[tokio::test]
async fn a_broken_zookeeper_is_named_with_its_remedy() {
    let stack = live().await;
    let (chroot, connect) = (stack.place.chroot.clone(), stack.place.zookeeper.clone());
    let report = doctor(&stack, |text| text.replace(&chroot, "/nobody-made-this"));
    report.expect("zookeeper", "chroot", "failed", "/nobody-made-this");
    assert!(report.find("zookeeper", "chroot")[0]["remedy"].as_str().expect("have one").contains("migrate"));

    std::fs::write(stack.folder.path().join("another-auth"), "rollkeeper:of another service").expect("write a file");
    let report = doctor(&stack, |text| text.replace("/zookeeper-auth\"", "/another-auth\""));
    report.expect("zookeeper", "rights", "failed", "no node can be made");

    let auth = std::fs::read_to_string(stack.folder.path().join("zookeeper-auth")).expect("read it");
    let client =
        Client::connector().with_auth("digest", auth.trim().as_bytes()).connect(&connect).await.expect("connect");
    let open = format!("{chroot}/open-door");
    client.create(&open, b"", &CreateMode::Persistent.with_acls(Acls::anyone_all())).await.expect("make a node");
    let report = doctor(&stack, |text| text);
    report.expect("zookeeper", "acl", "failed", "open-door");
    assert_eq!(report.code, 1);
    client.delete(&open, None).await.expect("delete the node");

    let report = doctor(&stack, |text| text.replace("session_timeout = \"2s\"", "session_timeout = \"30s\""));
    report.expect("zookeeper", "session", "warning", "granted");

    let nobody = format!("127.0.0.1:{}", free_port());
    let report =
        doctor(&stack, |text| text.replace(&format!("connect = \"{connect}\""), &format!("connect = \"{nobody}\"")));
    report.expect("zookeeper", "servers", "failed", &nobody);
    assert_eq!(report.code, 3);
    let half = format!("connect = \"{connect},{nobody}\"");
    let report = doctor(&stack, |text| text.replace(&format!("connect = \"{connect}\""), &half));
    report.expect("zookeeper", "servers", "warning", &nobody);
}

#[tokio::test]
async fn a_broken_mongodb_or_clock_is_named_with_its_remedy() {
    let stack = live().await;
    let admin = admin_of(stack.mongod.as_ref().expect("have one")).await;
    admin.run_command(doc! { "setParameter": 1, "transactionLifetimeLimitSeconds": 60 }).await.expect("set it");
    let report = doctor(&stack, |text| text);
    report.expect("mongodb", "transaction_lifetime", "warning", "60");

    let mut late = command(&stack, |text| text);
    late.env("LD_PRELOAD", variable("ROLLKEEPER_TEST_FAKETIME"));
    late.env("FAKETIME", "-90s").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let report = run(late);
    report.expect("clock", "skew", "failed", "MongoDB is");
    report.expect("clock", "skew", "failed", "ahead of this machine");

    let nobody = format!("127.0.0.1:{}", free_port());
    let mongod = stack.mongod.as_ref().expect("have one").address();
    let report = doctor(&stack, |text| text.replace(&mongod, &nobody));
    report.expect("mongodb", "reachable", "failed", "does not answer");
    report.expect("target t1", "write", "ok", "ms");
    assert_eq!(report.code, 3);

    let mut wrong = Command::new(env!("CARGO_BIN_EXE_rollkeeper"));
    wrong.args(["doctor", "--config"]).arg(config(&stack, |text| text.replace("session_timeout", "session_timeouts")));
    let told: Told = wrong.output().expect("run it").into();
    assert!(told.expect(2).err.contains("session_timeouts"));
}
