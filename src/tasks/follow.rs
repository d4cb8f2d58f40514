//! Follows the change stream of a department: counts its changes into sequence and chain, finds the markers of backups,
//! and wakes the other tasks.
//!
//! Rule: the order of events is the truth, and a break of the stream is a gap with a cause, never silence.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use super::Parts;
use super::halt::{Halt, chain};
use super::leader::{Leading, RETRY_AFTER};
use crate::domain::epoch::Leadership;
use crate::domain::history::{Head, Position, Sequence};
use crate::store::tail::{TailEvent, TailKind, TailStart, TailStream};

/// Markers that are remembered; a backup asks for its own within moments.
const MARKERS_MAX: usize = 64;
/// Longest wait for a marker: past this the stream is stuck, and the backup is tried anew.
const MARKER_WAIT_MAX: Duration = Duration::from_mins(1);

/// How far the stream has been followed.
#[derive(Debug)]
pub(super) struct Follower {
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Debug)]
struct State {
    position: Position,
    markers: VecDeque<(String, Position)>,
}

impl Follower {
    pub(super) fn new(position: Position) -> Self {
        Self { state: Mutex::new(State { position, markers: VecDeque::new() }), moved: Notify::new() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Where the stream is now.
    pub(super) fn position(&self) -> Position {
        self.lock().position.clone()
    }

    /// The position of a marker, as soon as the stream has shown it.
    pub(super) async fn position_of(&self, marker: &str) -> Result<Position, Halt> {
        let found = async {
            loop {
                let moved = self.moved.notified();
                let position = {
                    let state = self.lock();
                    state.markers.iter().find(|(seen, _)| seen == marker).map(|(_, position)| position.clone())
                };
                if let Some(position) = position {
                    return position;
                }
                moved.await;
            }
        };
        tokio::time::timeout(MARKER_WAIT_MAX, found)
            .await
            .map_err(|_| Halt::Later("the change stream did not show the marker of the backup".to_owned()))
    }

    fn set(&self, position: Position, marker: Option<String>) {
        {
            let mut state = self.lock();
            if let Some(marker) = marker {
                state.markers.push_back((marker, position.clone()));
                if state.markers.len() > MARKERS_MAX {
                    state.markers.pop_front();
                }
            }
            state.position = position;
        }
        self.moved.notify_waiters();
    }
}

/// Takes the head for a new leadership; a history that comes from elsewhere starts a new timeline.
pub(super) async fn take_head(parts: &Parts, leadership: &Leadership) -> Result<Head, Halt> {
    let source = parts.store.source().await?;
    let head = parts.store.heads.take(leadership, &source).await?;
    if head.source == source {
        return Ok(head);
    }
    warn!("the replica set or the users collection is another one: the history starts a new timeline");
    let now = parts.clock.now();
    Ok(parts.store.heads.rebase(leadership, &source, "source_changed", now).await?)
}

/// Follows until the leadership ends.
pub(super) async fn run(leading: Leading) {
    loop {
        let outcome = tokio::select! {
            () = leading.ended.cancelled() => return,
            outcome = follow(&leading) => outcome,
        };
        match outcome {
            Err(Halt::Ended) => return leading.give_up(),
            Err(Halt::Later(reason)) => warn!(reason, "follow the changes: tried again"),
            Err(halt) => warn!(?halt, "follow the changes: tried again"),
            Ok(()) => {}
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

async fn follow(leading: &Leading) -> Result<(), Halt> {
    let mut stream = open(leading).await?;
    let idle_every = leading.parts.config.backup.idle_head_every;
    let mut idle_since = tokio::time::Instant::now();
    loop {
        let event = stream.next().await?;
        if let TailKind::Broken(cause) = event.kind {
            return rebase(leading, cause).await;
        }
        take_in(leading, event);
        if idle_since.elapsed() >= idle_every {
            leading.check()?;
            advance_head(leading, &leading.follower.position()).await?;
            idle_since = tokio::time::Instant::now();
        }
    }
}

async fn open(leading: &Leading) -> Result<TailStream, Halt> {
    let position = leading.follower.position();
    let start = match position.token {
        Some(token) => TailStart::After(token),
        None => TailStart::At(position.cluster_time),
    };
    let stream = leading.parts.store.tail.open(&leading.leadership.department, &start).await?;
    // Whatever was asked before the stream was open is found by looking now.
    leading.pokes.backups.notify_one();
    leading.pokes.restores.notify_one();
    Ok(stream)
}

fn take_in(leading: &Leading, event: TailEvent) {
    let mut position = leading.follower.position();
    position.token = Some(event.token);
    if let Some(cluster_time) = event.cluster_time {
        position.cluster_time = cluster_time;
    }
    if let Some(wall_time) = event.wall_time {
        position.time = position.time.max(wall_time);
    }
    let mut marker = None;
    match event.kind {
        TailKind::User(change) => {
            position.sequence = Sequence(position.sequence.0 + 1);
            position.chain = leading.repository.chain_after(&position.chain, position.sequence, position.time, &change);
        }
        TailKind::Backup { marker: seen } => {
            marker = seen;
            leading.pokes.backups.notify_one();
            leading.pokes.restores.notify_one();
        }
        TailKind::Restore => leading.pokes.restores.notify_one(),
        TailKind::Department => leading.pokes.schedule.notify_one(),
        TailKind::Idle | TailKind::Broken(_) => {}
    }
    leading.follower.set(position, marker);
}

/// Moves the head to a position, unless it is further already.
pub(super) async fn advance_head(leading: &Leading, to: &Position) -> Result<(), Halt> {
    let mut head = leading.head.lock().await;
    if to.cluster_time < head.position.cluster_time || to.token == head.position.token {
        return Ok(());
    }
    leading.parts.store.heads.advance(&leading.leadership, &head.position.chain, to).await?;
    head.position = to.clone();
    Ok(())
}

/// The stream is over for good: records the gap and starts a new timeline.
async fn rebase(leading: &Leading, cause: &'static str) -> Result<(), Halt> {
    warn!(cause, "the change stream broke: the history starts a new timeline");
    leading.check()?;
    let parts = &leading.parts;
    let source = parts.store.source().await.map_err(|error| Halt::Later(chain(&error)))?;
    let now = parts.clock.now();
    let mut head = leading.head.lock().await;
    *head = parts.store.heads.rebase(&leading.leadership, &source, cause, now).await?;
    leading.follower.set(head.position.clone(), None);
    Ok(())
}
