//! The journal: every acknowledged change is in it, in order, after `sync`, whichever replica took it and whoever dies.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use rollkeeper::domain::history::{Chain, Change, Sequence, Timeline};
use serde_json::{Value, json};

use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

/// Every change of a department as one target holds it, checked from the beginning.
pub(crate) fn journal_of(stack: &Stack, target: &str, department: &str) -> Vec<(Sequence, Change, Chain)> {
    let place = stack.folder.path().join("targets").join(target);
    let repository = stack.repository();
    let folder = format!("departments/{department}/1/journal");
    let mut names: Vec<String> = names_in(&place.join(&folder));
    names.sort();
    let (mut changes, mut chain): (Vec<(Sequence, Change, Chain)>, _) = (Vec::new(), Chain::GENESIS);
    for name in names {
        let sealed = std::fs::read(place.join(&folder).join(&name)).expect("read a segment");
        let path = rollkeeper::targets::layout::ObjectPath::from_stored(format!("{folder}/{name}"));
        let department = department.parse().expect("be a name");
        let opened = repository.open_segment(&department, Timeline(1), &path, &sealed).expect("open a segment");
        let next = Sequence(changes.last().map_or(0, |(sequence, ..)| sequence.0) + 1);
        let mut before = opened.before;
        for (change, after) in opened.changes {
            if change.sequence == next || changes.last().is_some_and(|(last, ..)| change.sequence > *last) {
                assert_eq!(before, chain, "the chain breaks at {:?} in {name}", change.sequence);
                changes.push((change.sequence, change.change, after));
                chain = after;
            }
            before = after;
        }
    }
    let numbered = (1..).zip(&changes).all(|(n, (sequence, ..))| sequence.0 == n);
    assert!(numbered, "the journal on {target} has a hole");
    changes
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.expect("read an entry").file_name().into_string().expect("be UTF-8")).collect()
}

/// What the journal's changes amount to: id to name.
fn fold(changes: &[(Sequence, Change, Chain)]) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    for (_, change, _) in changes {
        match change {
            Change::Put(user) => {
                state.insert(user.id.to_string(), user.name.as_str().to_owned());
            }
            Change::Delete(id) => {
                state.remove(id.as_str());
            }
            Change::Patch(..) => panic!("nobody patched anything"),
        }
    }
    state
}

async fn live(stack: &Stack) -> BTreeMap<String, String> {
    let text = |user: &Value, field: &str| user[field].as_str().expect("be a text").to_owned();
    stack.all_users("default").await.iter().map(|user| (text(user, "id"), text(user, "name"))).collect()
}

async fn sync(stack: &Stack) -> Value {
    stack.client().post("/departments/default/sync", json!({})).await.expect(200).json
}

/// Creates, renames and deletes through all replicas in turn.
async fn write(stack: &Stack, from: usize, count: usize) {
    for n in from..from + count {
        let client = &stack.replicas[n % stack.replicas.len()].client;
        let body = json!({ "id": format!("w-{n:04}"), "name": format!("name {n}"), "password_hash": HASH });
        client.post("/users", body).await.expect(201);
        if n % 3 == 0 {
            client.delete(&format!("/users/w-{n:04}")).await.expect(204);
        }
    }
}

/// Waits until nothing is being written to any target: one that vanishes in the middle of that is half made again.
async fn quiet(stack: &Stack) {
    stack.first_slot_done("default").await;
    eventually("every target holds the whole journal", Duration::from_mins(1), async || {
        let head = stack.client().get("/departments/default").await.expect(200).json["head"].clone();
        let journal = head["journal"].as_array().expect("have copies");
        (journal.len() == 3 && journal.iter().all(|copy| copy["through"] == head["sequence"])).then_some(())
    })
    .await;
}

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxlLXNhbHQtMDE$1rBUU2jrGMzPeKRYNGndy8ozvtm05CBFs59hxa/MB5k";

#[tokio::test]
async fn a_receipt_covers_every_write_acknowledged_before_it_by_any_replica() {
    let stack = Stack::start(Settings { replicas: 3, targets: 3, ..Settings::default() }).await;
    let path = "/departments/default/sync";
    let empty = stack.client().send(Method::POST, path, &[], None).await.expect(200).json;
    assert_eq!(empty["sequence"], 0, "{empty}");
    stack.client().post("/departments/nobody/sync", json!({})).await.expect_problem(404, "not_found");
    for round in 0..5 {
        write(&stack, round * 20, 20).await;
        let receipt = sync(&stack).await;
        let copies = receipt["copies"].as_array().expect("have copies");
        let holding: Vec<&str> = copies
            .iter()
            .filter(|copy| copy["through"] == receipt["sequence"])
            .map(|copy| copy["target"].as_str().expect("have a name"))
            .collect();
        assert!(holding.len() >= 2, "{receipt}");
        for target in holding {
            let changes = journal_of(&stack, target, "default");
            let covered: Vec<_> =
                changes.into_iter().filter(|(sequence, ..)| Some(sequence.0) <= receipt["sequence"].as_i64()).collect();
            assert_eq!(fold(&covered), live(&stack).await, "round {round} on {target}");
            let chain = covered.last().map(|(_, _, chain)| chain.to_string());
            assert_eq!(receipt["chain"].as_str(), chain.as_deref());
        }
    }
}

#[tokio::test]
async fn a_killed_leader_loses_nothing_that_was_acknowledged() {
    let mut stack = Stack::start(Settings { replicas: 3, targets: 3, ..Settings::default() }).await;
    write(&stack, 0, 30).await;
    for round in 1..3 {
        let leader = stack.leader_of("default").await;
        let id = leader["replica"].as_str().expect("have an id").to_owned();
        write(&stack, round * 100, 30).await;
        stack.replica(&id).kill();
        stack.replicas.retain(|replica| replica.id != id);
        write(&stack, round * 100 + 50, 10).await;
        let receipt = eventually("the next leader gives a receipt", Duration::from_mins(1), async || {
            let answer = stack.client().post("/departments/default/sync", json!({})).await;
            (answer.status == 200).then_some(answer.json)
        })
        .await;
        assert!(receipt["executed_by"]["epoch"].as_u64() > leader["epoch"].as_u64(), "{receipt}");
        assert_eq!(fold(&journal_of(&stack, "t1", "default")), live(&stack).await, "round {round}");
    }
}

#[tokio::test]
async fn a_target_that_was_away_catches_up_with_the_journal_without_a_hole() {
    let stack = Stack::start(Settings { targets: 3, ..Settings::default() }).await;
    write(&stack, 0, 10).await;
    sync(&stack).await;
    quiet(&stack).await;
    let targets = stack.folder.path().join("targets");
    std::fs::rename(targets.join("t3"), targets.join("away")).expect("hide the target");
    for round in 1..4 {
        write(&stack, round * 100, 10).await;
        let receipt = sync(&stack).await;
        let behind = receipt["copies"].as_array().expect("have copies").iter().find(|copy| copy["target"] == "t3");
        assert!(behind.is_none_or(|copy| copy["through"].as_i64() < receipt["sequence"].as_i64()), "{receipt}");
    }
    std::fs::rename(targets.join("away"), targets.join("t3")).expect("bring the target back");
    eventually("the target holds the journal through the head", Duration::from_mins(1), async || {
        let head = stack.client().get("/departments/default").await.expect(200).json["head"].clone();
        let journal = head["journal"].as_array().expect("have copies").clone();
        journal.iter().any(|copy| copy["target"] == "t3" && copy["through"] == head["sequence"]).then_some(())
    })
    .await;
    assert_eq!(fold(&journal_of(&stack, "t3", "default")), live(&stack).await);
}

#[tokio::test]
async fn without_the_write_quorum_there_is_no_receipt_and_nothing_is_lost() {
    let stack = Stack::start(Settings { targets: 3, ..Settings::default() }).await;
    write(&stack, 0, 10).await;
    sync(&stack).await;
    quiet(&stack).await;
    let targets = stack.folder.path().join("targets");
    for name in ["t2", "t3"] {
        std::fs::rename(targets.join(name), targets.join(format!("{name}-away"))).expect("hide the target");
    }
    write(&stack, 100, 10).await;
    let refused = stack.client().post("/departments/default/sync", json!({})).await.expect(503);
    assert_eq!(refused.json["code"], "not_durable_yet", "{}", refused.text);
    assert!(!refused.header("retry-after").is_empty());
    std::fs::rename(targets.join("t2-away"), targets.join("t2")).expect("bring the target back");
    eventually("a receipt", Duration::from_mins(1), async || {
        let answer = stack.client().post("/departments/default/sync", json!({})).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(fold(&journal_of(&stack, "t2", "default")), live(&stack).await);
}

#[tokio::test]
async fn a_change_stream_that_answers_slowly_is_waited_for_longer_each_time() {
    use mongodb::bson::doc;
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    sync(&stack).await;
    // As when the server reads through much that others wrote: longer than the patience that a stream begins with.
    let slow = doc! { "failCommands": ["getMore"], "appName": "r1", "blockConnection": true, "blockTimeMS": 6000 };
    let set = doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": slow };
    stack.database().await.client().database("admin").run_command(set).await.expect("set the fail point");
    write(&stack, 0, 2).await;
    eventually("a receipt", Duration::from_mins(2), async || {
        let answer = stack.client().post("/departments/default/sync", json!({})).await;
        (answer.status == 200 && answer.json["sequence"] == 3).then_some(())
    })
    .await;
}
