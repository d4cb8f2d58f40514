//! Clients that write and sync while leaders are killed, and what they were told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::records::hash_number;

/// Users of one writer at most, so that the department stays of a size.
const USERS_EACH: usize = 150;

/// What happened in one write: the name that a user got by it, or the id of a user that was deleted. No two writes share it.
pub(super) type Label = String;

/// Writes that a replica has answered, in the order in which their clients heard of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Acknowledged(Arc<Mutex<Vec<Label>>>);

/// Receipts, each with how many writes were acknowledged before it was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Receipts(Arc<Mutex<Vec<(usize, Value)>>>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Acknowledged {
    pub(super) fn count(&self) -> usize {
        locked(&self.0).len()
    }

    pub(super) fn all(&self) -> Vec<Label> {
        locked(&self.0).clone()
    }

    fn add(&self, label: Label) {
        locked(&self.0).push(label);
    }
}

impl Receipts {
    pub(super) fn add(&self, covers: usize, receipt: Value) {
        locked(&self.0).push((covers, receipt));
    }

    pub(super) fn all(&self) -> Vec<(usize, Value)> {
        locked(&self.0).clone()
    }
}

/// Writes on one replica until told to stop; goes on when the replica is back. A user whose write got no answer is left
/// alone after that, since nobody knows what became of it.
pub(super) async fn write_until(client: &Client, n: u64, seed: u64, to: &Acknowledged, stop: &CancellationToken) {
    let mut random = StdRng::seed_from_u64(seed ^ (n + 1));
    let (mut users, mut next) = (Vec::<String>::new(), 0_u64);
    while !stop.is_cancelled() {
        next += 1;
        let name = format!("Name {n}-{next}");
        let (id, act) = match random.random_range(0..10) {
            0..=4 if !users.is_empty() => (users[random.random_range(0..users.len())].clone(), Method::PATCH),
            _ if users.len() >= USERS_EACH => (users[random.random_range(0..users.len())].clone(), Method::DELETE),
            5 | 6 if !users.is_empty() => (users[random.random_range(0..users.len())].clone(), Method::DELETE),
            _ => (format!("user-{n}-{next}"), Method::POST),
        };
        let outcome = match act {
            Method::PATCH => send(client, Method::PATCH, &id, Some(json!({ "name": name }))).await,
            Method::DELETE => send(client, Method::DELETE, &id, None).await,
            _ => {
                let hash = hash_number(next);
                let new = json!({ "id": id, "department": "default", "name": name, "password_hash": hash });
                send(client, Method::POST, "", Some(new)).await
            }
        };
        if act != Method::POST && (!outcome || act == Method::DELETE) {
            users.retain(|user| *user != id);
        }
        if outcome {
            to.add(if act == Method::DELETE { id.clone() } else { name });
            if act == Method::POST {
                users.push(id);
            }
        } else {
            back(client, stop).await;
        }
    }
}

/// Whether the write was acknowledged; false when nobody knows.
async fn send(client: &Client, method: Method, id: &str, body: Option<Value>) -> bool {
    let path = if id.is_empty() { "/users".to_owned() } else { format!("/users/{id}") };
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let answer = client.try_send(method, &path, &[("content-type", kind)], body.map(|body| body.to_string())).await;
    let Ok(answer) = answer else { return false };
    // Nothing but a replica that starts or ends may refuse a write, since no two clients share a user.
    assert!(answer.status.is_success() || answer.status == 503, "{} {}", answer.status, answer.text);
    answer.status.is_success()
}

async fn back(client: &Client, stop: &CancellationToken) {
    eventually("the replica is back", Duration::from_mins(1), async || {
        let ready = client.try_send(Method::GET, "/readyz", &[], None).await.is_ok_and(|answer| answer.status == 200);
        (ready || stop.is_cancelled()).then_some(())
    })
    .await;
}

/// Syncs on one replica after the other until told to stop.
pub(super) async fn sync_until(clients: &[Client], from: &Acknowledged, to: &Receipts, stop: &CancellationToken) {
    for client in clients.iter().cycle() {
        if stop.is_cancelled() {
            return;
        }
        let covers = from.count();
        let path = "/departments/default/sync";
        match client.try_send(Method::POST, path, &[], None).await {
            Ok(answer) if answer.status == 200 => to.add(covers, answer.json),
            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
