//! Retention on real parts: what the plan drops leaves the list and the targets, what it keeps can still be read, whoever
//! dies and whatever is away meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;
use crate::harness::{Stack, eventually};

/// Settings of a stack that prunes within seconds.
pub(crate) fn pruning() -> Settings {
    let backup =
        ", prune_every = \"1s\", prune_grace = \"1s\", journal_every = \"100ms\", idle_head_every = \"1s\"".to_owned();
    Settings { chunk_records: 16, backup, ..Settings::default() }
}

/// A retention policy that keeps only what is named here, and nothing by its age.
fn only(keep: &Value) -> Value {
    let mut policy = json!({
        "keep_within": "1s", "keep_last": 0, "keep_hourly": 0, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0,
        "keep_yearly": 0,
    });
    for (key, value) in keep.as_object().expect("be an object") {
        policy[key] = value.clone();
    }
    json!({ "policy": { "retention": policy } })
}

pub(crate) fn id(backup: &Value) -> String {
    backup["id"].as_str().expect("have an id").to_owned()
}

/// Every complete backup of the default department by id, newest first.
async fn listed(stack: &Stack) -> Vec<String> {
    let list = stack.client().get("/backups?department=default&limit=1000").await.expect(200).json;
    list["items"].as_array().expect("have items").iter().map(id).collect()
}

/// The objects on one target, as paths below it.
pub(crate) fn objects(stack: &Stack, target: &str) -> BTreeSet<String> {
    let root = stack.folder.path().join("targets").join(target);
    let (mut found, mut open) = (BTreeSet::new(), vec![root.clone()]);
    while let Some(next) = open.pop() {
        let Ok(entries) = std::fs::read_dir(next) else { continue };
        for entry in entries.flatten() {
            let path: PathBuf = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if !is_unfinished(&path) {
                found.insert(path.strip_prefix(&root).expect("lie below it").display().to_string());
            }
        }
    }
    found
}

/// What a killed writer has left of an object that it never gave its name.
fn is_unfinished(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.contains('#'))
}

fn told(objects: &BTreeSet<String>, backup: &str) -> usize {
    objects.iter().filter(|path| path.contains(&format!("/backups/{backup}/"))).count()
}

/// Renames one user, so that the next backup is another one.
async fn change(stack: &Stack, n: usize) {
    let user = json!({ "name": format!("Renamed {n}") });
    stack.client().patch(&format!("/users/default-{:05}", n % 40), user).await.expect(200);
}

pub(crate) async fn backups(stack: &Stack, count: usize) -> Vec<Value> {
    let mut made = Vec::new();
    for n in 0..count {
        change(stack, n).await;
        let backup = stack.backup("default").await;
        made.push(present_everywhere(stack, &backup).await);
    }
    made
}

pub(crate) async fn set_policy(stack: &Stack, keep: Value) {
    stack.client().put("/departments/default", only(&keep)).await.expect(200);
}

async fn plan(stack: &Stack) -> Value {
    stack.client().get("/departments/default/retention?limit=1000").await.expect(200).json
}

/// Waits until a backup is deleted.
pub(crate) async fn deleted(stack: &Stack, backup: &str) {
    eventually(&format!("{backup} is deleted"), Duration::from_secs(30), async || {
        let now = stack.client().get(&format!("/backups/{backup}")).await.expect(200).json;
        (now["state"] == "deleted").then_some(())
    })
    .await;
}

/// Waits until no target holds a word on a backup.
pub(crate) async fn forgotten(stack: &Stack, backups: &[String]) {
    let left = || {
        let all = ["t1", "t2"].into_iter().flat_map(|target| objects(stack, target));
        all.filter(|path| backups.iter().any(|id| path.contains(&format!("/backups/{id}/")))).collect::<Vec<_>>()
    };
    let mut last = Vec::new();
    eventually("no target tells of what was dropped", Duration::from_mins(1), async || {
        let now = left();
        if now != last {
            eprintln!("left: {now:?}");
            last.clone_from(&now);
        }
        now.is_empty().then_some(())
    })
    .await;
}

pub(crate) async fn verified(stack: &Stack, backup: &str) {
    let answer = stack.client().send(Method::POST, &format!("/backups/{backup}/verify"), &[], None).await.expect(200);
    assert_eq!(answer.json["whole"], true, "{}", answer.text);
}

#[tokio::test]
async fn what_the_plan_drops_leaves_the_list_and_every_target_and_what_it_keeps_can_be_restored() {
    let stack = Stack::start(pruning()).await;
    stack.first_slot_done("default").await;
    stack.create_users("default", 200).await;
    let made = backups(&stack, 5).await;
    let shown = plan(&stack).await;
    assert_eq!((&shown["dropped"], shown["items"].as_array().map(Vec::len)), (&json!(0), Some(6)), "{shown}");
    let before = objects(&stack, "t1");

    set_policy(&stack, json!({ "keep_last": 2 })).await;
    for backup in &made[..3] {
        deleted(&stack, &id(backup)).await;
    }
    let kept: Vec<String> = made[3..].iter().rev().map(id).collect();
    eventually("the list is what the plan keeps", Duration::from_secs(30), async || {
        (listed(&stack).await == kept).then_some(())
    })
    .await;
    let gone: Vec<String> = made[..3].iter().map(id).collect();
    forgotten(&stack, &gone).await;
    let after = objects(&stack, "t1");
    assert_eq!(after, objects(&stack, "t2"));
    let snapshot = |backup: &Value| backup["snapshot"].as_str().expect("have a snapshot").to_owned();
    assert!(!after.contains(&snapshot(&made[0])) && before.contains(&snapshot(&made[0])), "{after:?}");
    assert!(after.contains(&snapshot(&made[3])), "{after:?}");
    let chunks =
        |objects: &BTreeSet<String>| objects.iter().filter(|path| path.contains("/chunks/")).cloned().collect();
    let (old, new): (BTreeSet<String>, BTreeSet<String>) = (chunks(&before), chunks(&after));
    assert!(new.len() < old.len() && !new.is_disjoint(&old), "chunks that both share stay: {old:?} {new:?}");

    for backup in &kept {
        verified(&stack, backup).await;
    }
    let wanted = stack.records_of_backup(&made[3]).await;
    change(&stack, 7).await;
    stack.restored(&made[3], json!({ "mode": "exact", "credentials": "restore", "locked": "restore" })).await;
    crate::harness::records::assert_same_content(&wanted, &stack.records("default").await);
    let refused = stack.client().post("/restores", json!({ "from": { "backup_id": gone[0] } })).await;
    refused.expect_field("/from/backup_id", "backup_not_complete");
}

#[tokio::test]
async fn a_held_backup_stays_until_it_is_released_and_every_target_hears_of_both() {
    let stack = Stack::start(pruning()).await;
    stack.first_slot_done("default").await;
    stack.create_users("default", 40).await;
    let made = backups(&stack, 3).await;
    let path = format!("/backups/{}", id(&made[0]));
    let held = stack.client().send(Method::POST, &format!("{path}/hold"), &[], None).await.expect(200).json;
    assert_eq!(held["held"]["by"], "bootstrap", "{held}");
    set_policy(&stack, json!({ "keep_last": 1 })).await;
    deleted(&stack, &id(&made[1])).await;
    forgotten(&stack, &[id(&made[1])]).await;
    stack.client().delete(&path).await.expect_problem(409, "backup_held");
    let shown = plan(&stack).await;
    let decision =
        shown["items"].as_array().expect("have items").iter().find(|item| item["backup_id"] == made[0]["id"]);
    assert_eq!(decision.map(|decision| &decision["reasons"]), Some(&json!(["held"])), "{shown}");
    verified(&stack, &id(&made[0])).await;
    eventually("both targets hear of the hold", Duration::from_secs(30), async || {
        ["t1", "t2"].iter().all(|target| told(&objects(&stack, target), &id(&made[0])) >= 2).then_some(())
    })
    .await;
    stack.client().send(Method::POST, &format!("{path}/release"), &[], None).await.expect(200);
    deleted(&stack, &id(&made[0])).await;
    forgotten(&stack, &[id(&made[0])]).await;
}

#[tokio::test]
async fn a_backup_is_deleted_on_request_unless_something_needs_it() {
    let stack = Stack::start(Settings { backup: pruning().backup, ..pruning() }).await;
    stack.first_slot_done("default").await;
    stack.create_users("default", 40).await;
    let made = backups(&stack, 3).await;
    let path = |backup: &Value| format!("/backups/{}", id(backup));
    let client = stack.client();
    client.delete(&path(&made[2])).await.expect_problem(409, "newest_backup");
    client.delete("/backups/0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f").await.expect_problem(404, "not_found");
    let planned = stack.plan(json!({ "from": { "backup_id": made[0]["id"] } })).await;
    let refused = client.delete(&path(&made[0])).await;
    refused.expect_problem(409, "backup_pinned");
    let restore = planned.location.trim_start_matches("/restores/");
    assert!(refused.json["detail"].as_str().is_some_and(|detail| detail.contains(restore)), "{}", refused.text);
    stack.cancel(&planned.location).await.expect(202);
    stack.ended(&planned.location, "cancelled").await;

    let accepted = client.delete(&path(&made[0])).await.expect(202);
    assert_eq!(accepted.header("location"), path(&made[0]));
    deleted(&stack, &id(&made[0])).await;
    client.delete(&path(&made[0])).await.expect(204);
    client
        .send(Method::POST, &format!("{}/hold", path(&made[0])), &[], None)
        .await
        .expect_problem(409, "backup_deleted");
    forgotten(&stack, &[id(&made[0])]).await;
    verified(&stack, &id(&made[1])).await;
}

#[tokio::test]
async fn a_target_that_was_away_gets_its_deletions_when_it_is_back_and_delays_no_other() {
    let stack = Stack::start(Settings { targets: 3, ..pruning() }).await;
    stack.first_slot_done("default").await;
    stack.create_users("default", 40).await;
    let made = backups(&stack, 3).await;
    let targets = stack.folder.path().join("targets");
    std::fs::rename(targets.join("t3"), targets.join("away")).expect("hide the target");
    set_policy(&stack, json!({ "keep_last": 1 })).await;
    let gone: Vec<String> = made[..2].iter().map(id).collect();
    for backup in &gone {
        deleted(&stack, backup).await;
    }
    forgotten(&stack, &gone).await;
    assert!(gone.iter().all(|backup| told(&objects(&stack, "away"), backup) > 0));
    std::fs::rename(targets.join("away"), targets.join("t3")).expect("bring the target back");
    eventually("the target deletes what it was told to", Duration::from_mins(1), async || {
        (objects(&stack, "t3") == objects(&stack, "t1")).then_some(())
    })
    .await;
    verified(&stack, &id(&made[2])).await;
}

#[tokio::test]
async fn a_planted_object_is_never_believed_and_goes_as_an_orphan_after_the_grace_period() {
    let grace =
        ", prune_every = \"1s\", prune_grace = \"4s\", journal_every = \"100ms\", idle_head_every = \"1s\"".to_owned();
    let stack = Stack::start(Settings { backup: grace, ..pruning() }).await;
    stack.first_slot_done("default").await;
    stack.create_users("default", 40).await;
    let made = backups(&stack, 1).await;
    let root = stack.folder.path().join("targets/t1/departments/default/1");
    let planted = [
        "chunks/planted",
        "snapshots/00000000000000000001-ab.snap",
        "backups/0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f/1-ab",
    ];
    for name in planted {
        plant(&root.join(name));
    }
    let left = root.join("chunks/unfinished#1");
    plant(&left);
    let days_ago = std::time::UNIX_EPOCH + Duration::from_hours(24);
    std::fs::File::open(&left).and_then(|file| file.set_modified(days_ago)).expect("make it old");
    let there = || planted.iter().filter(|name| root.join(name).exists()).count();
    stack.backup("default").await;
    assert_eq!(there(), planted.len(), "nothing goes before the grace period");
    stack.client().get("/backups/0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f").await.expect_problem(404, "not_found");
    eventually("what was planted is gone", Duration::from_mins(1), async || (there() == 0).then_some(())).await;
    assert!(!left.exists(), "so is what a killed writer left a long time ago");
    verified(&stack, &id(&made[0])).await;
}

fn plant(path: &Path) {
    std::fs::create_dir_all(path.parent().expect("lie in a folder")).expect("make the folder");
    std::fs::write(path, b"planted").expect("plant an object");
}

#[tokio::test]
async fn leaders_that_are_killed_in_the_middle_of_a_prune_lose_nothing_that_is_kept() {
    let mut stack = Stack::start(Settings { replicas: 3, ..pruning() }).await;
    stack.first_slot_done("default").await;
    stack.create_users("default", 200).await;
    let mut made = Vec::new();
    set_policy(&stack, json!({ "keep_last": 100 })).await;
    for round in 0..2 {
        made.extend(backups(&stack, 4).await);
        let wanted = stack.records_of_backup(made.last().expect("have one")).await;
        let leader = stack.leader_of("default").await["replica"].as_str().expect("have an id").to_owned();
        set_policy(&stack, json!({ "keep_last": 2 })).await;
        // The backups are dropped; their words and objects are still to go.
        deleted(&stack, &id(&made[made.len() - 3])).await;
        stack.crash(&leader);
        let gone: Vec<String> = made[..made.len() - 2].iter().map(id).collect();
        forgotten(&stack, &gone).await;
        eventually("both targets hold the same", Duration::from_secs(30), async || {
            (objects(&stack, "t1") == objects(&stack, "t2")).then_some(())
        })
        .await;
        let kept: Vec<String> = made[made.len() - 2..].iter().rev().map(id).collect();
        assert_eq!(listed(&stack).await, kept, "round {round}");
        for backup in &kept {
            verified(&stack, backup).await;
        }
        assert_eq!(stack.records_of_backup(made.last().expect("have one")).await, wanted);
        set_policy(&stack, json!({ "keep_last": 100 })).await;
    }
    change(&stack, 9).await;
    let newest = made.last().expect("have one").clone();
    stack.restored(&newest, json!({ "mode": "exact", "credentials": "restore", "locked": "restore" })).await;
    let wanted = stack.records_of_backup(&newest).await;
    crate::harness::records::assert_same_content(&wanted, &stack.records("default").await);
}
