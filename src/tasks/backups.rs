//! Takes backups: the oldest open job first, each from its beginning by whoever leads now.
//!
//! Rules: `complete` is the last step, after the objects are durable on the quorum and read back, the head has moved,
//! and the word on the backup lies beside it; a leader that dies before that leaves an open job and unlisted objects. The
//! end of a lease drops scans and reads, never a transaction: its fence decides whether it commits.

use std::time::Duration;

use tracing::{info, warn};

use super::archive;
use super::capture::{Captured, capture};
use super::halt::Halt;
use super::leader::{Leading, RETRY_AFTER};
use crate::backup::word;
use crate::domain::backup::{Backup, BackupState};
use crate::domain::cause::Cause;
use crate::domain::copies::Copy;
use crate::domain::epoch::Executor;
use crate::store::backups::Made;

/// How often the queue is looked at without a poke.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Takes backups until the leadership ends.
pub(super) async fn run(leading: Leading) {
    loop {
        let wait = match Box::pin(take_all(&leading)).await {
            Ok(()) => LOOK_EVERY,
            Err(Halt::Ended) => return leading.give_up(),
            Err(halt) => {
                leading.again("take backups", &halt);
                RETRY_AFTER
            }
        };
        if !leading.rest(&leading.pokes.backups, wait).await {
            return;
        }
    }
}

async fn take_all(leading: &Leading) -> Result<(), Halt> {
    for backup in leading.parts.store.backups.open(&leading.leadership.department).await? {
        match Box::pin(take(leading, backup.clone())).await {
            Ok(()) => {
                leading.pokes.catch_up.notify_one();
                // A receipt may wait for it.
                leading.pokes.archive.notify_one();
            }
            Err(Halt::Failed(cause, copies)) => fail(leading, backup, cause, &copies).await?,
            Err(halt) => return Err(halt),
        }
        // The restore that waits for its safety backup looks again.
        leading.pokes.restores.notify_one();
    }
    Ok(())
}

async fn fail(leading: &Leading, mut backup: Backup, cause: Cause, copies: &[Copy]) -> Result<(), Halt> {
    leading.check()?;
    warn!(backup.id = %backup.id, cause = cause.code, "the backup failed");
    let parts = &leading.parts;
    let now = parts.clock.now();
    parts.store.backups.fail(&leading.leadership, &backup.id, &cause, copies, now).await?;
    let timeline = leading.head.lock().await.timeline;
    backup.state = BackupState::Failed;
    backup.attempt += 1;
    backup.executed_by = Some(Executor::from(&leading.leadership));
    backup.finished_at = Some(now);
    leading.count_backup(&backup, Some(&cause));
    backup.cause = Some(cause);
    let told = word::tell_failed(&leading.repository, &parts.targets, timeline, &backup);
    Ok(leading.unless_ended(told).await??)
}

async fn take(leading: &Leading, mut backup: Backup) -> Result<(), Halt> {
    leading.check()?;
    let parts = &leading.parts;
    let started = parts.clock.now();
    // Both at once: a position of before a gap is none of the timeline after it.
    let (timeline, restarts) = {
        let head = leading.head.lock().await;
        (head.timeline, leading.follower.restarts())
    };
    let marker = parts.store.backups.take(&leading.leadership, &backup.id, started).await?;
    let position = leading.unless_ended(leading.follower.position_of(&marker, restarts)).await??;
    let previous = parts.store.backups.newest_complete(&leading.leadership.department).await?;
    let previous = without_condemned(leading, previous).await?;
    archive::until(leading, position.sequence).await?;
    let Captured { content, copies, chunks } =
        capture(leading, &backup, timeline, &position, previous.as_ref()).await?;

    leading.check()?;
    backup.state = BackupState::Complete;
    backup.attempt += 1;
    backup.executed_by = Some(Executor::from(&leading.leadership));
    backup.started_at = Some(started);
    backup.content = Some(content.clone());
    backup.finished_at = Some(parts.clock.now());
    let department = parts.store.departments.get(&leading.leadership.department).await?;
    let about = department.as_ref();
    let told = word::tell(&leading.repository, &parts.targets, timeline, &backup, about, &copies).await;
    let copies = told.map_err(|error| failed_with(error.into(), copies))?;

    leading.check()?;
    let now = parts.clock.now();
    let made = Made { content, copies, chunks };
    parts.store.backups.complete(&leading.leadership, &backup.id, &made, now).await?;
    leading.count_backup(&backup, None);
    let content = &made.content;
    info!(backup.id = %backup.id, records = content.records, sequence = content.sequence.0, "the backup is complete");
    Ok(())
}

/// The last backup, unless the snapshot that it begins with is being deleted: then the records are scanned.
async fn without_condemned(leading: &Leading, previous: Option<Backup>) -> Result<Option<Backup>, Halt> {
    let base = previous.as_ref().and_then(|previous| Some(previous.content.as_ref()?.base.snapshot.clone()));
    let condemned = &leading.parts.store.condemned;
    let names: Vec<String> = base.into_iter().collect();
    let going = condemned.among(&leading.leadership.department, &names).await?;
    Ok(previous.filter(|_| going.is_empty()))
}

fn failed_with(halt: Halt, copies: Vec<Copy>) -> Halt {
    match halt {
        Halt::Failed(cause, _) => Halt::Failed(cause, copies),
        other => other,
    }
}
