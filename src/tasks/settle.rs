//! Settles one target: tells it what it has not heard of holds, releases and deletions, and deletes what is condemned.
//!
//! Rule: a target hears of a deletion before it deletes anything, so whatever it says is complete has all its objects.

use std::collections::HashSet;
use std::time::Duration;

use tracing::{debug, warn};

use super::halt::Halt;
use super::leader::{Leading, RETRY_AFTER};
use crate::backup::{BackupError, journal, word};
use crate::domain::backup::{Backup, BackupState};
use crate::domain::cause::chain;
use crate::domain::copies::CopyState;
use crate::domain::epoch::Executor;
use crate::domain::history::Timeline;
use crate::store::condemned::Doomed;
use crate::targets::Target;
use crate::targets::layout::ObjectPath;

/// Longest time between two looks at what is due.
const LOOK_EVERY_MAX: Duration = Duration::from_mins(1);
/// Pause after a target failed.
const FAILED_PAUSE: Duration = Duration::from_secs(5);
/// Names or backups of one look.
const AT_ONCE: i64 = 100;
/// How long MongoDB remembers a name that no target holds any more: longer than any work that could still refer to it.
const NAME_REMEMBERED: Duration = Duration::from_hours(24);
/// How long MongoDB remembers a deleted backup that every target has heard of.
const BACKUP_REMEMBERED: Duration = Duration::from_hours(7 * 24);

/// Settles until the leadership ends.
pub(super) async fn run(leading: &Leading, target: &Target) {
    let every = (leading.parts.config.backup.prune_grace / 4).clamp(Duration::from_secs(1), LOOK_EVERY_MAX);
    loop {
        let wait = match settle(leading, target).await {
            Ok(()) => every,
            Err(Halt::Ended) => return leading.give_up(),
            Err(Halt::Failed(cause, _)) if cause.code != "store_failed" => {
                debug!(target.name = %target.name(), cause = cause.message, "the target is settled later");
                FAILED_PAUSE
            }
            Err(halt) => {
                warn!(reason = halt.reason(), target.name = %target.name(), "settle a target: tried again");
                RETRY_AFTER * 4
            }
        };
        if !leading.rest(&leading.pokes.settle, wait).await {
            return;
        }
    }
}

async fn settle(leading: &Leading, target: &Target) -> Result<(), Halt> {
    tell(leading, target).await?;
    delete(leading, target).await
}

async fn tell(leading: &Leading, target: &Target) -> Result<(), Halt> {
    let kept = &leading.parts.store.kept;
    loop {
        leading.check()?;
        let untold = kept.untold(&leading.leadership.department, target.name(), AT_ONCE).await?;
        let mut told = 0;
        for backup in &untold {
            if !holds(backup, target) {
                continue;
            }
            leading.unless_ended(tell_one(leading, target, backup)).await??;
            leading.check()?;
            kept.told(
                &leading.leadership,
                backup,
                target.name(),
                leading.parts.clock.now().later_by(BACKUP_REMEMBERED),
            )
            .await?;
            told += 1;
        }
        // What is left waits until the target has caught up.
        if told == 0 || untold.len() < usize::try_from(AT_ONCE).unwrap_or(usize::MAX) {
            return Ok(());
        }
    }
}

/// Whether a target may hear of a backup: of a complete one only after everything that it needs lies there.
fn holds(backup: &Backup, target: &Target) -> bool {
    let present =
        |copy: &crate::domain::copies::Copy| copy.target == *target.name() && copy.state == CopyState::Present;
    backup.state == BackupState::Deleted || backup.copies.iter().any(present)
}

async fn tell_one(leading: &Leading, target: &Target, backup: &Backup) -> Result<(), BackupError> {
    // The highest epoch counts, so the word says who put it.
    let backup = Backup { executed_by: Some(Executor::from(&leading.leadership)), ..backup.clone() };
    if let Some(content) = &backup.content {
        return word::tell_one(&leading.repository, target, content.timeline, &backup).await;
    }
    // One that failed may have been told of on any timeline.
    let last = leading.head.lock().await.timeline;
    for timeline in (1..=last.0).map(Timeline) {
        let folder = ObjectPath::backup_folder(&backup.department, timeline, &backup.id);
        if !target.list(&folder).await?.is_empty() {
            word::tell_one(&leading.repository, target, timeline, &backup).await?;
        }
    }
    Ok(())
}

async fn delete(leading: &Leading, target: &Target) -> Result<(), Halt> {
    let condemned = &leading.parts.store.condemned;
    let department = &leading.leadership.department;
    loop {
        leading.check()?;
        let due = condemned.due(department, target.name(), leading.parts.clock.now(), AT_ONCE).await?;
        if due.is_empty() {
            return Ok(());
        }
        leading.unless_ended(leading.repository.admit(target)).await??;
        let (mut gone, mut failure, mut held) = (Vec::new(), None, HashSet::new());
        for doomed in due {
            match leading.unless_ended(delete_one(leading, target, &doomed, &mut held)).await? {
                Ok(()) => gone.push(doomed.path),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if !gone.is_empty() {
            leading.check()?;
            condemned
                .gone(&leading.leadership, target.name(), &gone, leading.parts.clock.now().later_by(NAME_REMEMBERED))
                .await?;
            debug!(target.name = %target.name(), objects = gone.len(), "deleted condemned objects");
        }
        if let Some(error) = failure {
            debug!(target.name = %target.name(), error = chain(&error), "an object could not be deleted");
            return Err(error.into());
        }
    }
}

/// Deletes one object; a merged segment only after the target holds what took its place. `held` are those that it does.
async fn delete_one(
    leading: &Leading,
    target: &Target,
    doomed: &Doomed,
    held: &mut HashSet<String>,
) -> Result<(), BackupError> {
    let department = &leading.leadership.department;
    if let (Some(by), Some((timeline, ..))) = (&doomed.replaced_by, doomed.segment)
        && held.insert(by.clone())
        && let Some(path) = leading.parts.store.condemned.replacement(department, by).await?
    {
        let path = ObjectPath::from_stored(path);
        let (repository, targets) = (&leading.repository, &leading.parts.targets);
        if let Err(error) = journal::bring_segment(repository, targets, department, timeline, &path, target).await {
            held.remove(by);
            return Err(error);
        }
    }
    Ok(target.delete(&ObjectPath::from_stored(doomed.path.clone())).await?)
}
