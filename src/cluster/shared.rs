//! What the tasks of the module share, and the one writer of the view.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::cause::Cause;
use crate::domain::clock::Clock;
use crate::domain::ids::{DepartmentName, ReplicaId};

use super::lease::LeaseKeeper;
use super::session::Session;
use super::{Claim, ClusterView, Leader, Member, SessionState};

/// Former sessions that are remembered. ZooKeeper forgets each after a timeout or two.
const FORMER_MAX: usize = 64;

/// What the tasks of the module share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) me: Member,
    pub(super) clock: Clock,
    pub(super) lease: LeaseKeeper,
    pub(super) claims: mpsc::Sender<Claim>,
    pub(super) departments: watch::Receiver<Arc<BTreeSet<DepartmentName>>>,
    /// The registered session, while there is one.
    pub(super) session: watch::Sender<Option<Arc<Session>>>,
    /// Sessions that this process had before.
    pub(super) former: Former,
    pub(super) view: watch::Sender<Arc<ClusterView>>,
    /// What the claimants tell us, by the name of the claim.
    pub(super) signals: Mutex<BTreeMap<String, Signals>>,
    /// How many departments this replica leads or is about to.
    pub(super) load: Arc<AtomicUsize>,
    pub(super) draining: AtomicBool,
    /// Nothing more is claimed; leaders hand over.
    pub(super) retiring: CancellationToken,
    /// Nobody waits for `released` any more.
    pub(super) hurry: CancellationToken,
    /// The session ends.
    pub(super) closing: CancellationToken,
    pub(super) elections: TaskTracker,
    pub(super) tasks: TaskTracker,
}

/// The sessions that this process had and lost, the last ones of them: what they left behind in ZooKeeper is ours.
#[derive(Debug, Default)]
pub(super) struct Former(Mutex<VecDeque<i64>>);

impl Former {
    /// Takes a session in that nobody uses any more.
    pub(super) fn add(&self, session: i64) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() == FORMER_MAX {
            sessions.pop_front();
        }
        sessions.push_back(session);
    }

    /// Whether it was one of ours.
    pub(super) fn has(&self, session: i64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&session)
    }
}

/// What the claimant tells us of one leadership.
#[derive(Debug, Clone, Default)]
pub(super) struct Signals {
    /// MongoDB refused a write.
    pub(super) fenced: CancellationToken,
    /// All its work has stopped.
    pub(super) released: CancellationToken,
    /// Who should lead next.
    pub(super) next: watch::Sender<Option<ReplicaId>>,
}

impl Shared {
    /// The signals of a claim, if it is one of ours that still matters.
    pub(super) fn signals_of(&self, claim: &str) -> Option<Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner).get(claim).cloned()
    }

    /// Opens the signals of a claim.
    pub(super) fn open_signals(&self, claim: &str) -> Signals {
        let signals = Signals::default();
        self.signals.lock().unwrap_or_else(PoisonError::into_inner).insert(claim.to_owned(), signals.clone());
        signals
    }

    /// Forgets the signals of a claim.
    pub(super) fn close_signals(&self, claim: &str) {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner).remove(claim);
    }

    /// Shows the members.
    pub(super) fn show_members(&self, members: &[Member]) {
        self.change(|view| view.members != members, |view| view.members = members.to_vec());
    }

    /// Shows the leader of a department, or that there is none.
    pub(super) fn show_leader(&self, department: &DepartmentName, leader: Option<&Leader>) {
        self.change(
            |view| view.leaders.get(department) != leader,
            |view| match leader {
                Some(leader) => drop(view.leaders.insert(department.clone(), leader.clone())),
                None => drop(view.leaders.remove(department)),
            },
        );
    }

    /// Shows how it stands with the session, and ends a lease whose time is over.
    pub(super) fn show_session(&self) {
        let holds = self.lease.check();
        let connected = self.session.borrow().as_ref().map(|session| session.is_connected());
        let state = match connected {
            None => SessionState::Lost,
            Some(true) if holds => SessionState::Connected,
            Some(_) => SessionState::Suspended,
        };
        self.change(|view| view.session != state, |view| view.session = state);
    }

    /// Shows an alarm by its code, or that there is none any more; one that is new is logged.
    pub(super) fn show_alarm(&self, code: &str, alarm: Option<&Cause>) {
        let shown = self.view.borrow().alarms.iter().find(|alarm| alarm.code == code).cloned();
        if shown.as_ref() == alarm {
            return;
        }
        if let Some(alarm) = alarm {
            tracing::warn!(code, "{}", alarm.message);
        }
        self.view.send_modify(|view| {
            let view = Arc::make_mut(view);
            view.alarms.retain(|shown| shown.code != code);
            view.alarms.extend(alarm.cloned());
        });
    }

    fn change(&self, differs: impl Fn(&ClusterView) -> bool, apply: impl Fn(&mut ClusterView)) {
        self.view.send_if_modified(|view| {
            let different = differs(view);
            if different {
                apply(Arc::make_mut(view));
            }
            different
        });
    }

    /// A place among the departments that this replica leads; none at `cap`.
    pub(super) fn place(&self, cap: usize) -> Option<Place> {
        let taken = self.load.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |load| (load < cap).then_some(load + 1));
        taken.is_ok().then(|| Place(Arc::clone(&self.load)))
    }
}

/// One department counted in the load; gives it back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A time between half and all of `span`, so that replicas do not move in step.
pub(super) fn jittered(span: Duration) -> Duration {
    span.mul_f64(rand::rng().random_range(0.5..=1.0))
}
