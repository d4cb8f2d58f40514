//! The election of one department: follows its leader, and claims when there is none.
//!
//! Rules: a claim is one transaction that raises the epoch and creates the leader node; its unknown outcome is resolved
//! by reading; a leader node of ours that we do not lead by (any more) is deleted before a fresh claim is made.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use zookeeper_client::{Error, OneshotWatcher, Stat};

use crate::domain::epoch::{Epoch, Leadership};
use crate::domain::ids::DepartmentName;

use super::Leader;
use super::claiming::Standing;
use super::nodes::{DEPARTMENTS, DepartmentPaths, LeaderNode};
use super::ranking;
use super::session::{Failure, Session, op};
use super::shared::{Place, Shared, jittered};

/// Pause between the claims of neighbours in rank.
const RANK_STEP: Duration = Duration::from_millis(150);
/// How much longer a replica waits that leads its share already.
const ABOVE_CAP: Duration = Duration::from_secs(1);

/// The election of one department in this replica.
#[derive(Debug)]
pub(super) struct Election {
    pub(super) shared: Arc<Shared>,
    pub(super) department: DepartmentName,
    pub(super) paths: DepartmentPaths,
    /// Cancelled when the department goes or the replica drains.
    pub(super) retired: CancellationToken,
    /// A claim whose outcome is unknown.
    pub(super) pending: Option<String>,
    /// Not before this moment: a leadership was given up and somebody else should have a chance.
    pub(super) hold_off: Option<Instant>,
    /// The epoch was just raised for us: claim at once.
    pub(super) eager: bool,
}

/// A claim that ZooKeeper granted.
#[derive(Debug)]
pub(super) struct Won {
    pub(super) leadership: Leadership,
    pub(super) leader: Leader,
    pub(super) zxid: i64,
    /// Version of the epoch node that the claim wrote; guards the deletion of the leader node, whose own version is
    /// the same for everybody.
    pub(super) epoch_version: i32,
}

impl Election {
    /// An election that has not begun.
    pub(super) fn new(shared: Arc<Shared>, department: DepartmentName, retired: CancellationToken) -> Self {
        let paths = DepartmentPaths::new(&department);
        Self { shared, department, paths, retired, pending: None, hold_off: None, eager: false }
    }

    /// Takes part until retired.
    pub(super) async fn run(mut self) {
        let mut prepared = None;
        while let Some(session) = self.ready().await {
            let round = async {
                if prepared != Some(session.id) {
                    self.prepare(&session).await?;
                    prepared = Some(session.id);
                }
                self.round(&session).await
            };
            if let Err(failure) = round.await {
                tracing::debug!(department.id = %self.department, %failure, "election round");
                self.pause(jittered(Duration::from_millis(200))).await;
            }
        }
        self.shared.show_leader(&self.department, None);
        self.clean().await;
    }

    /// A removed department leaves no leader node behind, also when the connection was down as it went. A draining
    /// replica closes its session, which does the same.
    async fn clean(&self) {
        for _ in 0..100 {
            let Some(session) = self.shared.session.borrow().clone() else { return };
            if self.shared.retiring.is_cancelled() || self.clean_once(&session).await.is_ok() {
                return;
            }
            sleep(jittered(Duration::from_millis(300))).await;
        }
    }

    async fn clean_once(&self, session: &Session) -> Result<(), Failure> {
        if !session.is_connected() {
            return Err(Failure::Unknown("disconnected".to_owned()));
        }
        let epoch = op(session.client.check_stat(&self.paths.epoch)).await?;
        let leader = op(session.client.check_stat(&self.paths.leader)).await?;
        match (epoch, leader) {
            (Some(epoch), Some(leader)) if leader.ephemeral_owner == session.id => {
                self.delete_leader(session, epoch.version).await
            }
            _ => Ok(()),
        }
    }

    /// Waits for a connected session whose lease holds; none when retired.
    async fn ready(&self) -> Option<Arc<Session>> {
        let mut sessions = self.shared.session.subscribe();
        loop {
            if self.retired.is_cancelled() {
                return None;
            }
            let session = sessions.borrow_and_update().clone();
            if let Some(session) = session
                && session.is_connected()
                && self.shared.lease.check()
            {
                return Some(session);
            }
            tokio::select! {
                _ = sessions.changed() => {}
                () = sleep(Duration::from_millis(50)) => {}
                () = self.retired.cancelled() => {}
            }
        }
    }

    pub(super) async fn pause(&self, span: Duration) {
        tokio::select! {
            () = sleep(span) => {}
            () = self.retired.cancelled() => {}
        }
    }

    /// Creates the nodes of the department where they are missing.
    async fn prepare(&self, session: &Session) -> Result<(), Failure> {
        session.ensure(DEPARTMENTS, b"").await?;
        session.ensure(&self.paths.department, b"").await?;
        session.ensure(&self.paths.epoch, b"0").await
    }

    /// Reads the leader node once and does what follows from it.
    async fn round(&mut self, session: &Arc<Session>) -> Result<(), Failure> {
        let mut reconnects = session.reconnects.subscribe();
        // Read before the leader node, so that its version guards the deletion of exactly the node that we then see.
        let (counter, counter_stat) = op(session.client.get_data(&self.paths.epoch)).await?;
        let (stat, watcher) = op(session.client.check_and_watch_stat(&self.paths.leader)).await?;
        let Some(stat) = stat else {
            self.shared.show_leader(&self.department, None);
            return self.candidate(session, watcher, &counter, counter_stat.version).await;
        };
        let node = match op(session.client.get_data(&self.paths.leader)).await {
            Ok((bytes, now)) if now.czxid == stat.czxid => LeaderNode::decode(&bytes),
            Ok(_) | Err(Failure::Refused(Error::NoNode)) => return Ok(()),
            Err(failure) => return Err(failure),
        };
        if stat.ephemeral_owner == session.id {
            return self.own(session, node, &stat, counter_stat.version).await;
        }
        if self.shared.former.has(stat.ephemeral_owner) {
            return self.supersede(session, &counter, counter_stat.version).await;
        }
        self.pending = None;
        self.eager = false;
        self.shared.show_leader(&self.department, node.as_ref().and_then(LeaderNode::leader).as_ref());
        self.until_news(session, watcher, &mut reconnects).await;
        Ok(())
    }

    /// Waits for a reason to read again.
    async fn until_news(&self, session: &Session, watcher: OneshotWatcher, reconnects: &mut watch::Receiver<u64>) {
        tokio::select! {
            _ = watcher.changed() => {}
            _ = reconnects.changed() => {}
            () = sleep(jittered(Duration::from_secs(30))) => {}
            () = session.gone.cancelled() => {}
            () = self.retired.cancelled() => {}
        }
    }

    /// The leader node is ours though we do not lead: a claim whose answer was lost, or a leadership that ended.
    async fn own(
        &mut self,
        session: &Arc<Session>,
        node: Option<LeaderNode>,
        stat: &Stat,
        epoch_version: i32,
    ) -> Result<(), Failure> {
        let pending = self.pending.take();
        if let Some(node) = node
            && pending.as_ref() == Some(&node.claim)
            && let Some(leader) = node.leader()
        {
            let place = self.shared.place(usize::MAX);
            let leadership = self.leadership(Epoch(node.epoch), node.claim);
            self.lead(session, Won { leadership, leader, zxid: stat.czxid, epoch_version }).await;
            drop(place);
            return Ok(());
        }
        self.shared.show_leader(&self.department, None);
        self.delete_leader(session, epoch_version).await
    }

    /// Deletes our leader node, unless somebody claimed since the epoch node had this version.
    pub(super) async fn delete_leader(&self, session: &Session, epoch_version: i32) -> Result<(), Failure> {
        let mut writer = session.client.new_multi_writer();
        writer.add_check_version(&self.paths.epoch, epoch_version).map_err(Failure::from)?;
        writer.add_delete(&self.paths.leader, None).map_err(Failure::from)?;
        op(writer.commit()).await.map(drop)
    }

    /// There is no leader: waits for our turn, and claims if there is still none.
    async fn candidate(
        &mut self,
        session: &Arc<Session>,
        watcher: OneshotWatcher,
        counter: &[u8],
        epoch_version: i32,
    ) -> Result<(), Failure> {
        let news = async {
            tokio::select! {
                _ = watcher.changed() => {}
                () = session.gone.cancelled() => {}
                () = self.retired.cancelled() => {}
            }
        };
        let turn = async {
            let named = self.is_named(session, counter).await?;
            Ok::<_, Failure>(if named { self.shared.place(usize::MAX) } else { self.turn().await })
        };
        let place = tokio::select! {
            () = news => return Ok(()),
            place = turn => place?,
        };
        if !session.is_connected() || !self.shared.lease.check() {
            return Ok(());
        }
        self.eager = false;
        self.hold_off = None;
        let won = self.claim(session, counter, epoch_version, Standing::Nothing).await?;
        if let Some(won) = won {
            self.lead(session, won).await;
        } else {
            // We may have read from a server that lags behind.
            self.pause(jittered(Duration::from_millis(50))).await;
        }
        drop(place);
        Ok(())
    }

    /// Waits as long as our rank, our load and a leadership just given up ask for.
    async fn turn(&self) -> Option<Place> {
        if let Some(moment) = self.hold_off {
            tokio::time::sleep_until(moment).await;
        }
        if self.eager {
            return self.shared.place(usize::MAX);
        }
        self.members_known().await;
        let (rank, cap) = {
            let view = self.shared.view.borrow();
            let departments = self.shared.departments.borrow().len();
            let rank = ranking::rank(&self.shared.me.replica, &self.department, &view.members);
            (rank, ranking::cap(departments, &view.members))
        };
        sleep(RANK_STEP * u32::try_from(rank).unwrap_or(u32::MAX)).await;
        if let Some(place) = self.shared.place(cap) {
            return Some(place);
        }
        sleep(ABOVE_CAP).await;
        self.shared.place(usize::MAX)
    }

    /// Waits until the members were read, so that the first replica up does not take its rank for the only one. Not for
    /// long: a leader matters more than the right one.
    async fn members_known(&self) {
        let mut views = self.shared.view.subscribe();
        let me = &self.shared.me.replica;
        let known = views.wait_for(|view| view.members.iter().any(|member| member.replica == *me));
        let _ = tokio::time::timeout(Duration::from_secs(1), known).await;
    }

    pub(super) fn leadership(&self, epoch: Epoch, claim: String) -> Leadership {
        Leadership { department: self.department.clone(), epoch, replica: self.shared.me.replica.clone(), claim }
    }
}
