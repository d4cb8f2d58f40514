//! Archives the journal: seals what the stream brought as a segment, writes it to the targets, then moves the head.
//!
//! Rules: a change counts once the head covers it, and the head moves only after the write quorum holds the whole journal
//! up to there; receipts come after the head. A target that is behind gets nothing until it has caught up, so whatever a
//! target holds through a sequence is without a hole.

use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, error, warn};

use super::exchanged;
use super::follower::Run;
use super::halt::Halt;
use super::leader::{Leading, RETRY_AFTER};
use super::receipts::Receipts;
use crate::backup::journal;
use crate::backup::segment::Segment;
use crate::domain::cause::{Cause, chain};
use crate::domain::history::{Head, JournalCopy, Position, Sequence};
use crate::domain::ids::TargetName;
use crate::targets::Target;
use crate::targets::layout::ObjectPath;

/// A trouble of this length fails the backup that waits for the journal.
const TROUBLE_LASTS: Duration = Duration::from_secs(5);

/// Changes older than this that still wait make the history lag in sight.
const LAG_SHOWN: Duration = Duration::from_secs(5);

/// A department in which nobody writes any more has the moment of its last change closed after this.
const CLOSED_AFTER: Duration = Duration::from_secs(2);

/// A segment that is sealed and not yet on the write quorum.
#[derive(Debug)]
struct Ready {
    path: ObjectPath,
    sealed: Bytes,
    end: Position,
}

/// Since when nothing was archived, and whether a tick has been put into the stream since.
#[derive(Debug)]
struct Idle {
    since: tokio::time::Instant,
    ticked: bool,
    /// The time of the last change can still be the one of another, so it cannot be read yet.
    open: bool,
}

impl Idle {
    fn now(open: bool) -> Self {
        Self { since: tokio::time::Instant::now(), ticked: false, open }
    }

    /// How long it is before a tick moves the department's time on.
    fn every(&self, idle_head_every: Duration) -> Duration {
        if self.open { idle_head_every.min(CLOSED_AFTER) } else { idle_head_every }
    }
}

/// Archives until the leadership ends.
pub(super) async fn run(leading: Leading) {
    let mut ready = None;
    let mut idle = Idle::now(false);
    if leading.unless_ended(exchanged::look_at_all(&leading)).await.is_err() {
        return;
    }
    let mut receipts = Receipts::default();
    loop {
        let wait = match archive(&leading, &mut ready, &mut idle, &mut receipts).await {
            Ok(()) => {
                leading.trouble.send_replace(None);
                leading.parts.config.backup.journal_every
            }
            Err(Halt::Ended) => return leading.give_up(),
            Err(halt) => {
                let cause = match &halt {
                    Halt::Failed(cause, _) => cause.clone(),
                    other => Cause::new("journal_waits", format!("{other:?}")),
                };
                if leading.trouble.send_replace(Some(cause.clone())).is_none() {
                    leading.count_trouble(&cause);
                    warn!(reason = halt.reason(), "archive the journal: tried again until it works");
                    show_lag(&leading).await;
                }
                leading.pokes.catch_up.notify_one();
                RETRY_AFTER
            }
        };
        if !leading.rest(&leading.pokes.archive, wait).await {
            return;
        }
    }
}

/// Waits until the head covers a sequence.
///
/// # Errors
/// `Failed` when the journal could not be archived for some time.
pub(super) async fn until(leading: &Leading, sequence: Sequence) -> Result<(), Halt> {
    let mut archived = leading.archived.subscribe();
    leading.pokes.archive.notify_one();
    tokio::select! {
        () = leading.ended.cancelled() => Err(Halt::Ended),
        covered = archived.wait_for(|archived| *archived >= sequence) => covered.map(drop).map_err(|_| Halt::Ended),
        cause = lasting_trouble(leading) => Err(Halt::Failed(cause, Vec::new())),
    }
}

/// The cause of a trouble that lasts.
async fn lasting_trouble(leading: &Leading) -> Cause {
    let mut trouble = leading.trouble.subscribe();
    loop {
        let Ok(Some(cause)) = trouble.wait_for(Option::is_some).await.map(|cause| cause.clone()) else {
            return std::future::pending().await;
        };
        if tokio::time::timeout(TROUBLE_LASTS, trouble.wait_for(Option::is_none)).await.is_err() {
            return cause;
        }
    }
}

/// Lets everybody see that what came after the head is not in the history yet. If it cannot be written, the next trouble
/// tries again.
async fn show_lag(leading: &Leading) {
    let mut head = leading.head.lock().await;
    let since = head.behind_since.unwrap_or(head.position.time);
    if leading.check().is_ok() && leading.parts.store.heads.set_behind(&leading.leadership, since).await.is_ok() {
        head.behind_since = Some(since);
    }
}

async fn archive(
    leading: &Leading,
    ready: &mut Option<Ready>,
    idle: &mut Idle,
    receipts: &mut Receipts,
) -> Result<(), Halt> {
    leading.check()?;
    let mut head = leading.head.lock().await;
    if let Some(segment) = ready {
        write(leading, &mut head, segment).await?;
        *ready = None;
    }
    let every = idle.every(leading.parts.config.backup.idle_head_every);
    let rested = idle.since.elapsed() >= every;
    if rested && !idle.ticked {
        leading.parts.store.barriers.tick(&leading.leadership.department).await?;
        idle.ticked = true;
    }
    // The tick comes by before the next look; then the head moves over it.
    let asked = leading.follower.is_asked();
    let passed = leading.follower.position().certain() > head.position.certain();
    let moves = asked || (idle.ticked && (passed || idle.since.elapsed() >= every * 2));
    if let Some(run) = leading.follower.take_if(|lines| lines > 0 || moves) {
        *idle = Idle::now(!run.end.closed);
        if run.lines.is_empty() {
            let journal = head.journal.clone();
            advance(leading, &mut head, run.end, journal).await?;
        } else {
            let segment = ready.insert(seal(leading, &head, run).await?);
            write(leading, &mut head, segment).await?;
            *ready = None;
        }
    }
    receipts.give(leading, &head).await?;
    leading.archived.send_replace(head.position.sequence);
    Ok(())
}

async fn seal(leading: &Leading, head: &Head, run: Run) -> Result<Ready, Halt> {
    if (run.begin.sequence, run.begin.chain) != (head.position.sequence, head.position.chain) {
        // Never over a hole. The next leader reads the stream from the head again.
        error!(run = ?run.begin.sequence, head = ?head.position.sequence, "the changes do not continue the head");
        return Err(Halt::Ended);
    }
    let segment = Segment {
        department: head.department.clone(),
        timeline: head.timeline,
        first: Sequence(run.begin.sequence.0 + 1),
        last: run.end.sequence,
        before: run.begin.chain,
        after: run.end.chain,
        through: run.end.time,
        epoch: leading.leadership.epoch,
        source: head.source.clone(),
        lines: run.lines,
    };
    let (path, sealed) = journal::seal(&leading.repository, segment).await.map_err(|error| {
        // What was taken from the follower is lost here, and is read again by the next leader.
        error!(error = chain(&error), "seal a segment");
        Halt::Ended
    })?;
    Ok(Ready { path, sealed, end: run.end })
}

/// Writes a segment to every target that holds all before it, and moves the head over it.
async fn write(leading: &Leading, head: &mut Head, segment: &Ready) -> Result<(), Halt> {
    let level = |target: &Target| {
        head.journal_through(target.name()) == Some(head.position.sequence) && leading.looked.is_same(target)
    };
    let written = journal::write(&leading.parts.targets, level, &segment.path, &segment.sealed);
    let took = leading.unless_ended(written).await??;
    let journal = moved(&head.journal, &took, segment.end.sequence);
    debug!(sequence = segment.end.sequence.0, copies = took.len(), "archived a segment");
    advance(leading, head, segment.end.clone(), journal).await
}

async fn advance(leading: &Leading, head: &mut Head, to: Position, journal: Vec<JournalCopy>) -> Result<(), Halt> {
    leading.check()?;
    let late = leading.parts.clock.now().since(to.time) > LAG_SHOWN;
    let behind_since = (late && leading.follower.waiting() > 0).then_some(to.time);
    let heads = &leading.parts.store.heads;
    heads.advance(&leading.leadership, &head.position.chain, (&to, behind_since), &journal).await?;
    leading.count_archived(to.sequence.0 - head.position.sequence.0);
    head.position = to;
    head.journal = journal;
    head.behind_since = behind_since;
    Ok(())
}

/// The journal's copies after some targets took everything up to a sequence.
pub(super) fn moved(journal: &[JournalCopy], took: &[TargetName], through: Sequence) -> Vec<JournalCopy> {
    let mut moved: Vec<JournalCopy> = journal.iter().filter(|copy| !took.contains(&copy.target)).cloned().collect();
    moved.extend(took.iter().map(|target| JournalCopy { target: target.clone(), through }));
    moved.sort_by(|a, b| a.target.as_str().cmp(b.target.as_str()));
    moved
}
