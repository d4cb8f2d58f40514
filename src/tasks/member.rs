//! A department in a change stream: what it takes in, and why it leaves.

use tokio::sync::oneshot;
use tracing::info;

use super::leader::Leading;
use crate::store::tail::{Start, TailEvent, TailKind};

/// Why a department left the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Its changes wait for the archiver; it may come back when they are fewer.
    Full,
    /// Its history cannot go on, for this reason.
    Broken(&'static str),
}

/// A department in the stream.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) leading: Leading,
    /// Told when the stream is open for the first time.
    pub(super) opened: Option<oneshot::Sender<()>>,
    /// Told when it leaves; closed when its leadership has ended.
    pub(super) left: oneshot::Sender<Left>,
}

impl Member {
    /// Where it goes on; none when its token is not one of a change stream.
    pub(super) fn start(&self) -> Option<Start> {
        Start::of(&self.leading.follower.position())
    }

    /// Takes an event of its own in; tells whether it has to leave after that.
    pub(super) fn take_in(&self, event: &TailEvent) -> Option<Left> {
        let leading = &self.leading;
        if event.kind == TailKind::Unreadable {
            return Some(Left::Broken("unreadable_event"));
        }
        leading.follower.take_in(&leading.repository, event);
        wake(leading, event);
        let segment_bytes = leading.parts.config.backup.segment_bytes;
        let full = leading.follower.is_full(segment_bytes);
        if full || leading.follower.waiting() >= segment_bytes {
            leading.pokes.archive.notify_one();
        }
        if full {
            let department = &leading.leadership.department;
            info!(department.id = %department, "its changes wait for the targets: it leaves the change stream until they are fewer");
        }
        full.then_some(Left::Full)
    }

    pub(super) fn leave(self, why: Left) {
        // Nobody listens once the leadership has ended.
        let _ = self.left.send(why);
    }
}

/// A department's seat in an open stream.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) member: Member,
    /// Whatever lies before it has been told.
    pub(super) start: Start,
}

fn wake(leading: &Leading, event: &TailEvent) {
    match event.kind {
        TailKind::Backup { .. } => {
            leading.pokes.backups.notify_one();
            leading.pokes.restores.notify_one();
            leading.pokes.prune.notify_one();
            leading.pokes.settle.notify_waiters();
        }
        TailKind::Restore => leading.pokes.restores.notify_one(),
        TailKind::Barrier(_) => leading.pokes.archive.notify_one(),
        TailKind::StepDown => leading.pokes.step_down.notify_one(),
        TailKind::Department => leading.pokes.schedule.notify_one(),
        TailKind::User(_)
        | TailKind::Other
        | TailKind::Unreadable
        | TailKind::Gone(_)
        | TailKind::Idle
        | TailKind::Broken(_) => {}
    }
}
