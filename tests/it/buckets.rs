//! Targets that are buckets of a real S3 server: backups, restores, recovery, and a start while something is wrong.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::buckets::{Bucket, WRONG_KEYS};
use crate::harness::records::assert_same_content;
use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;
use crate::harness::vault::Told;
use crate::harness::{Stack, eventually};

const WITHIN: Duration = Duration::from_mins(1);

/// What a replica says of one of its targets.
pub(crate) async fn target_shown(stack: &Stack, name: &str) -> Value {
    let cluster = stack.client().get("/cluster").await.expect(200).json;
    let targets = cluster["targets"].as_array().expect("have targets");
    targets.iter().find(|target| target["name"] == name).expect("have the target").clone()
}

/// Runs `rollkeeper vault` with nothing but a configuration of one target and the key.
fn vault(stack: &Stack, target: &str, arguments: &[&str]) -> Told {
    let folder = stack.folder.path();
    std::fs::write(folder.join("vault.toml"), format!("[keys]\nidentity_file = \"identity\"\n[targets]\n{target}"))
        .expect("write a configuration");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollkeeper"));
    command.args(["--config", "vault.toml", "vault"]).args(arguments).current_dir(folder);
    command.output().expect("run the program").into()
}

#[tokio::test]
async fn backups_and_restores_go_through_two_buckets_and_a_directory() {
    let (east, west) = (Bucket::make().await, Bucket::make().await);
    let more_targets = east.target("east") + &west.target("west");
    let stack = Stack::start(Settings { targets: 1, more_targets, chunk_records: 16, ..Settings::default() }).await;
    stack.create_users("default", 300).await;
    let backup = present_everywhere(&stack, &stack.backup("default").await).await;
    let before = stack.records("default").await;
    assert_eq!(backup["copies"].as_array().map(Vec::len), Some(3), "{backup}");
    for bucket in [&east, &west] {
        let paths = bucket.paths().await;
        let snapshot = format!("rolls/{}", backup["snapshot"].as_str().expect("have a snapshot"));
        assert!(paths.contains(&snapshot) && paths.iter().all(|path| path.starts_with("rolls/")), "{paths:?}");
    }

    for n in (0..300).step_by(3) {
        stack.delete(&format!("default-{n:05}")).await;
    }
    // What is read now is in the buckets only.
    let directory = stack.folder.path().join("targets/t1");
    std::fs::rename(&directory, directory.with_extension("away")).expect("take the directory away");
    std::fs::write(&directory, "").expect("stand in its place");
    let body = json!({ "from": { "backup_id": backup["id"] }, "mode": "exact",
        "credentials": "restore", "locked": "restore", "apply": true });
    let job = stack.restore(body).await;
    stack.ended(job.header("location"), "complete").await;
    assert_same_content(&before, &stack.records("default").await);
    assert_eq!(target_shown(&stack, "t1").await["state"], "down");
    for name in ["east", "west"] {
        assert_eq!(target_shown(&stack, name).await["state"], "ok");
    }
}

#[tokio::test]
async fn a_damaged_object_in_a_bucket_is_mended_and_what_nothing_refers_to_is_deleted_there() {
    let bucket = Bucket::make().await;
    let backup =
        ", prune_every = \"1s\", prune_grace = \"1s\", scrub_every = \"1s\", look_every = \"500ms\"".to_owned();
    let settings =
        Settings { targets: 1, more_targets: bucket.target("east"), chunk_records: 16, backup, ..Settings::default() };
    let stack = Stack::start(settings).await;
    stack.create_users("default", 100).await;
    let backup = present_everywhere(&stack, &stack.backup("default").await).await;
    let held = bucket.paths().await;

    let path = format!("rolls/{}", backup["snapshot"].as_str().expect("have a snapshot"));
    let orphan = format!("rolls/departments/default/1/chunks/{}", "0".repeat(64));
    bucket.put(&path, "damaged").await;
    bucket.put(&orphan, "left behind").await;
    eventually("the manifest is mended", WITHIN, async || (bucket.get(&path).await != "damaged").then_some(())).await;
    eventually("what nothing refers to is gone", WITHIN, async || {
        (!bucket.paths().await.contains(&orphan)).then_some(())
    })
    .await;
    let now = bucket.paths().await;
    let kept = held.iter().filter(|path| path.contains("/chunks/") || path.contains("/snapshots/"));
    assert!(kept.clone().count() > 1 && kept.clone().all(|path| now.contains(path)), "{held:?}\n{now:?}");
}

#[tokio::test]
async fn everything_comes_back_from_one_bucket_and_the_key() {
    let bucket = Bucket::make().await;
    let settings =
        Settings { targets: 1, more_targets: bucket.target("east"), chunk_records: 16, ..Settings::default() };
    let mut stack = Stack::start(settings).await;
    stack.create_users("default", 100).await;
    present_everywhere(&stack, &stack.backup("default").await).await;
    stack.delete("default-00007").await;
    eventually("the bucket holds the journal", WITHIN, async || {
        let receipt = stack.client().post("/departments/default/sync", json!({})).await;
        let copies = receipt.json["copies"].as_array().cloned().unwrap_or_default();
        let level = copies.iter().any(|copy| copy["target"] == "east" && copy["through"] == receipt.json["sequence"]);
        (receipt.status == 200 && level).then_some(())
    })
    .await;
    let records = stack.records("default").await;
    for mut replica in stack.replicas.drain(..) {
        replica.stop();
    }
    std::fs::remove_dir_all(stack.folder.path().join("targets")).expect("lose the directory");
    let database = stack.move_on();

    let target = bucket.target("east");
    vault(&stack, &target, &["verify"]).expect(0);
    let listed = vault(&stack, &target, &["ls", "--output", "json"]).expect(0).json();
    assert!(listed.to_string().contains("default"), "{listed}");
    let into = ["restore", "--mongodb-uri-file", "mongodb-uri", "--database", database.as_str()];
    vault(&stack, &target, &into).expect(0);
    assert_eq!(stack.records("default").await, records, "exact, rev and times too");

    bucket.give_keys(WRONG_KEYS);
    let refused = vault(&stack, &target, &["ls"]).expect(3);
    assert!(refused.err.contains("refuses the credentials"), "{}", refused.err);
    let contradictory = format!("{target}account = \"x\"\n");
    let refused = vault(&stack, &contradictory, &["ls"]).expect(2);
    assert!(refused.err.contains("account"), "{}", refused.err);
}

#[tokio::test]
async fn a_replica_starts_while_a_bucket_cannot_be_used_and_says_why_and_what_to_do() {
    let (missing, closed) = (Bucket::unmade(), Bucket::make().await);
    closed.give_keys(WRONG_KEYS);
    let more_targets = missing.target("missing") + &closed.target("closed");
    let stack = Stack::start(Settings { targets: 1, more_targets, ..Settings::default() }).await;
    for (name, words) in [("missing", "is not there; make it"), ("closed", "refuses the credentials")] {
        let shown = eventually("the target says why", WITHIN, async || {
            let shown = target_shown(&stack, name).await;
            (shown["state"] != "ok").then_some(shown)
        })
        .await;
        let message = shown["cause"]["message"].as_str().expect("have a cause");
        assert!(shown["state"] == "down" && message.contains(words) && !message.contains("knows-this"), "{shown}");
    }
    stack.create_users("default", 20).await;

    missing.make_again().await;
    closed.give_right_keys();
    eventually("the repository is open", WITHIN, async || {
        let cluster = stack.client().get("/cluster").await.expect(200).json;
        (cluster["repository_open"] == true).then_some(())
    })
    .await;
    present_everywhere(&stack, &stack.backup("default").await).await;
    for name in ["missing", "closed"] {
        assert_eq!(target_shown(&stack, name).await["state"], "ok");
    }
}
