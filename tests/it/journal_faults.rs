//! The faults that break journals: a leader dead between segment and head, one cut off from a target, planted and replayed
//! objects, a flush in the middle of a transaction.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use mongodb::bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::archived::{fold, journal_of, live, names_in};
use crate::harness::objects::{forged, stranger};
use crate::harness::records::hash_number;
use crate::harness::settings::Settings;
use crate::harness::stack::{leader_seen_by, present_everywhere};
use crate::harness::{Stack, eventually};

const SOON: Duration = Duration::from_mins(1);
const TARGETS: [&str; 3] = ["t1", "t2", "t3"];

fn settings() -> Settings {
    let backup = ", look_every = \"500ms\"".to_owned();
    Settings { replicas: 2, targets: 3, own_mongod: true, backup, ..Settings::default() }
}

async fn write(stack: &Stack, word: &str, count: u64) {
    for n in 0..count {
        let body =
            json!({ "id": format!("{word}-{n}"), "name": format!("{word} {n}"), "password_hash": hash_number(n) });
        stack.client().post("/users", body).await.expect(201);
    }
}

async fn sync(stack: &Stack) -> Value {
    eventually("a receipt", SOON, async || {
        let answer = stack.client().send(Method::POST, "/departments/default/sync", &[], None).await;
        (answer.status == 200).then_some(answer.json)
    })
    .await
}

async fn department(stack: &Stack) -> Value {
    stack.client().get("/departments/default").await.expect(200).json
}

/// The folder of a kind of object of `default` on a target.
fn folder(stack: &Stack, target: &str, kind: &str) -> PathBuf {
    stack.folder.path().join("targets").join(target).join("departments/default/1").join(kind)
}

/// The sequence that the segments on a target end at.
fn archived(stack: &Stack, target: &str) -> i64 {
    let last = |name: &String| name.split('-').nth(1).and_then(|last| last.parse().ok());
    names_in(&folder(stack, target, "journal")).iter().filter_map(last).max().unwrap_or(0)
}

/// Waits until every target holds the whole journal, and insists that it amounts to what is live.
async fn assert_level(stack: &Stack) {
    eventually("every target holds the whole journal", SOON, async || {
        let head = department(stack).await["head"].clone();
        let journal = head["journal"].as_array()?;
        (journal.len() == 3 && journal.iter().all(|copy| copy["through"] == head["sequence"])).then_some(())
    })
    .await;
    let live = live(stack).await;
    for target in TARGETS {
        assert_eq!(fold(&journal_of(stack, target, "default")), live, "{target}");
    }
    assert!(department(stack).await["diverged"].is_null());
}

/// The replica that leads `default`.
async fn leading(stack: &Stack) -> String {
    stack.leader_of("default").await["replica"].as_str().expect("have an id").to_owned()
}

#[tokio::test]
async fn what_a_leader_wrote_and_did_not_live_to_move_the_head_over_is_taken_in_by_the_next_one() {
    let mut stack = Stack::start(settings()).await;
    write(&stack, "before", 5).await;
    sync(&stack).await;
    let old = leading(&stack).await;
    let database = stack.database().await;
    let data = doc! {
        "failCommands": ["update"], "namespace": format!("{}.heads", database.name()), "appName": &old,
        "closeConnection": true,
    };
    let admin = database.client().database("admin");
    let set = doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data };
    admin.run_command(set).await.expect("set the fail point");
    write(&stack, "lost-head", 7).await;
    let head = department(&stack).await["head"]["sequence"].as_i64().expect("have a head");
    eventually("segments lie past the head", SOON, async || {
        TARGETS.iter().all(|target| archived(&stack, target) > head).then_some(())
    })
    .await;
    stack.crash(&old);
    admin.run_command(doc! { "configureFailPoint": "failCommand", "mode": "off" }).await.expect("lift the fail point");
    leader_seen_by(stack.client(), "default", |leader| leader["replica"] != old.as_str()).await;
    write(&stack, "after", 5).await;
    sync(&stack).await;
    assert_eq!(department(&stack).await["head"]["timeline"], 1);
    assert_level(&stack).await;
}

/// Gives one replica a path of its own to the third target, which can be taken away from it alone.
async fn own_way_to_a_target(stack: &mut Stack, id: &str) -> PathBuf {
    let base = stack.folder.path().to_owned();
    let (way, config) = (base.join("way"), base.join(format!("{id}.toml")));
    std::os::unix::fs::symlink(base.join("targets/t3"), &way).expect("link the target");
    let text = std::fs::read_to_string(&config).expect("read the configuration");
    stack.replica(id).stop();
    std::fs::write(&config, text.replace(&format!("{}/targets/t3", base.display()), &way.display().to_string()))
        .expect("write the configuration");
    stack.replica(id).restart();
    let client = stack.replica(id).client.clone();
    eventually("the replica is ready again", SOON, async || {
        let answer = client.try_send(Method::GET, "/readyz", &[], None).await.ok()?;
        answer.status.is_success().then_some(())
    })
    .await;
    way
}

#[tokio::test]
async fn a_leader_that_is_cut_off_from_a_target_and_frozen_leaves_no_hole_to_the_next_one() {
    let mut stack = Stack::start(settings()).await;
    write(&stack, "before", 5).await;
    sync(&stack).await;
    stack.first_slot_done("default").await;
    // The second one leads while the first one gets its own way, then the first one leads again.
    let (cut, other) = ("r1", "r2");
    let way = own_way_to_a_target(&mut stack, cut).await;
    stack.replica(other).stop();
    eventually("the one with its own way leads", SOON, async || {
        let seen = stack.client().get("/departments/default").await.json;
        (seen["leader"]["replica"] == cut).then_some(())
    })
    .await;
    stack.replica(other).restart();
    sync(&stack).await;
    assert_level(&stack).await;

    std::fs::remove_file(&way).expect("cut the way");
    write(&stack, "cut", 5).await;
    let receipt = sync(&stack).await;
    assert!(archived(&stack, "t3") < receipt["sequence"].as_i64().expect("have one"), "{receipt}");
    // It freezes with changes on their way, and another one writes to the target that it does not see.
    write(&stack, "on-their-way", 3).await;
    stack.replica(cut).freeze();
    let other_client = stack.replica(other).client.clone();
    leader_seen_by(&other_client, "default", |leader| leader["replica"] == other).await;
    stack.replicas.reverse();
    write(&stack, "next", 5).await;
    sync(&stack).await;
    std::os::unix::fs::symlink(stack.folder.path().join("targets/t3"), &way).expect("mend the way");
    stack.replica(cut).thaw();
    write(&stack, "thawed", 5).await;
    sync(&stack).await;
    assert_level(&stack).await;
    let backup = stack.backup("default").await;
    present_everywhere(&stack, &backup).await;
}

/// Puts bytes on every target.
fn plant(stack: &Stack, path: &Path, bytes: &[u8]) {
    for target in TARGETS {
        let file = stack.folder.path().join("targets").join(target).join(path);
        std::fs::create_dir_all(file.parent().expect("lie in a folder")).expect("make the folder");
        std::fs::write(file, bytes).expect("plant an object");
    }
}

/// The bytes of every object of a kind of a department's first timeline, by name.
fn honest(stack: &Stack, department: &str, kind: &str) -> Vec<(String, Vec<u8>)> {
    let folder = stack.folder.path().join("targets/t1/departments").join(department).join("1").join(kind);
    let read = |name: String| {
        let bytes = std::fs::read(folder.join(&name)).expect("read an object");
        (name, bytes)
    };
    names_in(&folder).into_iter().map(read).collect()
}

/// Forged and replayed objects; gives their paths.
fn plant_everything(stack: &Stack) -> Vec<String> {
    let mut planted: Vec<(String, Vec<u8>)> = Vec::new();
    let header = |kind: &str, timeline: i64| {
        format!("{{\"format\":1,\"kind\":\"{kind}\",\"department\":\"default\",\"timeline\":{timeline}}}\n")
    };
    let seal = |lines: &str| {
        let sealed = forged(&stack.place.recipient, lines);
        let hash = blake3::hash(&sealed).to_string();
        (sealed, hash)
    };
    // By somebody who knows the public recipient: far past the head, as if MongoDB had been rolled back.
    let (sealed, hash) = seal(&header("segment", 1));
    planted.push((format!("default/1/journal/{:020}-{:020}-{hash}.seg", 900, 901), sealed));
    let (sealed, hash) = seal(&header("snapshot", 1));
    planted.push((format!("default/1/snapshots/{:020}-{hash}.snap", 901), sealed));
    let (sealed, hash) = seal(&(header("backup", 9) + "{\"epoch\":99,\"content\":{\"sequence\":901}}\n"));
    planted.push((format!("default/9/backups/{}/1-{hash}", uuid::Uuid::now_v7()), sealed));
    // By somebody who makes everything as rollkeeper does, and knows only the secret of a repository of their own.
    let (path, sealed) = stranger(&stack.place.recipient);
    planted.push((path.strip_prefix("departments/").expect("lie there").to_owned(), sealed));
    // Honest objects of another department, and of this one under another timeline.
    for (name, bytes) in honest(stack, "eng", "journal") {
        planted.push((format!("default/1/journal/{name}"), bytes));
    }
    for (name, bytes) in honest(stack, "eng", "snapshots") {
        planted.push((format!("default/1/snapshots/{name}"), bytes));
    }
    for kind in ["journal", "snapshots"] {
        for (name, bytes) in honest(stack, "default", kind) {
            planted.push((format!("default/2/{kind}/{name}"), bytes));
        }
    }
    for id in names_in(&stack.folder.path().join("targets/t1/departments/eng/1/backups")) {
        for (name, bytes) in honest(stack, "eng", &format!("backups/{id}")) {
            planted.push((format!("default/1/backups/{id}/{name}"), bytes));
        }
    }
    planted
        .into_iter()
        .map(|(path, bytes)| {
            let path = format!("departments/{path}");
            plant(stack, Path::new(&path), &bytes);
            path
        })
        .collect()
}

#[tokio::test]
async fn forged_and_replayed_objects_are_named_and_neither_believed_nor_carried_on() {
    let mut stack = Stack::start(Settings { replicas: 1, own_mongod: false, ..settings() }).await;
    write(&stack, "user", 5).await;
    stack.department("eng").await;
    stack.create_users("eng", 50).await;
    present_everywhere(&stack, &stack.backup("eng").await).await;
    let backup = stack.backup("default").await;
    present_everywhere(&stack, &backup).await;
    stack.first_slot_done("default").await;
    stack.replica("r1").stop();
    let planted = plant_everything(&stack);
    assert!(planted.len() >= 8, "{planted:?}");
    // The third target has lost everything, so all of it is brought again.
    let third = stack.folder.path().join("targets/t3");
    std::fs::remove_dir_all(&third).expect("empty the target");
    std::fs::create_dir(&third).expect("make the folder again");
    stack.replica("r1").restart();
    eventually("the replica is ready again", SOON, async || {
        let answer = stack.client().try_send(Method::GET, "/readyz", &[], None).await.ok()?;
        answer.status.is_success().then_some(())
    })
    .await;
    stack.leader_of("default").await;

    write(&stack, "after", 5).await;
    let receipt = sync(&stack).await;
    assert_eq!(receipt["sequence"], 10, "{receipt}");
    let next = stack.backup("default").await;
    assert_eq!(stack.records_of_backup(&next).await, stack.records("default").await);
    present_everywhere(&stack, &next).await;
    present_everywhere(&stack, &backup).await;
    let seen = department(&stack).await;
    assert!(seen["diverged"].is_null(), "{seen}");
    assert_eq!(seen["head"]["timeline"], 1, "{seen}");
    let log = stack.replicas[0].log();
    for path in &planted {
        assert!(!third.join(path).exists(), "{path} was carried on");
        assert!(stack.folder.path().join("targets/t1").join(path).exists(), "{path} is left where it is");
    }
    for part in [
        "default/1/journal/00000000000000000900",
        "default/1/journal/00000000000000000950",
        "default/1/snapshots/",
        "default/9/backups/",
        "default/2/journal/",
    ] {
        assert!(log.lines().any(|line| line.contains("not believed") && line.contains(part)), "{part} is not named");
    }
    let listed = stack.client().get("/backups?department=default").await.expect(200).json;
    let items = listed["items"].as_array().expect("have items");
    assert!(items.iter().all(|item| item["department"] == "default"), "{listed}");
}

/// The transaction of each change of a department's users in order; none for a change outside of one.
async fn transactions(stack: &Stack, count: usize) -> Vec<Option<(Vec<u8>, i64)>> {
    let users = stack.database().await.collection::<Document>("users");
    // The beginning of the oplog that the test's own mongod has.
    let oplog = stack.database().await.client().database("local").collection::<Document>("oplog.rs");
    let first = oplog.find_one(doc! {}).await.expect("read the oplog").expect("have one");
    let from = first.get_timestamp("ts").expect("have a time");
    let stream = users.watch().start_at_operation_time(from).await.expect("open a change stream");
    let raw = stream.with_type::<mongodb::bson::RawDocumentBuf>();
    raw.take(count)
        .map(|event| {
            let event = event.expect("read the change stream");
            let number = event.get_i64("txnNumber").ok()?;
            Some((event.get_document("lsid").expect("have a session").as_bytes().to_vec(), number))
        })
        .collect()
        .await
}

#[tokio::test]
async fn no_segment_ends_inside_a_transaction_however_often_a_restore_is_flushed() {
    let small = ", journal_every = \"50ms\", segment_bytes = 65536".to_owned();
    let settings = Settings { replicas: 1, backup: small, ..settings() };
    let stack = Stack::start(settings).await;
    stack.create_users("default", 2000).await;
    let backup = stack.backup("default").await;
    for user in stack.all_users("default").await {
        if user["id"].as_str().is_some_and(|id| id.ends_with('7')) {
            stack.client().delete(&format!("/users/{}", user["id"].as_str().expect("have an id"))).await.expect(204);
        }
    }
    let lock = stack.all_users("default").await.into_iter().map(|user| {
        json!({ "id": user["id"], "name": user["name"], "locked": true, "password_hash": hash_number(9) }).to_string()
            + "\n"
    });
    let headers = [("content-type", "application/x-ndjson")];
    let path = "/users/import?on_conflict=replace";
    stack.client().send(Method::POST, path, &headers, Some(lock.collect())).await.expect(200);
    let body = json!({ "from": { "backup_id": backup["id"] }, "mode": "exact", "credentials": "restore",
        "locked": "restore", "apply": true });
    let location = stack.restore(body).await.header("location").to_owned();
    stack.ended(&location, "complete").await;
    let receipt = sync(&stack).await;

    let count = usize::try_from(receipt["sequence"].as_i64().expect("have one")).expect("fit");
    let transactions = transactions(&stack, count).await;
    let longest = transactions.chunk_by(|a, b| a.is_some() && a == b).map(<[_]>::len).max();
    assert!(longest >= Some(1000), "a range of the restore is one transaction: {longest:?}");
    let names = names_in(&folder(&stack, "t1", "journal"));
    let ends: Vec<usize> =
        names.iter().map(|name| name.split('-').nth(1).expect("have two").parse().expect("be a number")).collect();
    assert!(ends.len() > 5, "{names:?}");
    for end in ends.into_iter().filter(|end| *end < count) {
        let (last, next) = (&transactions[end - 1], &transactions[end]);
        assert!(last.is_none() || last != next, "a segment ends at {end}, inside a transaction");
    }
    assert_level(&stack).await;
}
