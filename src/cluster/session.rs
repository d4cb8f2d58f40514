//! The session with ZooKeeper: makes it, registers this replica in it, renews the lease, and starts anew when lost.
//!
//! Rules: the client's state is never proof, only a successful quorum write is; an operation that did not end in two
//! seconds has an unknown outcome, because dropping its future does not take the request back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use zookeeper_client::{Client, Error, MultiWriteError, SessionState};

use crate::config::zookeeper::ZookeeperConfig;

use super::connect::connect;
use super::lease::boottime;
use super::nodes::{self, Access, ReplicaNode};
use super::shared::{Shared, jittered};
use super::{inspect, members, registration};

/// How long one operation may take.
const LIMIT: Duration = Duration::from_secs(2);
/// Pauses between two tries to get a session.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_millis(500);

/// Why an operation did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    /// The server said so: nothing was changed.
    #[error("ZooKeeper refused: {0}")]
    Refused(Error),
    /// It may or may not have been done, now or later.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::NoNode
            | Error::NodeExists
            | Error::BadVersion
            | Error::NoAuth
            | Error::NotEmpty
            | Error::InvalidAcl
            | Error::BadArguments(_)
            | Error::NoChildrenForEphemerals
            | Error::QuotaExceeded
            | Error::NotReadOnly => Self::Refused(error),
            // Failures of the connection come as `Custom`, among others.
            other => Self::Unknown(other.to_string()),
        }
    }
}

impl From<MultiWriteError> for Failure {
    fn from(error: MultiWriteError) -> Self {
        Error::from(error).into()
    }
}

/// Waits for an operation, at most two seconds.
pub(super) async fn op<T, E: Into<Failure>>(work: impl Future<Output = Result<T, E>>) -> Result<T, Failure> {
    match timeout(LIMIT, work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Failure::Unknown("no answer within two seconds".to_owned())),
    }
}

/// One registered session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    /// Owner of our ephemeral nodes.
    pub(super) id: i64,
    /// To whom the nodes belong that we make.
    pub(super) access: Access,
    /// Counts the times that the connection came back.
    pub(super) reconnects: watch::Sender<u64>,
    /// Cancelled when the session is over.
    pub(super) gone: CancellationToken,
}

impl Session {
    /// Whether the client believes that it is connected.
    pub(super) fn is_connected(&self) -> bool {
        !self.gone.is_cancelled() && self.client.state() == SessionState::SyncConnected
    }

    /// Creates a persistent node unless it is there.
    pub(super) async fn ensure(&self, path: &str, value: &[u8]) -> Result<(), Failure> {
        match op(self.client.create(path, value, &self.access.persistent())).await {
            Ok(_) | Err(Failure::Refused(Error::NodeExists)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// Attempts between two lines of the log about the same failure.
const LOG_EVERY: u32 = 30;

/// Keeps a session until the cluster closes.
pub(super) async fn keep(shared: Arc<Shared>, config: ZookeeperConfig, auth: Option<SecretString>) {
    let (mut pause, mut attempts) = (PAUSE_FIRST, 0_u32);
    while !shared.closing.is_cancelled() {
        let connected = tokio::select! {
            connected = connect(&config, auth.as_ref(), config.chroot.trim_end_matches('/')) => connected,
            () = shared.closing.cancelled() => return,
        };
        match connected {
            Ok((client, access)) => {
                (pause, attempts) = (PAUSE_FIRST, 0);
                live(&shared, client, access, config.session_timeout).await;
            }
            Err(error) => {
                // A long outage is some lines of the log and not thousands.
                if attempts.is_multiple_of(LOG_EVERY) {
                    tracing::warn!(%error, attempt = attempts + 1, "no session with ZooKeeper; trying again");
                }
                attempts = attempts.saturating_add(1);
                pause = (pause * 2).min(PAUSE_LONGEST);
            }
        }
        tokio::select! {
            () = sleep(jittered(pause)) => {}
            () = shared.closing.cancelled() => return,
        }
    }
}

/// Uses one client until its session is over or the cluster closes.
async fn live(shared: &Arc<Shared>, client: Client, access: Access, asked: Duration) {
    // The shorter of the two: a server that grants less expires us earlier, one that grants more does no harm.
    let span = client.session_timeout().min(asked);
    inspect::granted(shared, asked, client.session_timeout());
    let mut states = client.state_watcher();
    let id = client.session_id().0;
    let gone = CancellationToken::new();
    let session = Arc::new(Session { client, id, access, reconnects: watch::Sender::new(0), gone: gone.clone() });
    tracing::info!(session = format!("{id:#x}"), "session with ZooKeeper");
    let work = async {
        tokio::join!(
            heartbeat(shared, &session, span),
            members::follow(shared, &session),
            inspect::follow(shared, &session),
            follow_state(shared, &session)
        );
    };
    tokio::select! {
        () = work => {}
        () = ended(&session, shared, span) => {}
        () = shared.closing.cancelled() => {}
    }
    gone.cancel();
    shared.lease.lose();
    shared.former.add(id);
    shared.session.send_replace(None);
    shared.show_session();
    drop(session);
    // The last clone closes the session, and with it our nodes go at once. Wait for it, but not for long.
    let closed = async {
        while !states.state().is_terminated() {
            states.changed().await;
        }
    };
    let _ = timeout(Duration::from_secs(1), closed).await;
}

/// Returns when the session is over, or so long without a lease that it must be.
async fn ended(session: &Session, shared: &Shared, span: Duration) {
    let mut held = boottime();
    let mut ticks = interval(span / 20);
    loop {
        ticks.tick().await;
        if shared.lease.check() {
            held = boottime();
        }
        // The client can miss the end of its session; then only a new one helps.
        if session.client.state().is_terminated() || boottime() > held + span * 4 {
            tracing::warn!(state = %session.client.state(), "the session with ZooKeeper is over");
            return;
        }
    }
}

/// Shows changes of the connection at once and counts reconnects.
async fn follow_state(shared: &Shared, session: &Session) {
    let mut states = session.client.state_watcher();
    loop {
        let state = states.changed().await;
        tracing::debug!(%state, "ZooKeeper connection");
        shared.show_session();
        if state == SessionState::SyncConnected {
            session.reconnects.send_modify(|count| *count += 1);
        }
    }
}

/// Renews the lease by writing to our own node, a quorum write, ten times a session timeout.
async fn heartbeat(shared: &Shared, session: &Arc<Session>, span: Duration) {
    let path = nodes::replica(&shared.me.replica);
    let mut beats = interval(span / 10);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut registered = false;
    loop {
        beats.tick().await;
        // What is asked while disconnected would queue up without bound.
        if !session.is_connected() {
            continue;
        }
        if !registered {
            registered = registration::register(shared, session, &path).await;
            if !registered {
                continue;
            }
        }
        let begun = boottime();
        let value = ReplicaNode::encode(&shared.me, shared.draining.load(Ordering::SeqCst));
        let write = session.client.set_data(&path, &value, None);
        match timeout(span / 4, write).await {
            Ok(Ok(stat)) if stat.ephemeral_owner == session.id => {
                if boottime() < begun + span / 4 {
                    shared.lease.renew(begun, span / 2);
                }
                publish(shared, session);
            }
            Ok(Ok(_) | Err(Error::NoNode)) => registered = false,
            Ok(Err(error)) => tracing::debug!(%error, "heartbeat"),
            Err(_) => tracing::debug!("heartbeat took too long"),
        }
        shared.show_session();
    }
}

fn publish(shared: &Shared, session: &Arc<Session>) {
    shared.session.send_if_modified(|current| {
        let new = current.is_none();
        if new {
            *current = Some(Arc::clone(session));
        }
        new
    });
}
