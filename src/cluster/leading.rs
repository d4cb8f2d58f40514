//! From a won election to its end: asks for the fence, leads, steps down, cleans up.
//!
//! Rule: whatever ends a leadership cancels its `ended` first; the leader node goes only when the work has stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use zookeeper_client::OneshotWatcher;

use super::election::{Election, Won};
use super::session::{Failure, Session, op};
use super::shared::{Signals, jittered};
use super::{Claim, Lease, Verdict};
use crate::domain::ids::ReplicaId;

/// How long others go first after a leadership was given up.
const HOLD_OFF: Duration = Duration::from_secs(1);
/// How long a department is kept from the others by work that does not stop.
const PATIENCE: Duration = Duration::from_secs(30);

impl Election {
    /// Leads until something ends it.
    pub(super) async fn lead(&mut self, session: &Arc<Session>, won: Won) {
        let Some((lease, ended)) = self.shared.lease.issue() else {
            self.give_up(session, &won).await;
            return;
        };
        let claim = won.leadership.claim.clone();
        let signals = self.shared.open_signals(&claim);
        match self.verdict(&won, lease, &ended).await {
            Some(Verdict::Lead) => {
                tracing::info!(
                    department.id = %self.department,
                    epoch = %won.leadership.epoch,
                    claim,
                    instance = self.shared.me.instance,
                    "leading"
                );
                let mut next = None;
                if !ended.is_cancelled() {
                    self.shared.show_leader(&self.department, Some(&won.leader));
                    next = self.hold(session, &won, &signals, &ended).await;
                }
                ended.cancel();
                self.shared.show_leader(&self.department, None);
                tracing::info!(department.id = %self.department, epoch = %won.leadership.epoch, "stepped down");
                self.wait_released(&signals).await;
                match next {
                    Some(next) => self.leave_to(session, &won, &next).await,
                    None => self.give_up(session, &won).await,
                }
            }
            Some(Verdict::Stale(known)) => {
                ended.cancel();
                self.raise(session, &won, known.0).await;
            }
            Some(Verdict::Unavailable) | None => {
                ended.cancel();
                self.give_up(session, &won).await;
                self.hold_off = Some(Instant::now() + HOLD_OFF);
            }
        }
        self.shared.close_signals(&claim);
    }

    /// Tells of the claim and waits for the answer, also when the lease ends meanwhile: then work may have begun.
    async fn verdict(&self, won: &Won, lease: Lease, ended: &CancellationToken) -> Option<Verdict> {
        let (sender, mut answer) = oneshot::channel();
        let leadership = won.leadership.clone();
        let claim = Claim { leadership, zxid: won.zxid, lease, ended: ended.clone(), verdict: sender };
        tokio::select! {
            biased;
            () = ended.cancelled() => return None,
            () = self.retired.cancelled() => return None,
            sent = self.shared.claims.send(claim) => sent.ok()?,
        }
        tokio::select! {
            verdict = &mut answer => return verdict.ok(),
            () = ended.cancelled() => {}
            () = self.retired.cancelled() => ended.cancel(),
        }
        tokio::select! {
            verdict = timeout(PATIENCE, answer) => verdict.ok()?.ok(),
            () = self.shared.hurry.cancelled() => None,
        }
    }

    /// Returns when the leadership must end, with the replica that should lead next if somebody said so.
    async fn hold(
        &mut self,
        session: &Session,
        won: &Won,
        signals: &Signals,
        ended: &CancellationToken,
    ) -> Option<ReplicaId> {
        let mut named = signals.next.subscribe();
        let mut reconnects = session.reconnects.subscribe();
        loop {
            let news = async {
                match self.verify(session, won).await {
                    Ok(Some((leader, epoch))) => {
                        tokio::select! {
                            _ = leader.changed() => {}
                            _ = epoch.changed() => {}
                            _ = reconnects.changed() => {}
                            () = sleep(jittered(Duration::from_secs(30))) => {}
                        }
                        true
                    }
                    Ok(None) => false,
                    // Whether we still lead is unknown; the lease judges.
                    Err(_) => {
                        sleep(Duration::from_millis(200)).await;
                        true
                    }
                }
            };
            let next = async { named.wait_for(Option::is_some).await.ok().and_then(|next| next.clone()) };
            let fenced = tokio::select! {
                Some(next) = next => return Some(next),
                still = news => if still { continue } else { false },
                () = signals.fenced.cancelled() => true,
                () = ended.cancelled() => false,
                () = session.gone.cancelled() => false,
                () = self.retired.cancelled() => false,
            };
            if fenced {
                tracing::warn!(department.id = %self.department, epoch = %won.leadership.epoch, "fenced by MongoDB");
                self.hold_off = Some(Instant::now() + HOLD_OFF);
            }
            return None;
        }
    }

    /// Whether the nodes are still as the claim wrote them, with watches on both; none if not.
    async fn verify(&self, session: &Session, won: &Won) -> Result<Option<(OneshotWatcher, OneshotWatcher)>, Failure> {
        if !session.is_connected() {
            return Err(Failure::Unknown("disconnected".to_owned()));
        }
        let (leader, leader_watch) = op(session.client.check_and_watch_stat(&self.paths.leader)).await?;
        let (epoch, epoch_watch) = op(session.client.check_and_watch_stat(&self.paths.epoch)).await?;
        let ours = leader.is_some_and(|stat| stat.ephemeral_owner == session.id && stat.czxid == won.zxid)
            && epoch.is_some_and(|stat| stat.version == won.epoch_version);
        Ok(ours.then_some((leader_watch, epoch_watch)))
    }

    async fn wait_released(&self, signals: &Signals) {
        tokio::select! {
            () = signals.released.cancelled() => {}
            () = self.shared.hurry.cancelled() => {}
            () = sleep(PATIENCE) => {
                tracing::warn!(department.id = %self.department, "work of an ended leadership does not stop; not waiting");
            }
        }
    }

    /// Deletes the leader node, if it can be done now; the next round does it otherwise.
    async fn give_up(&self, session: &Session, won: &Won) {
        if !session.is_connected() {
            return;
        }
        if let Err(failure) = self.delete_leader(session, won.epoch_version).await {
            tracing::debug!(department.id = %self.department, %failure, "leader node not deleted yet");
        }
    }

    /// MongoDB knows a higher epoch: raises ours to it and takes our leader node away, so that the next claim is above.
    async fn raise(&mut self, session: &Session, won: &Won, known: i64) {
        let epoch = known.max(won.leadership.epoch.0).to_string();
        let work = async {
            let mut writer = session.client.new_multi_writer();
            writer.add_set_data(&self.paths.epoch, epoch.as_bytes(), Some(won.epoch_version)).map_err(Failure::from)?;
            writer.add_delete(&self.paths.leader, None).map_err(Failure::from)?;
            op(writer.commit()).await
        };
        match work.await {
            Ok(_) => self.eager = true,
            Err(failure) => tracing::debug!(department.id = %self.department, %failure, "epoch not raised yet"),
        }
    }
}
