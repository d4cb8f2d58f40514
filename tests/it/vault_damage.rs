//! What is damaged, missing, planted or of somebody else on a target: the vault names it and never takes it for whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rollkeeper::backup::Repository;
use rollkeeper::backup::chain::change_line;
use rollkeeper::backup::segment::Segment;
use rollkeeper::domain::clock::Timestamp;
use rollkeeper::domain::epoch::Epoch;
use rollkeeper::domain::history::{Chain, Change, Sequence, Source, Timeline};
use rollkeeper::targets::layout::ObjectPath;
use serde_json::{Value, json};

use crate::harness::objects::{Damage, Object, chunks, forged};
use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;
use crate::harness::{Stack, eventually};

const TARGETS: usize = 2;

fn settings() -> Settings {
    Settings { targets: TARGETS, chunk_records: 16, ..Settings::default() }
}

/// Three segments of ten changes each on both targets, and nobody who could mend them.
async fn three_segments() -> (Stack, Vec<String>) {
    let mut stack = Stack::start(settings()).await;
    stack.first_slot_done("default").await;
    for round in 0..3 {
        for n in 0..10 {
            stack.create("default", &format!("u-{round}{n}"), &format!("User {round}{n}")).await;
        }
        eventually("both targets hold the journal", Duration::from_mins(1), async || {
            let receipt = stack.client().post("/departments/default/sync", json!({})).await;
            let copies = receipt.json["copies"].as_array().cloned().unwrap_or_default();
            let level = copies.iter().filter(|copy| copy["through"] == receipt.json["sequence"]).count();
            (receipt.status == 200 && level == TARGETS).then_some(())
        })
        .await;
    }
    for mut replica in stack.replicas.drain(..) {
        replica.stop();
    }
    let segments = names(&stack.folder.path().join("targets/t1/departments/default/1/journal"));
    (stack, segments.into_iter().map(|name| format!("departments/default/1/journal/{name}")).collect())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("list a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("list").file_name().into_string().expect("be text")).collect();
    names.sort();
    names
}

fn range(path: &str) -> (i64, i64) {
    let (first, last) = ObjectPath::from_stored(path.to_owned()).segment_range().expect("be a segment");
    (first.0, last.0)
}

fn file(stack: &Stack, path: &str) -> PathBuf {
    stack.folder.path().join("targets/t1").join(path)
}

fn put(stack: &Stack, path: &str, bytes: &[u8]) {
    let file = file(stack, path);
    std::fs::create_dir_all(file.parent().expect("have a folder")).expect("make the folder");
    std::fs::write(file, bytes).expect("plant an object");
}

/// What `verify` says of one target: exit code, and what is damaged.
fn verified(stack: &Stack, targets: &[&str]) -> (i32, Vec<Value>) {
    let told = stack.vault(targets, &["verify", "--output", "json"]);
    let json = told.json();
    let departments = json["targets"][0]["departments"].as_array().expect("have departments").clone();
    let damage = departments.iter().flat_map(|of| of["damage"].as_array().expect("have a list").clone()).collect();
    (told.code, damage)
}

fn newest(stack: &Stack, targets: &[&str]) -> i64 {
    let seen = stack.vault_json(targets, &["ls"]);
    seen["departments"][0]["newest"]["sequence"].as_i64().unwrap_or_else(|| panic!("{seen}"))
}

fn printed(stack: &Stack, targets: &[&str]) -> usize {
    stack.vault(targets, &["cat", "--department", "default"]).expect(0).out.lines().count()
}

#[tokio::test]
async fn a_bad_segment_is_named_and_what_lies_beyond_it_is_not_believed() {
    let (mut stack, segments) = three_segments().await;
    assert!(segments.len() >= 3, "{segments:?}");
    let bad = Object::at(&stack, TARGETS, &segments[1]);
    let other = Object::at(&stack, TARGETS, &segments[2]);
    let (first, last) = range(&segments[1]);
    assert_eq!(verified(&stack, &["t1"]), (0, Vec::new()));
    stack.move_on();
    for kind in Damage::ALL {
        bad.damage(0, kind, &other, &stack.place.recipient);
        let (code, damage) = verified(&stack, &["t1", "t2"]);
        assert_eq!(code, 1, "{kind:?}");
        let named = damage.iter().any(|damage| damage["object"] == bad.path());
        assert_eq!(named, kind != Damage::Deleted, "{kind:?}: {damage:?}");
        let hole = format!("the changes {first} to {last}");
        assert!(damage.iter().any(|of| of["reason"].as_str().expect("text").contains(&hole)), "{kind:?}: {damage:?}");
        assert!(damage.iter().all(|of| of["whole_on"] == json!(["t2"])), "{kind:?}: {damage:?}");
        assert_eq!(newest(&stack, &["t1"]), first - 1, "{kind:?}");
        let cat = stack.vault(&["t1"], &["cat", "--department", "default"]).expect(0);
        assert_eq!(i64::try_from(cat.out.lines().count()).expect("fit"), first - 1, "{kind:?}");
        assert!(cat.err.contains("leads only to"), "{kind:?}: {}", cat.err);
        let refused = stack.vault_restore(&["t1"], &[]).expect(1);
        assert!(refused.err.contains("--accept-loss") && refused.err.contains("another target"), "{}", refused.err);
        assert_eq!((newest(&stack, &["t1", "t2"]), printed(&stack, &["t1", "t2"])), (30, 30), "{kind:?}");
        bad.mend();
    }
    assert_eq!(verified(&stack, &["t1"]), (0, Vec::new()));
}

#[tokio::test]
async fn a_segment_of_another_place_repository_or_history_changes_nothing_and_is_named() {
    let (stack, segments) = three_segments().await;
    let sealed = std::fs::read(file(&stack, &segments[1])).expect("read a segment");
    let hash = ObjectPath::from_stored(segments[1].clone()).hash().to_owned();
    let (first, last) = range(&segments[1]);
    let path = |department: &str, timeline: i64, first: i64, last: i64, hash: &str| {
        let department = department.parse().expect("be a name");
        ObjectPath::segment(&department, Timeline(timeline), Sequence(first), Sequence(last), hash).to_string()
    };
    let identity = std::fs::read_to_string(stack.folder.path().join("identity")).expect("read the identity");
    let foreign =
        Repository::from_secret("other", [9; 32], std::slice::from_ref(&stack.place.recipient), &identity.into());
    let (foreign_path, foreign) =
        foreign.expect("make it").seal_segment(&line(&stack, 31, Chain([7; 32]), 9)).expect("seal");
    let (_, own) = stack.repository().seal_segment(&line(&stack, 31, Chain([7; 32]), 9)).expect("seal");
    let own_hash = blake3::hash(&own).to_hex();
    let forgery = forged(&stack.place.recipient, "{\"format\":1}\n");
    for (what, path, bytes) in [
        ("of another timeline", path("default", 2, first, last, &hash), &sealed[..]),
        ("under another range", path("default", 1, 31, 31 + last - first, &hash), &sealed),
        ("a second time under another name", path("default", 1, first, last, &"0".repeat(64)), &sealed),
        ("of another repository", foreign_path.to_string(), &foreign),
        ("that continues no chain", path("default", 1, 31, 32, &own_hash), &own),
        ("forged", path("default", 1, 31, 32, &blake3::hash(&forgery).to_hex()), &forgery),
        ("that is no object at all", "departments/default/1/journal/hello/world".to_owned(), b"hello"),
    ] {
        put(&stack, &path, bytes);
        let (code, damage) = verified(&stack, &["t1"]);
        let folder = path.rsplit_once('/').expect("lie in a folder").0;
        let named = damage.iter().any(|damage| damage["object"] == path || damage["object"] == folder);
        assert!(code == 1 && named, "{what}: {damage:?}");
        assert_eq!((newest(&stack, &["t1"]), printed(&stack, &["t1"])), (30, 30), "{what}");
        std::fs::remove_file(file(&stack, &path)).expect("take it away");
    }
    std::fs::remove_dir(file(&stack, "departments/default/1/journal/hello")).expect("take it away");
    put(&stack, &path("eng", 1, first, last, &hash), &sealed);
    let (_, damage) = verified(&stack, &["t1"]);
    assert!(damage.iter().any(|of| of["reason"].as_str().is_some_and(|text| text.contains("MAC"))), "{damage:?}");
}

/// Two changes after a point, by somebody who knows the secret.
fn line(stack: &Stack, first: i64, before: Chain, epoch: i64) -> Segment {
    let (repository, mut lines, mut after) = (stack.repository(), Vec::new(), before);
    let through = Timestamp::from_millis(4_000_000_000_000);
    for n in [first, first + 1] {
        let line =
            change_line(Sequence(n), through, &Change::Delete(format!("u-0{}", n % 10).parse().expect("be an id")));
        after = repository.chain_after(&after, &line);
        lines.extend_from_slice(&line);
        lines.push(b'\n');
    }
    Segment {
        department: "default".parse().expect("be a name"),
        timeline: Timeline(1),
        first: Sequence(first),
        last: Sequence(first + 1),
        before,
        after,
        through,
        epoch: Epoch(epoch),
        source: Source { replica_set_id: "clone".to_owned(), users_uuid: "clone".to_owned() },
        lines,
    }
}

#[tokio::test]
async fn where_two_histories_compete_the_higher_epoch_wins_and_the_other_is_named() {
    let (stack, segments) = three_segments().await;
    let parts = range(&segments[0]).1;
    let repository = stack.repository();
    let sealed = std::fs::read(file(&stack, &segments[0])).expect("read a segment");
    let department = "default".parse().expect("be a name");
    let at = ObjectPath::from_stored(segments[0].clone());
    let opened = repository.open_segment(&department, Timeline(1), &at, &sealed).expect("open a segment");
    let chain = opened.changes.last().expect("have changes").1;
    for (epoch, sequence) in [(0, 30), (99, parts + 2)] {
        let (path, sealed) = repository.seal_segment(&line(&stack, parts + 1, chain, epoch)).expect("seal");
        put(&stack, path.as_str(), &sealed);
        let seen = stack.vault_json(&["t1"], &["ls"]);
        let damage = seen["departments"][0]["damage"].as_array().expect("have a list").clone();
        let losers = damage.iter().filter(|of| of["reason"].as_str().is_some_and(|text| text.contains("parts from")));
        let losers: Vec<&str> = losers.map(|of| of["object"].as_str().expect("be text")).collect();
        assert_eq!(losers.contains(&path.as_str()), epoch == 0, "{seen}");
        assert_eq!(newest(&stack, &["t1"]), sequence, "{seen}");
        let records = if epoch == 0 { 30 } else { usize::try_from(parts).expect("fit") - 2 };
        assert_eq!(printed(&stack, &["t1"]), records, "{seen}");
        std::fs::remove_file(file(&stack, path.as_str())).expect("take it away");
    }
}

#[tokio::test]
async fn a_backup_without_all_that_it_needs_is_never_listed_as_complete() {
    let stack = Stack::start(Settings { backup_every: "10s".to_owned(), ..settings() }).await;
    stack.create_users("default", 200).await;
    let base = stack.backup("default").await;
    let base = present_everywhere(&stack, &base).await;
    stack.change("default-00001", json!({ "locked": true })).await;
    let sequence = base["sequence"].as_i64().expect("have one") + 1;
    let by_journal = eventually("a backup out of the journal", Duration::from_mins(1), async || {
        let listed = stack.client().get("/backups?department=default").await.expect(200).json;
        let items = listed["items"].as_array().expect("have items").clone();
        items.into_iter().find(|item| item["sequence"] == sequence && item["snapshot"] == base["snapshot"])
    })
    .await;
    let by_journal = present_everywhere(&stack, &by_journal).await;
    let mut stack = stack;
    for mut replica in stack.replicas.drain(..) {
        replica.stop();
    }
    let state = |backup: &Value| {
        let shown = stack.vault_json(&["t1"], &["show", backup["id"].as_str().expect("have an id")]);
        (shown["state"].as_str().expect("have a state").to_owned(), shown["missing"].to_string())
    };
    assert_eq!((state(&base).0, state(&by_journal).0), ("complete".to_owned(), "complete".to_owned()));

    let journal = "departments/default/1/journal";
    let last = names(&file(&stack, journal)).pop().expect("have a segment");
    let segment = Object::at(&stack, TARGETS, &format!("{journal}/{last}"));
    segment.damage(0, Damage::Deleted, &segment, "");
    let (broken, missing) = state(&by_journal);
    assert!(broken == "damaged" && missing.contains(journal), "{broken} {missing}");
    assert_eq!(state(&base).0, "complete", "the snapshot is whole");
    segment.mend();

    let chunk = Object::at(&stack, TARGETS, &chunks(&stack, &base)[0]);
    for kind in [Damage::Deleted, Damage::Truncated] {
        chunk.damage(0, kind, &chunk, "");
        for backup in [&base, &by_journal] {
            let (broken, missing) = state(backup);
            assert!(broken == "damaged" && missing.contains(chunk.path()), "{broken} {missing}");
        }
        let id = base["id"].as_str().expect("have an id");
        let cat = ["cat", "--department", "default", "--backup", id];
        let refused = stack.vault(&["t1"], &cat).expect(1);
        assert!(refused.err.contains(chunk.path()) && refused.err.contains("another target"), "{}", refused.err);
        assert_eq!(stack.vault(&["t1", "t2"], &cat).expect(0).out.lines().count(), 200);
        chunk.mend();
    }
    chunk.damage(0, Damage::Flipped, &chunk, "");
    let id = base["id"].as_str().expect("have an id");
    let told = stack.vault(&["t1", "t2"], &["verify", id, "--output", "json"]).expect(1).json();
    assert_eq!(told["targets"][0]["departments"][0]["damage"][0]["object"], chunk.path(), "{told}");
    assert_eq!(told["targets"][0]["departments"][0]["damage"][0]["whole_on"], json!(["t2"]), "{told}");
    assert_eq!(told["targets"][1]["departments"][0]["backups"][0]["whole"], true, "{told}");
    chunk.mend();

    let planted = forged(&stack.place.recipient, "{\"id\":\"x\"}\n");
    let (folder, id) = ("departments/default/1/backups", "0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f");
    let path = format!("{folder}/{id}/1-{}", blake3::hash(&planted).to_hex());
    put(&stack, &path, &planted);
    let seen = stack.vault(&["t1"], &["ls", "--output", "json"]);
    assert!(seen.json()["departments"][0]["damage"].to_string().contains(&path), "{}", seen.out);
    assert!(stack.vault(&["t1"], &["show", id]).expect(1).err.contains(id));
}
