//! Clients of the service that write all the time, and keep what was acknowledged to them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::DEPARTMENTS;
use crate::harness::client::{Answer, Client};
use crate::harness::eventually;
use crate::harness::records::hash_number;

/// Ids that clients meet at, for each department.
pub(super) const IDS: usize = 250;
const NAMES: usize = 200;
const PATCH: (&str, &str) = ("content-type", "application/merge-patch+json");

/// A write that the service said was done.
#[derive(Debug, Clone)]
pub(super) struct Acknowledged {
    pub(super) department: String,
    pub(super) user: String,
    /// The rev that it wrote; of a delete, the rev that it deleted.
    pub(super) rev: String,
    pub(super) deleted: bool,
}

/// All acknowledged writes, in the order in which their answers came, and what was surely not written.
#[derive(Debug, Clone, Default)]
pub(super) struct Acks {
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    refused: Arc<Mutex<HashSet<String>>>,
}

impl Acks {
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Acknowledged>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hashes of writes of which the service said that nothing was changed.
    pub(super) fn refused(&self) -> HashSet<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse(&self, hash: String) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(hash);
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }
}

/// The writers of one round.
#[derive(Debug)]
pub(super) struct Writers {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Writers {
    /// Starts one writer for each client.
    pub(super) fn start(clients: Vec<Client>, seed: u64, (acks, gate): (&Acks, &Arc<RwLock<()>>)) -> Self {
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for (n, client) in (0_u64..).zip(clients) {
            let random = StdRng::seed_from_u64(seed ^ (n + 1) << 32);
            let writer = Writer { client, random, acks: acks.clone(), gate: Arc::clone(gate) };
            let (runtime, stop) = (Handle::current(), stop.clone());
            // On a thread of its own, so that the compiler need not see that it could move between threads.
            tasks.spawn_blocking(move || runtime.block_on(writer.run(stop)));
        }
        Self { stop, tasks }
    }

    /// Stops them, and waits until the last answer is there.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        while let Some(writer) = self.tasks.join_next().await {
            writer.expect("write until the end");
        }
    }
}

struct Writer {
    client: Client,
    random: StdRng,
    acks: Acks,
    gate: Arc<RwLock<()>>,
}

impl Writer {
    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let gate = Arc::clone(&self.gate);
            let may_write = gate.read().await;
            let answered = self.step().await;
            drop(may_write);
            if answered.is_none() {
                // Whether it was written is unknown, and nobody answers for now.
                until_answers(&self.client, &stop).await;
            }
        }
    }

    /// One request; none when nobody answered.
    async fn step(&mut self) -> Option<()> {
        let department = DEPARTMENTS[self.random.random_range(0..DEPARTMENTS.len())];
        let user = format!("{department}-{:04}", self.random.random_range(0..IDS));
        let path = format!("/users/{user}");
        let name = format!("Näme {}", self.random.random_range(0..NAMES));
        let hash = hash_number(self.random.random());
        let kind = self.random.random_range(0..10);
        let (answer, deleted) = match kind {
            0..=2 => {
                let body = json!({ "id": user, "department": department, "name": name, "password_hash": &hash });
                let json = [("content-type", "application/json")];
                (self.client.try_send(Method::POST, "/users", &json, Some(body.to_string())).await.ok()?, None)
            }
            3..=7 => {
                let body = match kind {
                    3 => json!({ "name": name }),
                    4 | 5 => json!({ "locked": self.random.random::<bool>() }),
                    _ => json!({ "password_hash": &hash }),
                };
                (self.client.try_send(Method::PATCH, &path, &[PATCH], Some(body.to_string())).await.ok()?, None)
            }
            _ => {
                let read = self.client.try_send(Method::GET, &path, &[], None).await.ok()?;
                if read.status != 200 {
                    return Some(());
                }
                let headers = [("if-match", read.header("etag"))];
                (self.client.try_send(Method::DELETE, &path, &headers, None).await.ok()?, Some(read.clone()))
            }
        };
        if answer.status == 503 && answer.json["code"] == "unavailable" && matches!(kind, 0..=2 | 6 | 7) {
            // Nobody else ever writes this hash.
            self.acks.refuse(hash);
        }
        self.keep(user, &answer, deleted.as_ref());
        Some(())
    }

    fn keep(&self, user: String, answer: &Answer, deleted: Option<&Answer>) {
        let status = answer.status.as_u16();
        // Others write the same ids and names; a replica that is starting or cut off says so.
        assert!([200, 201, 204, 404, 409, 412, 503].contains(&status), "{status} {}", answer.text);
        if !answer.status.is_success() {
            return;
        }
        let record = deleted.unwrap_or(answer);
        let rev = record.header("etag").trim_matches('"').to_owned();
        // A restore into another department may have taken the id there.
        let department = record.json["department"].as_str().expect("have a department").to_owned();
        self.acks.lock().push(Acknowledged { department, user, rev, deleted: deleted.is_some() });
    }
}

async fn until_answers(client: &Client, stop: &CancellationToken) {
    let probe = async || {
        let alive = client.try_send(Method::GET, "/livez", &[], None).await;
        (stop.is_cancelled() || alive.is_ok()).then_some(())
    };
    eventually("the replica answers again", Duration::from_mins(3), probe).await;
}
