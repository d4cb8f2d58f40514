//! Coordination over ZooKeeper: who is here, who leads what. The only module that names `zookeeper_client`.
//!
//! Rules: one session a replica; a lease renewed by quorum writes, judged by `CLOCK_BOOTTIME`;
//! disconnected is suspended, the end of the lease is stepping down; an unknown outcome is resolved by reading; only
//! one-shot watches. The fence in MongoDB is claimed by whoever receives a `Claim`.

mod chroot;
mod claiming;
mod connect;
mod departments;
pub mod doctor;
mod election;
mod handover;
mod inspect;
mod leading;
mod lease;
mod members;
mod nodes;
mod ranking;
mod registration;
mod seen;
mod session;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::zookeeper::ZookeeperConfig;
use crate::domain::cause::Cause;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::epoch::{Epoch, Leadership};
use crate::domain::ids::{DepartmentName, ReplicaId};

pub use chroot::create_chroot;
pub use lease::Lease;

use lease::LeaseKeeper;
use shared::{Former, Shared};

/// A replica as the others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub replica: ReplicaId,
    /// Random name of this run of the process.
    pub instance: String,
    /// Where clients reach it, if configured.
    pub url: Option<String>,
    /// Version of the program.
    pub version: String,
    /// Whether it is shutting down.
    pub draining: bool,
}

/// State of the ZooKeeper session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// The lease holds.
    Connected,
    /// No contact; leaderships end with the lease.
    Suspended,
    /// No session; a new one is being made.
    Lost,
}

/// The leader of a department as this replica last read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The replica that leads.
    pub replica: ReplicaId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Since when.
    pub since: Timestamp,
}

/// What this replica knows of the cluster. Read by handlers; they never talk to ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// State of our own session.
    pub session: SessionState,
    /// Live replicas, by id.
    pub members: Vec<Member>,
    /// Leaders, by department; a department without one is absent.
    pub leaders: BTreeMap<DepartmentName, Leader>,
    /// What somebody should mend in ZooKeeper.
    pub alarms: Vec<Cause>,
}

/// A won election. The receiver claims the fence in MongoDB, answers by `verdict`, and acts only after `Lead`.
#[derive(Debug)]
pub struct Claim {
    /// What was won.
    pub leadership: Leadership,
    /// zxid of the transaction that won it.
    pub zxid: i64,
    /// Tells whether the lease still holds; asked before every step.
    pub lease: Lease,
    /// Cancelled when the leadership ends for any reason; all work for it stops.
    pub ended: CancellationToken,
    /// What MongoDB said.
    pub verdict: oneshot::Sender<Verdict>,
}

/// What MongoDB said to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The fence is ours: lead.
    Lead,
    /// MongoDB knows a higher epoch: raise ours above it and claim again.
    Stale(Epoch),
    /// MongoDB did not answer until the lease ended: release and try again later.
    Unavailable,
}

/// Handle to the coordination of this replica.
#[derive(Debug, Clone)]
pub struct Cluster {
    view: watch::Receiver<Arc<ClusterView>>,
    shared: Arc<Shared>,
}

impl Cluster {
    /// Starts the session, the membership and an election for every department in `departments`. Works while ZooKeeper
    /// is down: it keeps trying. Won elections are told through the channel.
    ///
    /// The digest credentials (`user:password`), if any, come in `auth`.
    pub fn start(
        config: &ZookeeperConfig,
        auth: Option<SecretString>,
        me: Member,
        departments: watch::Receiver<Arc<BTreeSet<DepartmentName>>>,
        clock: Clock,
    ) -> (Self, mpsc::Receiver<Claim>) {
        let (claims, receiver) = mpsc::channel(64);
        let empty = ClusterView {
            session: SessionState::Lost,
            members: Vec::new(),
            leaders: BTreeMap::new(),
            alarms: Vec::new(),
        };
        let (view, view_receiver) = watch::channel(Arc::new(empty));
        let shared = Arc::new(Shared {
            lease: LeaseKeeper::new(),
            session: watch::Sender::new(None),
            former: Former::default(),
            signals: Mutex::default(),
            load: Arc::default(),
            draining: AtomicBool::new(me.draining),
            retiring: CancellationToken::new(),
            hurry: CancellationToken::new(),
            closing: CancellationToken::new(),
            elections: TaskTracker::new(),
            tasks: TaskTracker::new(),
            me,
            clock,
            claims,
            departments,
            view,
        });
        shared.tasks.spawn(session::keep(Arc::clone(&shared), config.clone(), auth));
        shared.tasks.spawn(watchdog(Arc::clone(&shared), config.session_timeout));
        shared.elections.spawn(departments::follow(Arc::clone(&shared)));
        (Self { view: view_receiver, shared }, receiver)
    }

    /// What this replica knows of the cluster now.
    pub fn view(&self) -> Arc<ClusterView> {
        self.view.borrow().clone()
    }

    /// Told by a task that MongoDB refused a write of this leadership: gives it up.
    pub fn fenced(&self, leadership: &Leadership) {
        if let Some(signals) = self.shared.signals_of(&leadership.claim) {
            signals.fenced.cancel();
        }
    }

    /// Told by whoever received a `Claim` that all its work has stopped after `ended`; the leader node may go.
    pub fn released(&self, leadership: &Leadership) {
        if let Some(signals) = self.shared.signals_of(&leadership.claim) {
            signals.released.cancel();
        }
    }

    /// Told by a task that another replica should lead: ends the leadership as soon as its work has stopped, and lets
    /// that one go first.
    pub fn hand_over(&self, leadership: &Leadership, to: &ReplicaId) {
        if let Some(signals) = self.shared.signals_of(&leadership.claim) {
            signals.next.send_replace(Some(to.clone()));
        }
    }

    /// Hands over: marks this replica as draining and claims nothing more, cancels every `ended`, waits for `released`
    /// (at most `within`), deletes the leader nodes and closes the session.
    pub async fn drain(&self, within: Duration) {
        if let Err(failure) = registration::mark_draining(&self.shared).await {
            tracing::debug!(%failure, "not marked as draining");
        }
        self.shared.retiring.cancel();
        self.shared.elections.close();
        if timeout(within, self.shared.elections.wait()).await.is_err() {
            self.shared.hurry.cancel();
            // What is left is deletions; closing the session does the same to those that hang.
            let _ = timeout(Duration::from_secs(1), self.shared.elections.wait()).await;
        }
        self.shared.closing.cancel();
        self.shared.tasks.close();
        let _ = timeout(Duration::from_secs(2), self.shared.tasks.wait()).await;
    }
}

/// Ends the lease on time without any news from ZooKeeper.
async fn watchdog(shared: Arc<Shared>, session_timeout: Duration) {
    let mut ticks = interval(session_timeout / 20);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => shared.show_session(),
            () = shared.closing.cancelled() => return,
        }
    }
}

/// What can go wrong with ZooKeeper outside the session loop.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ClusterError {
    /// A full sentence with the remedy.
    pub message: String,
}
