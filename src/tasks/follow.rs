//! Follows the change stream of a department: counts its changes into sequence and chain, hands them to the archiver, and
//! wakes the other tasks.
//!
//! Rule: the order of events is the truth, and a break of the stream is a gap with a cause, never silence.

use std::time::Duration;

use tracing::warn;

use super::Parts;
use super::archive;
use super::halt::Halt;
use super::leader::{Leading, RETRY_AFTER};
use crate::domain::cause::chain;
use crate::domain::epoch::{Epoch, Leadership};
use crate::domain::history::Head;
use crate::store::tail::{TailEvent, TailKind, TailStart, TailStream};

/// How long a step of the change stream may take at first.
const PATIENCE_FIRST: Duration = Duration::from_secs(5);
/// Twice as long after each step that took longer, up to this.
const PATIENCE_MAX: Duration = Duration::from_mins(10);
/// Change lines in memory, in segments, before the stream is read no further.
const SEGMENTS_WAITING_MAX: usize = 4;

/// Takes the head for a new leadership, with the epoch that it had before.
pub(super) async fn take_head(parts: &Parts, leadership: &Leadership) -> Result<(Head, Epoch), Halt> {
    let source = parts.store.source().await?;
    Ok(parts.store.heads.take(leadership, &source).await?)
}

/// Follows until the leadership ends.
pub(super) async fn run(leading: Leading) {
    let mut patience = PATIENCE_FIRST;
    loop {
        let outcome = tokio::select! {
            () = leading.ended.cancelled() => return,
            outcome = follow(&leading, &mut patience) => outcome,
        };
        patience = (patience * 2).min(PATIENCE_MAX);
        match outcome {
            Err(Halt::Ended) => return leading.give_up(),
            Err(Halt::Later(reason)) => warn!(reason, "follow the changes: tried again"),
            Err(halt) => warn!(?halt, "follow the changes: tried again"),
            Ok(()) => {}
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

async fn follow(leading: &Leading, patience: &mut Duration) -> Result<(), Halt> {
    let mut stream = open(leading, *patience).await?;
    let segment_bytes = leading.parts.config.backup.segment_bytes;
    loop {
        leading.follower.until_below(segment_bytes * SEGMENTS_WAITING_MAX).await;
        let event = stream.next(*patience).await?;
        *patience = PATIENCE_FIRST;
        if let TailKind::Broken(cause) = event.kind {
            return rebase(leading, cause).await;
        }
        leading.follower.take_in(&leading.repository, &event);
        wake(leading, &event);
        if leading.follower.waiting() >= segment_bytes {
            leading.pokes.archive.notify_one();
        }
    }
}

async fn open(leading: &Leading, patience: Duration) -> Result<TailStream, Halt> {
    let position = leading.follower.position();
    let start = match position.token {
        Some(token) => TailStart::After(token),
        None => TailStart::At(position.cluster_time),
    };
    let stream = leading.parts.store.tail.open(&leading.leadership.department, &start, patience).await?;
    // Whatever was asked before the stream was open is found by looking now, barriers in their place of the stream.
    leading.parts.store.barriers.ask_again(&leading.leadership).await?;
    leading.pokes.backups.notify_one();
    leading.pokes.restores.notify_one();
    Ok(stream)
}

fn wake(leading: &Leading, event: &TailEvent) {
    match event.kind {
        TailKind::Backup { .. } => {
            leading.pokes.backups.notify_one();
            leading.pokes.restores.notify_one();
        }
        TailKind::Restore => leading.pokes.restores.notify_one(),
        TailKind::Barrier(_) => leading.pokes.archive.notify_one(),
        TailKind::Department => leading.pokes.schedule.notify_one(),
        TailKind::User(_) | TailKind::Other | TailKind::Idle | TailKind::Broken(_) => {}
    }
}

/// The stream is over for good: archives what came before, records the gap and starts a new timeline.
async fn rebase(leading: &Leading, cause: &'static str) -> Result<(), Halt> {
    warn!(cause, "the change stream broke: the history starts a new timeline");
    // What a dead leader left past the head cannot be compared any more, and stays on the old timeline.
    leading.clear.send_replace(true);
    archive::until(leading, leading.follower.position().sequence).await?;
    leading.check()?;
    let parts = &leading.parts;
    let source = parts.store.source().await.map_err(|error| Halt::Later(chain(&error)))?;
    let now = parts.clock.now();
    let mut head = leading.head.lock().await;
    *head = parts.store.heads.rebase(&leading.leadership, &source, cause, now).await?;
    leading.follower.restart(head.position.clone());
    Ok(())
}
