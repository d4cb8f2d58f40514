//! The claim of a leadership: one transaction that raises the epoch and creates the leader node.
//!
//! Rule: a leader node that stands is replaced only where a session of this very process left it: whoever led by that one
//! has stopped, and the epoch that the transaction compares says that nobody claimed since.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;
use zookeeper_client::{Error, MultiWriteResult};

use super::election::{Election, Won};
use super::nodes::LeaderNode;
use super::session::{Failure, Session, op};
use super::shared::jittered;
use crate::domain::epoch::Epoch;

/// What stands where the leader node goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Nothing,
    /// The leader node of a session that this process had before.
    Former,
}

impl Election {
    /// The leader node is left over from a session of ours that is gone. An ensemble that lost its quorum gives every
    /// session a whole timeout anew when it is back, also those that nobody has any more: so we do not wait for it.
    pub(super) async fn supersede(
        &mut self,
        session: &Arc<Session>,
        counter: &[u8],
        epoch_version: i32,
    ) -> Result<(), Failure> {
        self.pending = None;
        self.shared.show_leader(&self.department, None);
        if self.hold_off.is_some_and(|moment| moment > Instant::now()) {
            return self.delete_leader(session, epoch_version).await;
        }
        let place = self.shared.place(usize::MAX);
        if let Some(won) = self.claim(session, counter, epoch_version, Standing::Former).await? {
            tracing::info!(department.id = %self.department, "replaced the leader node of a session before");
            self.lead(session, won).await;
        } else {
            self.pause(jittered(Duration::from_millis(50))).await;
        }
        drop(place);
        Ok(())
    }

    /// Claims: raises the epoch and creates the leader node, both or neither. None when somebody was faster.
    pub(super) async fn claim(
        &mut self,
        session: &Session,
        counter: &[u8],
        version: i32,
        standing: Standing,
    ) -> Result<Option<Won>, Failure> {
        let Some(current) = std::str::from_utf8(counter).ok().and_then(|text| text.trim().parse::<i64>().ok()) else {
            tracing::error!(path = self.paths.epoch, "the epoch node does not hold a number; set it to the last epoch");
            self.pause(Duration::from_secs(5)).await;
            return Ok(None);
        };
        let node = self.next_node(current);
        let mut writer = session.client.new_multi_writer();
        let raised = node.epoch.to_string();
        writer.add_set_data(&self.paths.epoch, raised.as_bytes(), Some(version)).map_err(Failure::from)?;
        if standing == Standing::Former {
            writer.add_delete(&self.paths.leader, None).map_err(Failure::from)?;
        }
        let options = session.access.ephemeral();
        writer.add_create(&self.paths.leader, &node.encode(), &options).map_err(Failure::from)?;
        self.pending = Some(node.claim.clone());
        let results = match op(writer.commit()).await {
            Ok(results) => results,
            Err(Failure::Refused(Error::NodeExists | Error::BadVersion | Error::NoNode)) => {
                self.pending = None;
                return Ok(None);
            }
            // The next round reads whether it was done.
            Err(failure) => return Err(failure),
        };
        // The stat of the creation is invalid in ZooKeeper 3.8 (ZOOKEEPER-4026); the transaction has one zxid.
        let (Some(MultiWriteResult::SetData { stat }), Some(leader)) = (results.first(), node.leader()) else {
            return Err(Failure::Unknown("an answer that does not fit the claim".to_owned()));
        };
        self.pending = None;
        let leadership = self.leadership(Epoch(node.epoch), node.claim);
        Ok(Some(Won { leadership, leader, zxid: stat.mzxid, epoch_version: stat.version }))
    }

    fn next_node(&self, current: i64) -> LeaderNode {
        let me = &self.shared.me;
        LeaderNode {
            replica: me.replica.to_string(),
            instance: me.instance.clone(),
            claim: Uuid::now_v7().to_string(),
            url: me.url.clone(),
            epoch: current + 1,
            since: self.shared.clock.now().as_millis(),
        }
    }
}
