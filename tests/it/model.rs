//! Backups against a model: each holds exactly the state as of its position, and the same records give the same root.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use mongodb::bson::{Document, doc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::changes::{Change, Changes, ClusterTime, state_at};
use crate::harness::client::Client;
use crate::harness::records::{Records, hash_number};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

const ROUNDS: u64 = 3;
const BACKUPS: usize = 3;
const WRITERS: u64 = 4;
const USERS: usize = 1200;

/// Writes of one client until it is told to stop. Clients meet at the same ids and names, so refusals are a part of it.
pub(crate) async fn write_on(client: Client, department: String, seed: u64, stop: CancellationToken) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.is_cancelled() {
        // Half of the ids are there at first, half are not.
        let id = format!("{department}-{:05}", random.random_range(0..2 * USERS));
        let path = format!("/users/{id}");
        let name = format!("Name {}", random.random_range(0..USERS));
        let hash = hash_number(random.random());
        let answer = match random.random_range(0..10) {
            0..=3 => {
                let new = json!({ "id": id, "department": department, "name": name, "password_hash": hash });
                client.post("/users", new).await
            }
            4 => client.patch(&path, json!({ "name": name })).await,
            5 => client.patch(&path, json!({ "locked": random.random::<bool>() })).await,
            6 => client.patch(&path, json!({ "password_hash": hash })).await,
            _ => client.delete(&path).await,
        };
        let expected = [StatusCode::OK, StatusCode::CREATED, StatusCode::NO_CONTENT, StatusCode::NOT_FOUND];
        let fine = expected.contains(&answer.status) || answer.status == StatusCode::CONFLICT;
        assert!(fine, "{} {}", answer.status, answer.text);
    }
}

/// Where a backup lies: its cluster time, and its sequence.
async fn position(stack: &Stack, backup: &Value) -> (ClusterTime, usize) {
    let backups = stack.database().await.collection::<Document>("backups");
    let id = backup["id"].as_str().expect("have an id");
    let found = backups.find_one(doc! { "_id.id": id }).await.expect("find").expect("have the backup");
    let content = found.get_document("content").expect("have content");
    let at = content.get_timestamp("cluster_time").expect("have a cluster time");
    let sequence = content.get_i64("sequence").expect("have a sequence");
    ((at.time, at.increment), usize::try_from(sequence).expect("fit"))
}

/// Creates a user by its id.
pub(crate) async fn create(client: &Client, department: &str, id: &str) {
    let new = json!({ "id": id, "department": department, "name": id, "password_hash": hash_number(1) });
    client.post("/users", new).await.expect(201);
}

#[tokio::test]
async fn users_written_while_backups_run_are_in_each_exactly_as_of_its_position() {
    let stack = Stack::start(Settings { replicas: 2, chunk_records: 16, ..Settings::default() }).await;
    for seed in 0..ROUNDS {
        let department = format!("model-{seed}");
        stack.department(&department).await;
        let changes = Changes::of(&stack.database().await, &department).await;
        stack.create_users(&department, USERS).await;

        let stop = CancellationToken::new();
        let clients = stack.replicas.iter().map(|replica| replica.client.clone()).cycle();
        let writers = clients
            .zip(0..WRITERS)
            .map(|(client, n)| write_on(client, department.clone(), seed * WRITERS + n, stop.clone()));
        let backups = async {
            let mut taken = Vec::new();
            for n in 0..BACKUPS {
                create(stack.client(), &department, &format!("{department}-before-{n}")).await;
                let backup = stack.backup(&department).await;
                taken.push((backup, changes.count()));
            }
            stop.cancel();
            taken
        };
        let (taken, _) = tokio::join!(backups, join_all(writers));
        let last = format!("{department}-last");
        create(stack.client(), &department, &last).await;
        let changes = changes.up_to(&last).await;

        let mut meanwhile = 0;
        for (n, (backup, written_by_its_end)) in taken.iter().enumerate() {
            let count = assert_as_of_its_position(&stack, &changes, backup).await;
            let acknowledged = position_of(&changes, &format!("{department}-before-{n}"));
            assert!(acknowledged < count, "seed {seed}: what was acknowledged before the request is in it");
            meanwhile += written_by_its_end.saturating_sub(count);
        }
        assert!(meanwhile > 20, "seed {seed}: only {meanwhile} writes came while backups were under way");
    }
}

/// Insists that a backup holds the state that the changes give at its cluster time, each record whole, and that its
/// sequence is the number of those changes, which is returned.
pub(crate) async fn assert_as_of_its_position(stack: &Stack, changes: &[Change], backup: &Value) -> usize {
    let (at, sequence) = position(stack, backup).await;
    let (wanted, count) = state_at(changes, at);
    let found = stack.records_of_backup(backup).await;
    assert!(found == wanted, "{}", first_difference(&wanted, &found));
    assert_eq!(backup["records"].as_u64(), Some(wanted.len() as u64), "{backup}");
    assert_eq!(sequence, count, "a sequence is the number of changes up to it: {backup}");
    count
}

/// How many changes came before the first one of a user.
fn position_of(changes: &[Change], user: &str) -> usize {
    changes.iter().position(|change| change.user == user).expect("know the user")
}

fn first_difference(wanted: &Records, found: &Records) -> String {
    let ids: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    let differs = ids.into_iter().find(|id| wanted.get(*id) != found.get(*id));
    differs.map_or_else(String::new, |id| format!("wanted {:?}, found {:?}", wanted.get(id), found.get(id)))
}

#[tokio::test]
async fn the_same_records_give_the_same_root_whatever_their_history() {
    let stack = Stack::start(Settings { chunk_records: 16, range_records: 50, ..Settings::default() }).await;
    let client = stack.client();
    stack.create_users("default", 300).await;
    let first = stack.backup("default").await;
    let path = &|n: usize| format!("/users/default-{n:05}");
    let others = (0..300).step_by(3).map(|n| async move {
        client.delete(&path(n)).await.expect(204);
        client.patch(&path(n + 1), json!({ "name": format!("Other {n}"), "locked": true })).await.expect(200);
        create(client, "default", &format!("new-{n:05}")).await;
    });
    futures::stream::iter(others).buffer_unordered(8).collect::<Vec<_>>().await;
    client.patch(&path(2), json!({ "password_hash": hash_number(1_000_000) })).await.expect(200);
    let changed = stack.backup("default").await;
    assert_ne!(changed["root"], first["root"]);

    let body = json!({ "from": { "backup_id": first["id"] }, "mode": "exact",
        "credentials": "restore", "locked": "restore", "apply": true });
    stack.ended(stack.restore(body).await.header("location"), "complete").await;
    let back = stack.backup("default").await;
    assert_eq!((&back["root"], &back["records"]), (&first["root"], &first["records"]), "{back}");
    assert!(back["sequence"].as_u64() > first["sequence"].as_u64(), "{back}");

    // By hand there and back again, and one record's smallest difference.
    client.patch(&path(5), json!({ "locked": true })).await.expect(200);
    let locked = stack.backup("default").await;
    assert_ne!(locked["root"], first["root"]);
    client.patch(&path(5), json!({ "locked": false })).await.expect(200);
    assert_eq!(stack.backup("default").await["root"], first["root"]);

    // A leader that starts anew, without a snapshot to go on from, cuts the same chunks.
    let before = stack.leader_of("default").await;
    let mut stack = stack;
    stack.replicas[0].stop();
    stack.database().await.collection::<Document>("backups").delete_many(doc! {}).await.expect("forget the backups");
    stack.replicas[0].restart();
    eventually("it leads again", Duration::from_mins(1), async || {
        let path = "/departments/default";
        let seen = stack.client().try_send(reqwest::Method::GET, path, &[], None).await.ok()?;
        (seen.json["leader"]["epoch"].as_u64()? > before["epoch"].as_u64()?).then_some(())
    })
    .await;
    assert_eq!(stack.backup("default").await["root"], first["root"]);
}
