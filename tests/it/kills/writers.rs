//! Clients that write and sync while leaders are killed, and what they were told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::client::{Answer, Client};
use crate::harness::eventually;
use crate::harness::records::hash_number;

/// Users of one writer at most, so that the department stays of a size.
const USERS_EACH: usize = 150;

/// What happened in one write: the name that a user got by it, or the id of a user that was deleted. No two writes share it.
pub(crate) type Label = String;

/// Writes that a replica has answered, in the order in which their clients heard of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acknowledged {
    done: Arc<Mutex<Vec<Label>>>,
    /// Of which it was said that nothing was changed.
    refused: Arc<Mutex<Vec<Label>>>,
    /// Of which nobody knows.
    unknown: Arc<Mutex<Vec<Label>>>,
}

/// What a client knows of its write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Refused,
    Unknown,
}

/// Receipts, each with how many writes were acknowledged before it was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Receipts(Arc<Mutex<Vec<(usize, Value)>>>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Acknowledged {
    pub(crate) fn count(&self) -> usize {
        locked(&self.done).len()
    }

    pub(crate) fn all(&self) -> Vec<Label> {
        locked(&self.done).clone()
    }

    /// Those of which their clients were told that nothing was changed.
    pub(crate) fn refused(&self) -> Vec<Label> {
        locked(&self.refused).clone()
    }

    /// Those that were not answered, or with the word that nobody knows.
    pub(crate) fn unknown(&self) -> Vec<Label> {
        locked(&self.unknown).clone()
    }

    fn add(&self, label: Label, outcome: Outcome) {
        let list = match outcome {
            Outcome::Done => &self.done,
            Outcome::Refused => &self.refused,
            Outcome::Unknown => &self.unknown,
        };
        locked(list).push(label);
    }
}

impl Receipts {
    pub(crate) fn add(&self, covers: usize, receipt: Value) {
        locked(&self.0).push((covers, receipt));
    }

    pub(crate) fn all(&self) -> Vec<(usize, Value)> {
        locked(&self.0).clone()
    }
}

/// Writes on one replica until told to stop; goes on when the replica is back. A user whose write got no answer is left
/// alone after that, since nobody knows what became of it.
pub(crate) async fn write_until(client: &Client, n: u64, seed: u64, to: &Acknowledged, stop: &CancellationToken) {
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
        let done = outcome == Outcome::Done;
        if act != Method::POST && (!done || act == Method::DELETE) {
            users.retain(|user| *user != id);
        }
        to.add(if act == Method::DELETE { id.clone() } else { name }, outcome);
        if !done {
            back(client, stop).await;
        } else if act == Method::POST {
            users.push(id);
        }
    }
}

async fn send(client: &Client, method: Method, id: &str, body: Option<Value>) -> Outcome {
    let path = if id.is_empty() { "/users".to_owned() } else { format!("/users/{id}") };
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let answer = client.try_send(method, &path, &[("content-type", kind)], body.map(|body| body.to_string())).await;
    let Ok(answer) = answer else { return Outcome::Unknown };
    if answer.status.is_success() {
        return Outcome::Done;
    }
    // Nothing but a part that starts, ends or changes may refuse a write, since no two clients share a user.
    expect_unavailable(&answer);
    if answer.json["code"] == "unavailable" { Outcome::Refused } else { Outcome::Unknown }
}

/// Insists that an answer says that it is nobody's fault, and when to come again.
pub(crate) fn expect_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(!answer.header("retry-after").is_empty(), "{:?} {}", answer.headers, answer.text);
}

async fn back(client: &Client, stop: &CancellationToken) {
    eventually("the replica is back", Duration::from_mins(1), async || {
        let ready = client.try_send(Method::GET, "/readyz", &[], None).await.is_ok_and(|answer| answer.status == 200);
        (ready || stop.is_cancelled()).then_some(())
    })
    .await;
}

/// Syncs on one replica after the other until told to stop.
pub(crate) async fn sync_until(clients: &[Client], from: &Acknowledged, to: &Receipts, stop: &CancellationToken) {
    for client in clients.iter().cycle() {
        if stop.is_cancelled() {
            return;
        }
        let covers = from.count();
        let path = "/departments/default/sync";
        match client.try_send(Method::POST, path, &[], None).await {
            Ok(answer) if answer.status == 200 => to.add(covers, answer.json),
            Ok(answer) => expect_unavailable(&answer),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
