//! What Prometheus is told: counters as they stand, and the state of everything at the moment of the question.
//!
//! Rule: a question costs MongoDB a few reads for each department that this replica leads, at most every five seconds; what
//! cannot be read keeps its last value, and its age is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::App;
use crate::cluster::{ClusterView, SessionState};
use crate::domain::clock::Timestamp;
use crate::domain::copies::TargetState;
use crate::domain::department::{Department, DepartmentState};
use crate::domain::history::Head;
use crate::domain::ids::{DepartmentName, TargetName};
use crate::store::StoreError;
use crate::store::copy_counts::CopyCount;
use crate::targets::error::state_name;
use crate::telemetry::metrics::{DepartmentMetrics, Form, SESSION_STATES, TARGET_STATES, Value};

/// How long what was read of a department stands.
const READ_EVERY: Duration = Duration::from_secs(5);
/// How much longer for each department, so that a thousand of them are no burden.
const READ_EVERY_EACH: Duration = Duration::from_millis(20);
/// How long a question waits for MongoDB.
const READ_WITHIN: Duration = Duration::from_secs(3);
/// Departments that are read at the same time.
const READ_AT_ONCE: usize = 8;

/// What was last read of the departments that this replica leads.
#[derive(Debug, Clone, Default)]
pub(super) struct Scrapes(Arc<Mutex<BTreeMap<DepartmentName, Read>>>);

/// One department.
#[derive(Debug)]
struct Read {
    at: Instant,
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    department: Department,
    head: Head,
    epoch: i64,
    newest: Option<Timestamp>,
    lacking: Vec<CopyCount>,
    open_backups: usize,
    open_restores: usize,
}

impl App {
    /// All metrics as text.
    pub async fn scrape(&self, form: Form) -> String {
        let view = self.cluster.view();
        self.show_cluster(&view);
        self.show_targets();
        let hashing = &self.metrics.http;
        hashing.hashing_waiting.set([], count(self.hasher.waiting()));
        hashing.hashing_refused.set([], count(self.hasher.refused()));
        // Held to the end, so that nobody reads what another one is writing.
        let mut known = self.scrapes.0.lock().await;
        self.read_departments(&view, &mut known).await;
        self.show_departments(&known);
        self.metrics.export(form)
    }

    /// Counts changes of the session and of leaders, until the end.
    pub async fn count_changes(self) {
        let mut views = self.cluster.views();
        let mut last = views.borrow_and_update().clone();
        loop {
            tokio::select! {
                () = self.shutdown.token.cancelled() => return,
                changed = views.changed() => if changed.is_err() { return },
            }
            let now = views.borrow_and_update().clone();
            if now.session != last.session {
                self.metrics.cluster.session_changes.inc([session_name(now.session).into()]);
            }
            let came = now.leaders.iter().filter(|(department, leader)| {
                last.leaders.get(*department).is_none_or(|before| before.epoch != leader.epoch)
            });
            self.metrics.cluster.leader_changes.add([], u64::try_from(came.count()).unwrap_or(0));
            last = now;
        }
    }

    fn show_cluster(&self, view: &ClusterView) {
        let metrics = &self.metrics.cluster;
        metrics.session.set_state(&[], &SESSION_STATES, session_name(view.session));
        metrics.lease.set([], self.cluster.lease_left().as_secs_f64());
        metrics.replicas.set([], count(view.members.len()));
        metrics.leaderships.set([], count(self.led(view).count()));
        metrics.leaderless.set([], count(self.cluster.leaderless()));
    }

    fn show_targets(&self) {
        let metrics = &self.metrics.targets;
        let statuses = self.targets.statuses();
        for status in &statuses {
            metrics.state.set_state(&[status.name.to_string().into()], &TARGET_STATES, state_name(status.state));
        }
        let well = statuses.iter().filter(|status| status.state == TargetState::Ok).count();
        metrics.quorum_margin.set([], count(well) - count(self.targets.quorum()));
        metrics.repository_open.set([], if self.repository.initialized() { 1.0 } else { 0.0 });
    }

    /// The departments that this replica leads, with their epochs.
    fn led<'a>(&'a self, view: &'a ClusterView) -> impl Iterator<Item = (&'a DepartmentName, i64)> {
        let ours = view.leaders.iter().filter(|(_, leader)| leader.replica == self.replica);
        ours.map(|(department, leader)| (department, leader.epoch.0))
    }

    /// Reads what is old, the oldest first, and forgets what is not led any more.
    async fn read_departments(&self, view: &ClusterView, known: &mut BTreeMap<DepartmentName, Read>) {
        let led: BTreeMap<DepartmentName, i64> = self.led(view).map(|(name, epoch)| (name.clone(), epoch)).collect();
        known.retain(|department, read| {
            led.get(department).is_some_and(|epoch| read.seen.as_ref().is_none_or(|seen| seen.epoch == *epoch))
        });
        let every = READ_EVERY.max(READ_EVERY_EACH * u32::try_from(led.len()).unwrap_or(u32::MAX));
        let fresh = |name: &DepartmentName| {
            known.get(name).is_some_and(|read| read.seen.is_some() && read.at.elapsed() < every)
        };
        let mut due: Vec<(DepartmentName, i64)> = led.into_iter().filter(|(name, _)| !fresh(name)).collect();
        due.sort_by_key(|(name, _)| known.get(name).map(|read| read.at));
        for (name, _) in &due {
            known.entry(name.clone()).or_insert_with(|| Read { at: Instant::now(), seen: None });
        }
        let deadline = Instant::now() + READ_WITHIN;
        let reads = due.into_iter().map(|(name, epoch)| async move {
            let seen = self.see(&name, epoch).await;
            (name, seen)
        });
        let mut reads = std::pin::pin!(futures::stream::iter(reads).buffer_unordered(READ_AT_ONCE));
        while let Ok(Some((name, seen))) = tokio::time::timeout_at(deadline, reads.next()).await {
            match seen {
                Ok(Some(seen)) => drop(known.insert(name, Read { at: Instant::now(), seen: Some(seen) })),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(department.id = %name, %error, "a department could not be read for the metrics");
                }
            }
        }
    }

    async fn see(&self, name: &DepartmentName, epoch: i64) -> Result<Option<Seen>, StoreError> {
        let store = &self.store;
        let Some(department) = store.departments.get(name).await? else { return Ok(None) };
        let Some(head) = store.heads.get(name).await? else { return Ok(None) };
        let newest = store.backups.newest_complete(name).await?.and_then(|backup| backup.content);
        Ok(Some(Seen {
            newest: newest.map(|content| content.taken_at),
            lacking: store.copies.count_lacking(name).await?,
            open_backups: store.backups.open(name).await?.len(),
            open_restores: store.restores.open(name).await?.len(),
            department,
            head,
            epoch,
        }))
    }

    fn show_departments(&self, known: &BTreeMap<DepartmentName, Read>) {
        let metrics = &self.metrics.departments;
        metrics.clear();
        let targets: Vec<TargetName> = self.targets.iter().map(|target| target.name().clone()).collect();
        let now = self.clock.now();
        for (name, read) in known {
            if let Some(seen) = &read.seen {
                seen.show(metrics, name, &targets, now);
            }
        }
        let oldest = known.values().map(|read| read.at.elapsed()).max().unwrap_or_default();
        metrics.read_age.set([], oldest.as_secs_f64());
    }
}

impl Seen {
    fn show(&self, metrics: &DepartmentMetrics, name: &DepartmentName, targets: &[TargetName], now: Timestamp) {
        let of = || [Value::from(name.to_string())];
        let on = |target: &TargetName| [name.to_string().into(), Value::from(target.to_string())];
        let head = &self.head;
        metrics.epoch.set(of(), number(self.epoch));
        metrics.sequence.set(of(), number(head.position.sequence.0));
        if self.department.state == DepartmentState::Active {
            let every = self.department.policy.backup_every;
            let age = now.since(self.newest.unwrap_or(self.department.created_at));
            metrics.backup_every.set(of(), every.as_secs_f64());
            metrics.backup_age.set(of(), age.as_secs_f64());
            metrics.backup_overdue.set(of(), age.saturating_sub(every).as_secs_f64());
        }
        metrics.missed_slots.set(of(), big(self.department.schedule.missed_slots));
        metrics.lag.set(of(), head.behind_since.map_or(0.0, |since| now.since(since).as_secs_f64()));
        for target in targets {
            let through = head.journal_through(target).map_or(0, |through| through.0);
            metrics.behind.set(on(target), number((head.position.sequence.0 - through).max(0)));
            let breaks = head.damage.iter().filter(|damage| damage.target == *target).count();
            metrics.damage.set(on(target), count(breaks));
            for state in ["owed", "damaged", "missing"] {
                let lacking = self.lacking.iter().find(|lacking| lacking.target == *target && lacking.state == state);
                let [department, target] = on(target);
                metrics
                    .copies
                    .set([department, target, state.into()], big(lacking.map_or(0, |lacking| lacking.copies)));
            }
        }
        metrics.diverged.set(of(), if head.diverged.is_some() { 1.0 } else { 0.0 });
        metrics.gaps.set(of(), count(head.gaps.len()));
        metrics.drift.set(of(), big(head.drift.as_ref().map_or(0, |drift| drift.differing)));
        let [department] = of();
        metrics.open_jobs.set([department.clone(), "backup".into()], count(self.open_backups));
        metrics.open_jobs.set([department, "restore".into()], count(self.open_restores));
    }
}

const fn session_name(state: SessionState) -> &'static str {
    match state {
        SessionState::Connected => "connected",
        SessionState::Suspended => "suspended",
        SessionState::Lost => "lost",
    }
}

#[expect(clippy::cast_precision_loss, reason = "nothing here is counted to 2^53")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "nothing here is counted to 2^53")]
fn big(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "nothing here is counted to 2^53")]
fn number(number: i64) -> f64 {
    number as f64
}
