//! Keeps the leaderships even over the replicas. The leader of the default department does it for all.
//!
//! Rules: only a set of replicas that has not changed for a while is balanced; one leadership moves at a time, and the
//! next one only when everything is led again; whoever leads decides itself when it is free to go.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::halt::Halt;
use super::leader::Leading;
use crate::cluster::{ClusterView, SessionState};
use crate::domain::balance::{Move, next_move};
use crate::domain::cause::chain;
use crate::domain::epoch::Epoch;
use crate::domain::ids::{DepartmentName, ReplicaId};
use crate::domain::step_down::{StepDown, StepDownReason};
use crate::store::StoreError;

/// How often the view is looked at; it costs nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A move that was asked for.
#[derive(Debug)]
struct Asked {
    department: DepartmentName,
    epoch: Epoch,
    void_at: Instant,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Balancer {
    /// The replicas and the runs of their processes, and since when they are the same.
    live: Option<(BTreeSet<(ReplicaId, String)>, Instant)>,
    asked: Option<Asked>,
    /// Departments whose leader was busy.
    left_out: BTreeSet<DepartmentName>,
}

/// Balances until the leadership ends.
pub(super) async fn run(leading: Leading) {
    if leading.leadership.department != DepartmentName::default_department() {
        return leading.ended.cancelled().await;
    }
    let mut balancer = Balancer::default();
    let after = leading.parts.config.zookeeper.balance_after;
    loop {
        if leading.unless_ended(sleep(LOOK_EVERY)).await.is_err() {
            return;
        }
        let view = leading.parts.cluster.view();
        let Some(next) = balancer.look(&view, after) else { continue };
        match balancer.ask(&leading, &view, next).await {
            Ok(()) => {}
            Err(Halt::Ended) => return leading.give_up(),
            Err(halt) => warn!(?halt, "ask for a leadership to move: tried again"),
        }
    }
}

impl Balancer {
    /// The next move, when it is time for one.
    fn look(&mut self, view: &ClusterView, after: Duration) -> Option<Move> {
        let now = Instant::now();
        let live = view.members.iter().filter(|member| !member.draining);
        let live: BTreeSet<_> = live.map(|member| (member.replica.clone(), member.instance.clone())).collect();
        if self.live.as_ref().is_none_or(|(seen, _)| *seen != live) || view.session != SessionState::Connected {
            *self = Self { live: Some((live, now)), ..Self::default() };
            return None;
        }
        if let Some(asked) = &self.asked {
            let leader = view.leaders.get(&asked.department);
            if leader.is_none_or(|leader| leader.epoch == asked.epoch) {
                if now >= asked.void_at {
                    self.left_out.insert(asked.department.clone());
                    self.asked = None;
                }
                return None;
            }
            self.asked = None;
        }
        let since = self.live.as_ref().map_or(now, |(_, since)| *since);
        let ids: BTreeSet<ReplicaId> = live.into_iter().map(|(id, _)| id).collect();
        // Whoever is not live any more, and leads as far as we know, is about to be followed.
        if now < since + after || !view.leaders.values().all(|leader| ids.contains(&leader.replica)) {
            return None;
        }
        let leaders = view.leaders.iter().map(|(name, leader)| (name.clone(), leader.replica.clone())).collect();
        let next = next_move(&ids, &leaders, &self.left_out);
        if next.is_none() && !self.left_out.is_empty() {
            // Those that were busy are asked again after the same quiet time.
            *self = Self { live: self.live.take().map(|(live, _)| (live, now)), ..Self::default() };
        }
        next
    }

    async fn ask(&mut self, leading: &Leading, view: &ClusterView, next: Move) -> Result<(), Halt> {
        leading.check()?;
        let Some(leader) = view.leaders.get(&next.department) else { return Ok(()) };
        let now = leading.parts.clock.now();
        let wish = StepDown {
            department: next.department.clone(),
            epoch: leader.epoch,
            to: next.to.clone(),
            reason: StepDownReason::Balance,
            requested_at: now,
        };
        let holds = Duration::from_millis(u64::try_from(wish.void_at().as_millis() - now.as_millis()).unwrap_or(0));
        info!(department.id = %next.department, from = %next.from, to = %next.to, "asks for a leadership to move");
        match leading.parts.store.step_downs.ask_as(&leading.leadership, &wish).await {
            Ok(()) => {}
            Err(StoreError::Fenced(_)) => return Err(Halt::Ended),
            Err(error) => return Err(Halt::Later(chain(&error))),
        }
        self.asked = Some(Asked { department: next.department, epoch: leader.epoch, void_at: Instant::now() + holds });
        Ok(())
    }
}
