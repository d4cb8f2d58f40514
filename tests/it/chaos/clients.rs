//! Clients that go on while things break: light writes everywhere, and POSTs under keys that are sent until answered.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::commits::ONCE;
use super::history::Event;
use super::recorder::Recorder;
use crate::harness::client::{Answer, Client};
use crate::harness::records::hash_number;
use crate::harness::unique;

/// Pause between the writes of one client.
const WRITE_EVERY: Duration = Duration::from_millis(80);
/// Pause between two POSTs under keys, and between two attempts of one.
const ASK_EVERY: Duration = Duration::from_millis(700);
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// After so long a client asks another replica.
const WITHIN: Duration = Duration::from_secs(2);
/// Users of one writer.
const USERS_EACH: usize = 40;

async fn send(client: &Client, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Option<Answer> {
    timeout(WITHIN, client.try_send(method, path, headers, Some(body))).await.ok()?.ok()
}

/// Writes users through one replica, until dropped. Who hears nothing goes on with the next one.
pub(super) async fn write(client: Client, writer: usize, seed: u64, departments: Vec<String>) {
    let mut random = StdRng::seed_from_u64(seed ^ writer as u64);
    let mut turns = interval(WRITE_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0.. {
        turns.tick().await;
        let department = &departments[n % departments.len()];
        let (id, name) = (format!("{department}-{writer}-{}", n % USERS_EACH), format!("{writer} {n}"));
        let path = format!("/users/{id}");
        if n < USERS_EACH || random.random_ratio(1, 10) {
            let new = json!({ "id": id, "department": department, "name": name, "password_hash": hash_number(1) });
            send(&client, Method::POST, "/users", &[("content-type", "application/json")], new.to_string()).await;
        } else {
            let headers = [("content-type", "application/merge-patch+json")];
            send(&client, Method::PATCH, &path, &headers, json!({ "name": name }).to_string()).await;
        }
    }
}

async fn newest_backup(client: &Client, department: &str) -> Option<String> {
    let path = format!("/backups?department={department}&limit=1");
    let listed = timeout(WITHIN, client.try_send(Method::GET, &path, &[], None)).await.ok()?.ok()?;
    listed.json["items"][0]["id"].as_str().map(ToOwned::to_owned)
}

/// Sends POSTs under keys to one replica after the other, each until it has an answer, until dropped.
pub(super) async fn ask_once(clients: Vec<(String, Client)>, departments: Vec<String>, recorder: Recorder) {
    let mut turns = interval(ASK_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0.. {
        turns.tick().await;
        let department = departments[n % departments.len()].clone();
        let key = unique(ONCE);
        let first = &clients[n % clients.len()].1;
        let backup = if n % 9 == 4 { newest_backup(first, &department).await } else { None };
        let (path, body) = match backup {
            Some(id) => ("/restores", json!({ "from": { "backup_id": id }, "apply": true })),
            None if n % 3 == 0 => ("/backups", json!({ "department": department })),
            None => ("/users", json!({ "department": department, "name": key, "password_hash": hash_number(2) })),
        };
        let mut pauses = interval(AGAIN_AFTER);
        for (replica, client) in clients.iter().cycle().skip(n) {
            pauses.tick().await;
            let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
            let asked = |status, id| Event::Asked {
                key: key.clone(),
                department: department.clone(),
                what: path.to_owned(),
                replica: replica.clone(),
                status,
                id,
            };
            // It may be carried out though nobody hears of it.
            recorder.record(asked(None, None));
            let answer = send(client, Method::POST, path, &headers, body.to_string()).await;
            let status = answer.as_ref().map(|answer| answer.status.as_u16());
            let id = answer.as_ref().and_then(|answer| answer.json["id"].as_str()).map(ToOwned::to_owned);
            let in_use = answer.as_ref().is_some_and(|answer| answer.json["code"] == "idempotency_key_in_use");
            recorder.record(asked(status, id));
            if !in_use && status.is_some_and(|status| status < 500 && status != 429) {
                break;
            }
        }
    }
}
