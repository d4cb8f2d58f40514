//! Brings targets level with the head: whatever they lack of the journal, from the targets that have it.
//!
//! Rule: a target is level only as long as the head stands still, so the last word is said under the head's lock.

use std::time::Duration;

use tokio::sync::MutexGuard;
use tracing::debug;

use super::archive::moved;
use super::exchanged;
use super::halt::Halt;
use super::leader::Leading;
use crate::backup::journal::{self, Lacking};
use crate::domain::cause::chain;
use crate::domain::history::{Head, JournalCopy, Sequence};
use crate::targets::Target;

/// Attempts to catch up with the journal of a busy department before its archiver is made to wait.
const JOURNAL_ROUNDS: usize = 3;
/// Longest time that a target that catches up may keep the head still.
const HEAD_STILL_MAX: Duration = Duration::from_secs(2);

/// Brings every target that is behind the head what it lacks of the journal, all at the same time: one that hangs delays
/// no other. From then on the archiver writes to it.
pub(super) async fn run(leading: &Leading) -> Result<(), Halt> {
    let each = leading.parts.targets.iter().map(|target| level(leading, target));
    futures::future::try_join_all(each).await.map(drop)
}

async fn level(leading: &Leading, target: &Target) -> Result<(), Halt> {
    for round in 0..JOURNAL_ROUNDS {
        match exchanged::look(leading, target).await {
            Ok(()) => {}
            Err(Halt::Ended) => return Err(Halt::Ended),
            Err(halt) => {
                debug!(target.name = %target.name(), reason = halt.reason(), "the target cannot be looked at");
                return Ok(());
            }
        }
        let seen = leading.head.lock().await.clone();
        if seen.journal_through(target.name()) == Some(seen.position.sequence) {
            return Ok(());
        }
        // The last round keeps the head still, else a busy department is never caught up with; but not for long.
        let (guard, within) = if round + 1 == JOURNAL_ROUNDS {
            (Some(leading.head.lock().await), HEAD_STILL_MAX)
        } else {
            (None, Duration::MAX)
        };
        let wanted = guard.as_deref().unwrap_or(&seen);
        let through = wanted.position.sequence;
        let after = wanted.journal_through(target.name()).unwrap_or(Sequence(0));
        let lacking = Lacking { after, begin: sure_after(wanted), through };
        let timelines = 1..=wanted.timeline.0;
        let department = &leading.leadership.department;
        let (repository, targets) = (&leading.repository, &leading.parts.targets);
        let brought = journal::catch_up(repository, targets, department, timelines, lacking, target);
        match tokio::time::timeout(within, brought).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                debug!(target.name = %target.name(), error = chain(&error), "the journal has to wait");
                return Ok(());
            }
            Err(_) => return Ok(()),
        }
        let head = match guard {
            Some(guard) => guard,
            None => leading.head.lock().await,
        };
        if !leading.looked.is_same(target) {
            // What was brought lies in another directory than what the target is said to hold.
            continue;
        }
        set(leading, head, |journal| moved(journal, std::slice::from_ref(target.name()), through)).await?;
        leading.pokes.archive.notify_one();
    }
    Ok(())
}

/// What lies at or before this may have holes: retention dropped it, a database was rebuilt from what was left, or it is of
/// another history, beside which this one goes on.
pub(super) fn sure_after(head: &Head) -> Sequence {
    let gap = head.gaps.last().map(|gap| gap.goes_on_after);
    let begin = head.begin.filter(|begin| begin.timeline == head.timeline).map(|begin| begin.sequence);
    gap.max(begin).unwrap_or(Sequence(0))
}

/// Records how far targets hold the journal.
pub(super) async fn set(
    leading: &Leading,
    mut head: MutexGuard<'_, Head>,
    change: impl FnOnce(&[JournalCopy]) -> Vec<JournalCopy>,
) -> Result<(), Halt> {
    let journal = change(&head.journal);
    leading.check()?;
    leading.parts.store.heads.set_journal(&leading.leadership, &journal).await?;
    head.journal = journal;
    Ok(())
}
