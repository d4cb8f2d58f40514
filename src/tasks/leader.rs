//! One leadership, from the claim of the fence to its release.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info_span, trace, warn};

use super::Parts;
use super::again::Told;
use super::divergence::{self, when_clear};
use super::exchanged::Looked;
use super::follower::Follower;
use super::halt::Halt;
use super::stream::Hub;
use super::{
    adopt, archive, backups, balance, catch_up, follow, prune, rescan, restores, schedule, scrub, scrub_snapshots,
    step_down,
};
use crate::backup::Repository;
use crate::backup::journal_read::JournalPlace;
use crate::cluster::{Claim, Lease, Verdict};
use crate::domain::cause::{Cause, chain};
use crate::domain::epoch::{Epoch, Leadership};
use crate::domain::history::{Head, Sequence, Timeline};
use crate::store::fences::Claimed;

/// Pause before something that did not answer is tried again.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What every task of one leadership works with. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Leading {
    pub(super) parts: Parts,
    pub(super) leadership: Leadership,
    lease: Lease,
    /// Cancelled when the leadership ends.
    pub(super) ended: CancellationToken,
    pub(super) repository: Repository,
    pub(super) follower: Arc<Follower>,
    /// The epoch that the head had before this leader took it.
    pub(super) before: Epoch,
    /// Whether something may be written to the targets.
    pub(super) clear: watch::Sender<bool>,
    /// The head as this leader moved it last.
    pub(super) head: Arc<Mutex<Head>>,
    /// The sequence that the head covers.
    pub(super) archived: watch::Sender<Sequence>,
    /// Why the journal cannot be archived now.
    pub(super) trouble: watch::Sender<Option<Cause>>,
    pub(super) pokes: Arc<Pokes>,
    /// What the log was told of.
    pub(super) told: Arc<Told>,
    /// Which targets are what they are said to be.
    pub(super) looked: Arc<Looked>,
}

/// Wakes the loops of a leadership when there is something to do.
#[derive(Debug, Default)]
pub(super) struct Pokes {
    pub(super) archive: Notify,
    pub(super) backups: Notify,
    pub(super) restores: Notify,
    pub(super) schedule: Notify,
    pub(super) catch_up: Notify,
    pub(super) prune: Notify,
    pub(super) settle: Notify,
    pub(super) step_down: Notify,
    /// The leadership was given up before anybody ended it.
    gave_up: AtomicBool,
}

impl Leading {
    /// The journal of the department on all targets.
    pub(super) fn journal(&self, timeline: Timeline) -> JournalPlace {
        JournalPlace::new(&self.repository, self.parts.targets.clone(), &self.leadership.department, timeline)
    }

    /// Asked before every step: does this replica still lead?
    pub(super) fn check(&self) -> Result<(), Halt> {
        if !self.ended.is_cancelled() && may_act(&self.lease, &self.leadership) { Ok(()) } else { Err(Halt::Ended) }
    }

    /// Waits for a poke, at most so long; tells whether the leadership goes on.
    pub(super) async fn rest(&self, poke: &Notify, at_most: Duration) -> bool {
        tokio::select! {
            () = self.ended.cancelled() => false,
            () = poke.notified() => true,
            () = tokio::time::sleep(at_most) => true,
        }
    }

    /// Does something long that writes nothing, and drops it when the leadership ends.
    pub(super) async fn unless_ended<T>(&self, work: impl Future<Output = T>) -> Result<T, Halt> {
        tokio::select! {
            () = self.ended.cancelled() => Err(Halt::Ended),
            done = work => Ok(done),
        }
    }

    /// MongoDB refused a write of this epoch: gives the leadership up at once.
    pub(super) fn give_up(&self) {
        if !self.ended.is_cancelled() {
            warn!("gave up the leadership: the lease is over or the fence has moved on");
            self.pokes.gave_up.store(true, Ordering::Relaxed);
            self.parts.cluster.fenced(&self.leadership);
            self.ended.cancel();
        }
    }
}

/// Whether the lease holds, so that something may begin. The log hears how long it still holds.
fn may_act(lease: &Lease, leadership: &Leadership) -> bool {
    // Looked at before it is judged, so that a pause in between does not look as if something had begun too late.
    let left = lease.left_us();
    let holds = lease.holds();
    if holds {
        trace!(department.id = %leadership.department, epoch = %leadership.epoch, lease.left_us = left, "step");
    }
    holds
}

/// Leads a department from a won election until the leadership ends.
pub(super) async fn lead(parts: Parts, hub: Hub, claim: Claim) {
    let leadership = claim.leadership.clone();
    let span = info_span!("lead", department.id = %leadership.department, epoch = %leadership.epoch);
    let cluster = parts.cluster.clone();
    let led = work(parts, hub, claim).instrument(span).await;
    if led {
        cluster.released(&leadership);
    }
}

/// Whether the leadership was taken up; then it has to be released.
async fn work(parts: Parts, hub: Hub, claim: Claim) -> bool {
    let Claim { leadership, zxid, lease, ended, verdict } = claim;
    let answer = tokio::select! {
        () = ended.cancelled() => Verdict::Unavailable,
        answer = claim_fence(&parts, &leadership, zxid, &lease) => answer,
    };
    parts.count_claim(answer);
    let won = answer == Verdict::Lead;
    if verdict.send(answer).is_err() || !won {
        return false;
    }
    // The election tells the log; here it is only where in the order of things.
    debug!("takes the department up");
    let counted = parts.clone();
    let opened = tokio::select! {
        () = ended.cancelled() => None,
        opened = open(&parts, &hub, &leadership, &lease, &ended) => opened.ok(),
    };
    let mut gave_up = false;
    if let Some(leading) = opened {
        match Box::pin(divergence::settle(&leading)).await {
            Ok(()) => run_tasks(&leading, hub).await,
            Err(_) => leading.give_up(),
        }
        gave_up = leading.pokes.gave_up.load(Ordering::Relaxed);
    }
    counted.count_ended(gave_up);
    debug!("has let go of the department");
    true
}

/// Claims the fence until MongoDB answers or the lease is over.
async fn claim_fence(parts: &Parts, leadership: &Leadership, zxid: i64, lease: &Lease) -> Verdict {
    while may_act(lease, leadership) {
        match parts.store.fences.claim(leadership, zxid).await {
            Ok(Claimed::Stale(epoch)) => return Verdict::Stale(epoch),
            Ok(Claimed::Mine) => {
                adopt::at_first(parts, leadership).await;
                return Verdict::Lead;
            }
            Err(error) => warn!(error = chain(&error), "claim the fence"),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    Verdict::Unavailable
}

/// Waits for the repository, takes the head and opens the follower.
async fn open(
    parts: &Parts,
    hub: &Hub,
    leadership: &Leadership,
    lease: &Lease,
    ended: &CancellationToken,
) -> Result<Leading, Halt> {
    let repository = loop {
        if let Some(repository) = parts.repository.get() {
            break repository.clone();
        }
        tokio::time::sleep(RETRY_AFTER).await;
    };
    let (head, before) = loop {
        if !may_act(lease, leadership) {
            return Err(Halt::Ended);
        }
        match follow::take_head(parts, leadership).await {
            Ok(taken) => break taken,
            Err(Halt::Ended) => {
                parts.cluster.fenced(leadership);
                return Err(Halt::Ended);
            }
            Err(halt) => warn!(reason = halt.reason(), "take the head"),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    };
    Ok(Leading {
        parts: parts.clone(),
        leadership: leadership.clone(),
        lease: lease.clone(),
        ended: ended.clone(),
        repository,
        before,
        clear: watch::Sender::new(false),
        archived: watch::Sender::new(head.position.sequence),
        trouble: watch::Sender::new(None),
        follower: Arc::new(Follower::new(head.position.clone(), Arc::clone(&hub.room))),
        head: Arc::new(Mutex::new(head)),
        pokes: Arc::default(),
        looked: Arc::default(),
        told: Arc::default(),
    })
}

/// Runs every task until the leadership ends; a task that dies ends the leadership, and another replica goes on.
async fn run_tasks(leading: &Leading, hub: Hub) {
    let tracker = tokio_util::task::TaskTracker::new();
    let span = tracing::Span::current();
    let writer = |work| when_clear(leading.clone(), work).instrument(span.clone());
    let tasks = [
        tracker.spawn(follow::run(leading.clone(), hub).instrument(span.clone())),
        tracker.spawn(adopt::run(leading.clone()).instrument(span.clone())),
        tracker.spawn(divergence::run(leading.clone()).instrument(span.clone())),
        tracker.spawn(schedule::run(leading.clone()).instrument(span.clone())),
        tracker.spawn(step_down::run(leading.clone()).instrument(span.clone())),
        tracker.spawn(balance::run(leading.clone()).instrument(span.clone())),
        tracker.spawn(writer(archive::run(leading.clone()).boxed())),
        tracker.spawn(writer(backups::run(leading.clone()).boxed())),
        tracker.spawn(writer(restores::run(leading.clone()).boxed())),
        tracker.spawn(writer(catch_up::run(leading.clone()).boxed())),
        tracker.spawn(writer(scrub::run(leading.clone()).boxed())),
        tracker.spawn(writer(scrub_snapshots::run(leading.clone()).boxed())),
        tracker.spawn(writer(rescan::run(leading.clone()).boxed())),
        tracker.spawn(writer(prune::run(leading.clone()).boxed())),
    ];
    let _ = futures::future::select_all(tasks).await;
    leading.give_up();
    tracker.close();
    tracker.wait().await;
}
