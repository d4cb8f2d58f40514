//! The one who draws what happens next, and the pauses in which everything is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

use super::faults::{Away, Down, Third};
use super::truth::Truth;
use super::writers::{Acks, Writers};
use super::{DEPARTMENTS, PATIENCE};
use crate::harness::client::{Answer, Client};
use crate::harness::members::Members;
use crate::harness::records::hash_number;
use crate::harness::{Stack, eventually, unique};

/// A receipt, and how many writes were acknowledged to anybody before it was asked for.
#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) department: String,
    pub(super) acknowledged: usize,
    pub(super) json: Value,
}

impl Receipt {
    /// The line and the sequence that it is for.
    pub(super) fn place(&self) -> (i64, i64) {
        let number = |field: &str| self.json[field].as_i64().expect("be a number");
        (number("timeline"), number("sequence"))
    }
}

/// The state of a run.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) stack: Stack,
    pub(super) random: StdRng,
    pub(super) truth: Truth,
    pub(super) acks: Acks,
    pub(super) receipts: Vec<Receipt>,
    /// Completed restores that nobody has undone.
    pub(super) restores: Vec<String>,
    /// The replica that is dead or frozen, if one is.
    pub(super) down: Option<(String, Down)>,
    /// The target that is away or hangs, if one is.
    pub(super) away: Option<(String, Away)>,
    /// The target that is a bucket.
    pub(super) third: Third,
    /// The members of the replica set.
    pub(super) members: Members,
    /// A member that stands for election.
    pub(super) standing: Option<JoinHandle<()>>,
    /// Each step of a writer holds it; who takes it for itself has no writers beside it.
    pub(super) gate: Arc<RwLock<()>>,
    /// Why there may be gaps.
    pub(super) causes: BTreeSet<&'static str>,
    /// What happened how often.
    pub(super) tally: BTreeMap<String, usize>,
    began: Instant,
}

impl Driver {
    /// Makes the departments, and opens the model before anything is written.
    pub(super) async fn start(stack: Stack, third: Third, members: Members, seed: u64) -> Self {
        let truth = Truth::open(&stack.database().await).await;
        for department in DEPARTMENTS {
            stack.department(department).await;
        }
        let random = StdRng::seed_from_u64(seed);
        Self {
            stack,
            random,
            truth,
            acks: Acks::default(),
            receipts: Vec::new(),
            restores: Vec::new(),
            down: None,
            away: None,
            third,
            members,
            standing: None,
            gate: Arc::default(),
            causes: BTreeSet::new(),
            tally: BTreeMap::new(),
            began: Instant::now(),
        }
    }

    /// Acts for so long, with writers on every replica beside it.
    pub(super) async fn act_for(&mut self, long: Duration) {
        self.keep("10s", "5s").await;
        let mut clients: Vec<Client> = self.stack.replicas.iter().map(|replica| replica.client.clone()).collect();
        clients.push(clients[0].clone());
        let writers = Writers::start(clients, self.random.random(), (&self.acks, &self.gate));
        let begun = Instant::now();
        while begun.elapsed() < long {
            self.act().await;
            self.until_more_is_written().await;
        }
        if self.random.random() {
            // Late enough that retention leaves what is on both sides of it.
            self.make_gap().await;
            self.until_more_is_written().await;
        }
        self.mend().await;
        writers.end().await;
    }

    /// Lets the writers go on for a while.
    async fn until_more_is_written(&mut self) {
        let wanted = self.acks.count() + self.random.random_range(1..30);
        eventually("users are written", PATIENCE, async || (self.acks.count() >= wanted).then_some(())).await;
    }

    /// One policy for all departments.
    pub(super) async fn keep(&mut self, backup_every: &str, within: &str) {
        let retention = json!({ "keep_within": within, "keep_last": 2, "keep_hourly": 0, "keep_daily": 0,
            "keep_weekly": 0, "keep_monthly": 0, "keep_yearly": 0 });
        for department in DEPARTMENTS {
            let body = json!({ "policy": { "backup_every": backup_every, "retention": retention } });
            let path = format!("/departments/{department}");
            eventually("the policy is taken", PATIENCE, async || {
                let answer = self.call(Method::PUT, &path, Some(body.clone())).await?;
                (answer.status == 200).then_some(())
            })
            .await;
        }
    }

    /// Waits until nothing is under way any more, and every target has everything.
    pub(super) async fn settle(&mut self) {
        self.keep("24h", "30d").await;
        for collection in ["backups", "restores"] {
            self.until_no_job_is_open(collection).await;
        }
        for department in DEPARTMENTS {
            let id = unique(department).replace('_', "-");
            let body = json!({ "id": id, "department": department, "name": id, "password_hash": hash_number(1) });
            let rev = eventually("the last user is there", PATIENCE, async || {
                let answer = self.call(Method::POST, "/users", Some(body.clone())).await?;
                // One whose outcome was not known is there at the second attempt.
                let known = self.call(Method::GET, &format!("/users/{id}"), None).await?;
                let there = [201, 409].contains(&answer.status.as_u16()) && known.status == 200;
                there.then(|| known.header("etag").trim_matches('"').to_owned())
            })
            .await;
            eventually("the model sees the last user", PATIENCE, async || {
                self.truth.has_seen(department, &rev).then_some(())
            })
            .await;
            eventually("a receipt while nothing is broken", PATIENCE, async || self.sync(department).await).await;
            self.until_every_target_has_all(department).await;
        }
        self.until_nothing_is_pruned().await;
    }

    async fn until_no_job_is_open(&self, collection: &str) {
        let jobs = self.stack.database().await.collection::<Document>(collection);
        let open = doc! { "state": { "$nin": ["complete", "failed", "cancelled", "deleted", "planned"] } };
        eventually(&format!("no job of {collection} is open"), PATIENCE, async || {
            let found = jobs.find_one(open.clone()).await.expect("look for open jobs");
            found.is_none().then_some(())
        })
        .await;
    }

    async fn until_every_target_has_all(&self, department: &str) {
        let last = self.truth.history(department).last_sequence();
        eventually(&format!("every target has all of {department}"), PATIENCE, async || {
            let shown = self.shown(department).await?;
            let journal = shown["head"]["journal"].as_array()?;
            let all = journal.len() == 3 && journal.iter().all(|copy| copy["through"] == last);
            (all && shown["recovery_window"]["owed_copies"] == 0).then_some(())
        })
        .await;
    }

    async fn until_nothing_is_pruned(&self) {
        let mut last = (Value::Null, Instant::now());
        eventually("retention is at rest", PATIENCE, async || {
            let mut now = Vec::new();
            for department in DEPARTMENTS {
                now.push(self.shown(department).await?["recovery_window"]["first_sequence"].clone());
                now.extend(self.complete(department).await.iter().map(|backup| backup["id"].clone()));
            }
            let now = Value::from(now);
            if now != last.0 {
                last = (now, Instant::now());
            }
            (last.1.elapsed() > Duration::from_secs(3)).then_some(())
        })
        .await;
    }

    /// A department as it is shown; none when nobody answers.
    pub(super) async fn shown(&self, department: &str) -> Option<Value> {
        let answer = self.call(Method::GET, &format!("/departments/{department}"), None).await?;
        (answer.status == 200).then_some(answer.json)
    }

    /// The complete backups of a department.
    pub(super) async fn complete(&self, department: &str) -> Vec<Value> {
        let path = format!("/backups?department={department}&state=complete&limit=1000");
        let Some(answer) = self.call(Method::GET, &path, None).await else { return Vec::new() };
        answer.json["items"].as_array().cloned().unwrap_or_default()
    }

    /// Asks a replica that should answer; none when it does not.
    pub(super) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Option<Answer> {
        let down = self.down.as_ref().map(|(id, _)| id);
        let mut living = self.stack.replicas.iter().filter(|replica| Some(&replica.id) != down);
        let client = &living.next_back().expect("have a living replica").client;
        let json = [("content-type", "application/json")];
        let headers = if body.is_some() { &json[..] } else { &[] };
        client.try_send(method, path, headers, body.map(|body| body.to_string())).await.ok()
    }

    /// Counts that something happened, and says so.
    pub(super) fn told(&mut self, what: &str, more: impl std::fmt::Display) {
        *self.tally.entry(what.to_owned()).or_default() += 1;
        eprintln!("{:7.2}s {what} {more}", self.began.elapsed().as_secs_f64());
    }

    /// Says what happened how often.
    pub(super) fn tell(&self) {
        let changes: usize = DEPARTMENTS.iter().map(|department| self.truth.count(department)).sum();
        eprintln!("simulation: {changes} changes, {} acknowledged; {:?}", self.acks.count(), self.tally);
    }
}
