//! The hub: one change stream a replica, shared by every department that it leads.
//!
//! Rule: whoever comes from far behind catches up in a stream beside the shared one first, so that it delays nobody.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::halt::Halt;
use super::lane::{Lane, Left, Member};
use super::leader::Leading;
use crate::domain::history::ClusterTime;
use crate::store::tail::Tail;

/// Departments that come within this time of each other come in together, since each time the stream starts anew.
const COLLECT_FOR: Duration = Duration::from_millis(100);
/// Longest time that the first of them waits for more.
const COLLECT_MAX: Duration = Duration::from_millis(400);
/// Seconds of the oplog that the shared stream goes back for somebody who comes in.
const BEHIND_MAX: u32 = 10;
/// Seconds behind the shared stream at which who catches up comes in; fewer, so that it is not sent away again.
const LEVEL_WITHIN: u32 = 5;
/// Streams beside the shared one at a time.
const CATCH_UPS_MAX: usize = 2;

/// Where departments come into the shared stream. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Hub {
    joins: mpsc::UnboundedSender<Member>,
}

/// A department's place in the stream.
#[derive(Debug)]
pub(super) struct Place {
    /// Told when the stream is open.
    pub(super) opened: oneshot::Receiver<()>,
    /// Told when the department has left it. Dropping this leaves it.
    pub(super) left: oneshot::Receiver<Left>,
}

impl Hub {
    /// A hub, and what has to run for it; that ends when no clone of the hub is left.
    pub(super) fn new(tail: Tail) -> (Self, impl Future<Output = ()> + Send) {
        let (joins, joining) = mpsc::unbounded_channel();
        (Self { joins }, run(tail, joining))
    }

    /// Asks for a place in the stream, behind the follower's position.
    pub(super) fn join(&self, leading: &Leading) -> Result<Place, Halt> {
        let (opens, opened) = oneshot::channel();
        let (leaves, left) = oneshot::channel();
        let member = Member { leading: leading.clone(), opened: Some(opens), left: leaves };
        self.joins.send(member).map_err(|_| Halt::Ended)?;
        Ok(Place { opened, left })
    }
}

/// Who has asked to come in, and since when.
#[derive(Debug, Default)]
struct Waiting {
    members: Vec<Member>,
    since: Option<(Instant, Instant)>,
}

impl Waiting {
    fn add(&mut self, members: impl IntoIterator<Item = Member>) {
        let now = Instant::now();
        let first = self.since.map_or(now, |(first, _)| first);
        self.since = Some((first, now));
        self.members.extend(members);
    }

    /// When they come in.
    async fn over(&self) {
        match self.since {
            Some((first, last)) => tokio::time::sleep_until((last + COLLECT_FOR).min(first + COLLECT_MAX)).await,
            None => std::future::pending().await,
        }
    }

    fn take(&mut self) -> Vec<Member> {
        self.since = None;
        std::mem::take(&mut self.members)
    }
}

async fn run(tail: Tail, mut joining: mpsc::UnboundedReceiver<Member>) {
    let mut shared = Lane::new(tail.clone());
    let (mut waiting, mut behind) = (Waiting::default(), Vec::new());
    let mut catching_up: JoinSet<Vec<Member>> = JoinSet::new();
    let (position, _) = tokio::sync::watch::channel(None);
    loop {
        if !behind.is_empty() && catching_up.len() < CATCH_UPS_MAX {
            let mut lane = Lane::new(tail.clone());
            lane.admit(std::mem::take(&mut behind));
            catching_up.spawn(catch_up(lane, position.subscribe()));
        }
        if shared.wants_to_open() {
            let abandoned = shared.abandoned();
            tokio::select! {
                () = shared.open() => {}
                () = abandoned => {}
            }
        }
        position.send_replace(shared.at());
        tokio::select! {
            joined = joining.recv() => match joined {
                Some(member) => waiting.add([member]),
                None => return,
            },
            () = waiting.over() => {
                let (level, late) = sort(waiting.take(), shared.at());
                behind.extend(late);
                if !level.is_empty() {
                    shared.admit(level);
                }
            }
            Some(level) = catching_up.join_next() => match level {
                Ok(members) => waiting.add(members),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            },
            () = shared.step() => {}
        }
    }
}

/// Who may come into the shared stream, and who has to catch up first.
fn sort(members: Vec<Member>, shared: Option<ClusterTime>) -> (Vec<Member>, Vec<Member>) {
    members.into_iter().filter(|member| !member.left.is_closed()).partition(|member| {
        // Who has no place in any stream is told so by the shared one.
        member.start().is_none_or(|start| is_near(start.cluster_time(), shared, BEHIND_MAX))
    })
}

/// Whether a moment lies at most so many seconds behind the shared stream.
fn is_near(at: ClusterTime, shared: Option<ClusterTime>, seconds: u32) -> bool {
    shared.is_none_or(|shared| at.seconds.saturating_add(seconds) >= shared.seconds)
}

/// Reads a stream until it is level with the shared one; returns who is still in it.
async fn catch_up(mut lane: Lane, shared: tokio::sync::watch::Receiver<Option<ClusterTime>>) -> Vec<Member> {
    let abandoned = lane.abandoned();
    let level = async {
        while !lane.is_empty() {
            if lane.wants_to_open() {
                lane.open().await;
                continue;
            }
            lane.step().await;
            if lane.at().is_some_and(|at| is_near(at, *shared.borrow(), LEVEL_WITHIN)) {
                return;
            }
        }
    };
    tokio::select! {
        () = level => {}
        () = abandoned => {}
    }
    lane.into_members()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_near_the_shared_stream_makes_it_go_back() {
        let at = |seconds| ClusterTime { seconds, ordinal: 1 };
        assert!(is_near(at(5), None, BEHIND_MAX), "nobody is there to be delayed");
        assert!(is_near(at(90), Some(at(100)), BEHIND_MAX) && is_near(at(200), Some(at(100)), BEHIND_MAX));
        assert!(!is_near(at(89), Some(at(100)), BEHIND_MAX));
        assert!(!is_near(at(94), Some(at(100)), LEVEL_WITHIN) && is_near(at(95), Some(at(100)), LEVEL_WITHIN));
    }
}
