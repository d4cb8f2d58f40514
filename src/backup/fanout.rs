//! Writes objects to all targets at once: durable at the write quorum, never waiting for a target beyond it.
//!
//! Rule: a target gets its objects in order, so whatever lies on it has everything it refers to. A target that fails
//! or falls behind is dropped from this backup and owes its copy.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::domain::cause::Cause;
use crate::targets::layout::ObjectPath;
use crate::targets::{Target, Targets};

use super::repair::bring;
use super::{BackupError, Repository};

/// Objects that may be on their way to the quorum.
const WINDOW: u64 = 3;
/// Objects that a target may be behind the quorum.
const LAG_MAX: u64 = 4;
/// Time that a target beyond the quorum gets at the end.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// One object to bring to every target.
#[derive(Debug, Clone)]
pub(super) enum Sent {
    /// A new object.
    New(ObjectPath, Bytes),
    /// An object of an earlier backup, with its size: brought again only where it is missing.
    Kept(ObjectPath, u64),
}

#[derive(Debug)]
struct Lane {
    queue: Option<mpsc::UnboundedSender<Sent>>,
    done: u64,
    failure: Option<Cause>,
}

/// Objects on their way to all targets.
#[derive(Debug)]
pub(super) struct Fanout {
    lanes: Vec<Lane>,
    quorum: usize,
    submitted: u64,
    events: mpsc::UnboundedReceiver<(usize, Result<(), BackupError>)>,
    targets: Targets,
    stop: CancellationToken,
    _workers: JoinSet<()>,
}

impl Fanout {
    pub(super) fn start(repository: &Repository, targets: &Targets, stop: &CancellationToken) -> Self {
        let (tell, events) = mpsc::unbounded_channel();
        let mut workers = JoinSet::new();
        let mut lanes = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            let (queue, mut pieces) = mpsc::unbounded_channel();
            lanes.push(Lane { queue: Some(queue), done: 0, failure: None });
            let (tell, repository, targets, target) =
                (tell.clone(), repository.clone(), targets.clone(), target.clone());
            workers.spawn(async move {
                if let Err(error) = repository.admit(&target).await {
                    let _ = tell.send((index, Err(error)));
                    return;
                }
                while let Some(piece) = pieces.recv().await {
                    let outcome = deliver(&targets, &target, piece).await;
                    let failed = outcome.is_err();
                    // The other side may be gone already; then nobody counts any more.
                    if tell.send((index, outcome)).is_err() || failed {
                        return;
                    }
                }
            });
        }
        let (quorum, targets, stop) = (targets.quorum(), targets.clone(), stop.clone());
        Self { lanes, quorum, submitted: 0, events, targets, stop, _workers: workers }
    }

    /// Sends an object to all targets; waits until the quorum is close behind.
    pub(super) async fn submit(&mut self, piece: Sent) -> Result<(), BackupError> {
        while self.submitted - self.quorum_done() >= WINDOW {
            self.next_event().await?;
        }
        self.submitted += 1;
        for lane in &self.lanes {
            if let Some(queue) = &lane.queue {
                // A worker that has ended tells its failure as an event.
                let _ = queue.send(piece.clone());
            }
        }
        self.check()
    }

    /// Waits until W targets hold everything, and a short grace for the rest; gives each target's failure.
    pub(super) async fn finish(mut self) -> Result<Vec<Option<Cause>>, BackupError> {
        while self.quorum_done() < self.submitted {
            self.next_event().await?;
        }
        let all = async {
            while self.lanes.iter().any(|lane| lane.failure.is_none() && lane.done < self.submitted) {
                self.next_event().await?;
            }
            Ok::<_, BackupError>(())
        };
        if let Ok(outcome) = tokio::time::timeout(GRACE, all).await {
            outcome?;
        }
        let submitted = self.submitted;
        Ok(self.lanes.into_iter().map(|lane| lane.failure.or_else(|| (lane.done < submitted).then(too_slow))).collect())
    }

    /// Objects that the quorum holds.
    fn quorum_done(&self) -> u64 {
        let mut done: Vec<u64> = self.lanes.iter().filter(|l| l.failure.is_none()).map(|l| l.done).collect();
        done.sort_unstable_by(|a, b| b.cmp(a));
        done.get(self.quorum - 1).copied().unwrap_or(0)
    }

    async fn next_event(&mut self) -> Result<(), BackupError> {
        self.check()?;
        let event = tokio::select! {
            () = self.stop.cancelled() => return Err(BackupError::Stopped),
            event = self.events.recv() => event,
        };
        let Some((index, outcome)) = event else { return Err(BackupError::Stopped) };
        if let Some(lane) = self.lanes.get_mut(index) {
            match outcome {
                Ok(()) => lane.done += 1,
                Err(error) => lane.fail(error.cause()),
            }
        }
        let quorum = self.quorum_done();
        for lane in &mut self.lanes {
            if lane.failure.is_none() && quorum > lane.done + LAG_MAX {
                lane.fail(too_slow());
            }
        }
        self.check()
    }

    fn check(&self) -> Result<(), BackupError> {
        let failures: Vec<Option<Cause>> = self.lanes.iter().map(|lane| lane.failure.clone()).collect();
        require_quorum(&self.targets, &failures)
    }
}

impl Lane {
    fn fail(&mut self, cause: Cause) {
        self.queue = None;
        self.failure.get_or_insert(cause);
    }
}

/// The cause of a target that was not waited for.
pub(super) fn too_slow() -> Cause {
    Cause::new("target_slow", "The target was too far behind the others; its copy is caught up later.")
}

/// Refuses when fewer than W targets are left without a failure.
///
/// # Errors
/// `QuorumNotReached` with each failing target and its cause.
pub fn require_quorum(targets: &Targets, failures: &[Option<Cause>]) -> Result<(), BackupError> {
    let reached = failures.iter().filter(|failure| failure.is_none()).count();
    if reached >= targets.quorum() {
        return Ok(());
    }
    let details: Vec<String> = targets
        .iter()
        .zip(failures)
        .filter_map(|(target, failure)| failure.as_ref().map(|cause| format!("{}: {}", target.name(), cause.message)))
        .collect();
    Err(BackupError::QuorumNotReached { reached, needed: targets.quorum(), details: details.join("; ") })
}

async fn deliver(targets: &Targets, target: &Target, piece: Sent) -> Result<(), BackupError> {
    match piece {
        Sent::New(path, bytes) => Ok(target.put(&path, bytes).await?),
        Sent::Kept(path, size) => {
            if target.size(&path).await? == Some(size) {
                return Ok(());
            }
            bring(targets, target, &path).await
        }
    }
}
