//! Takes backups: the oldest open job first, each from its beginning by whoever leads now.
//!
//! Rules: `complete` is the last step, after the objects are durable on the quorum and read back, the head has moved,
//! and the word on the backup lies beside it; a leader that dies before that leaves an open job and unlisted objects. The
//! end of a lease drops scans and reads, never a transaction: its fence decides whether it commits.

use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::follow::advance_head;
use super::halt::{Halt, chain};
use super::leader::{Leading, RETRY_AFTER};
use crate::backup::Snapshot;
use crate::backup::word;
use crate::backup::write::{SnapshotOf, SnapshotWriter, Written};
use crate::domain::backup::{Backup, BackupContent, BackupProgress, BackupState};
use crate::domain::cause::Cause;
use crate::domain::copies::Copy;
use crate::domain::epoch::Executor;
use crate::domain::history::{Position, Timeline};
use crate::domain::ids::BackupId;
use crate::targets::layout::ObjectPath;

/// How often the queue is looked at without a poke.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the progress of a running backup is written.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Takes backups until the leadership ends.
pub(super) async fn run(leading: Leading) {
    loop {
        let wait = match take_all(&leading).await {
            Ok(()) => LOOK_EVERY,
            Err(Halt::Ended) => return leading.give_up(),
            Err(halt) => {
                warn!(?halt, "take backups: tried again");
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
        match take(leading, backup.clone()).await {
            Ok(()) => leading.pokes.catch_up.notify_one(),
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
    backup.cause = Some(cause);
    let told = word::tell_failed(&leading.repository, &parts.targets, timeline, &backup);
    Ok(leading.unless_ended(told).await??)
}

async fn take(leading: &Leading, mut backup: Backup) -> Result<(), Halt> {
    leading.check()?;
    let parts = &leading.parts;
    let started = parts.clock.now();
    let marker = parts.store.backups.take(&leading.leadership, &backup.id, started).await?;
    let position = leading.unless_ended(leading.follower.position_of(&marker)).await??;
    let timeline = leading.head.lock().await.timeline;
    let previous = parts.store.backups.newest_complete(&leading.leadership.department).await?;
    let written = write(leading, &backup.id, timeline, &position, previous.as_ref()).await?;
    let unchanged = previous
        .and_then(|previous| previous.content)
        .is_some_and(|content| content.timeline == timeline && content.sequence == position.sequence);
    let content = content(&written, timeline, &position, unchanged);

    leading.check()?;
    advance_head(leading, &position).await?;
    backup.state = BackupState::Complete;
    backup.attempt += 1;
    backup.executed_by = Some(Executor::from(&leading.leadership));
    backup.started_at = Some(started);
    backup.content = Some(content.clone());
    backup.finished_at = Some(parts.clock.now());
    let told = word::tell(&leading.repository, &parts.targets, timeline, &backup, &written.copies).await;
    let copies = told.map_err(|error| failed_with(error.into(), written.copies))?;

    leading.check()?;
    let now = parts.clock.now();
    parts.store.backups.complete(&leading.leadership, &backup.id, &content, &copies, now).await?;
    info!(backup.id = %backup.id, records = content.records, sequence = content.sequence.0, "the backup is complete");
    Ok(())
}

async fn write(
    leading: &Leading,
    id: &BackupId,
    timeline: Timeline,
    position: &Position,
    previous: Option<&Backup>,
) -> Result<Written, Halt> {
    let parts = &leading.parts;
    let department = &leading.leadership.department;
    let previous = previous_snapshot(leading, timeline, previous).await;
    let records_total = parts.store.users.count(department).await?;
    let (progress, reported) = watch::channel(BackupProgress { records_total, ..BackupProgress::default() });
    let writer = SnapshotWriter {
        repository: leading.repository.clone(),
        targets: parts.targets.clone(),
        chunk_records: parts.config.backup.chunk_records,
        clock: parts.clock.clone(),
    };
    let of = SnapshotOf {
        department: department.clone(),
        timeline,
        position: position.clone(),
        epoch: leading.leadership.epoch,
    };
    let records = parts.store.users.scan_at(department, position.cluster_time, parts.config.backup.scan_cursors);
    let report = |done: BackupProgress| {
        progress.send_replace(BackupProgress { records_total, ..done });
    };
    let previous = previous.as_ref().map(|snapshot| snapshot.manifest().as_ref());
    tokio::select! {
        written = writer.write(&of, records, previous, &leading.ended, report) => Ok(written?),
        halt = report_progress(leading, id, reported) => Err(halt),
    }
}

/// The newest snapshot of the same timeline, whose chunks need not be written again. It only saves work, so one that
/// cannot be read is passed over.
async fn previous_snapshot(leading: &Leading, timeline: Timeline, previous: Option<&Backup>) -> Option<Snapshot> {
    let content = previous?.content.as_ref().filter(|content| content.timeline == timeline)?;
    let path = ObjectPath::from_stored(content.snapshot.clone());
    match Snapshot::open(&leading.repository, &leading.parts.targets, &path).await {
        Ok(snapshot) => Some(snapshot),
        Err(error) => {
            warn!(error = chain(&error), "read the manifest before this one: every chunk is written anew");
            None
        }
    }
}

/// Writes progress as it comes; ends only when the leadership has.
async fn report_progress(leading: &Leading, id: &BackupId, mut reported: watch::Receiver<BackupProgress>) -> Halt {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        if reported.changed().await.is_err() {
            return std::future::pending().await;
        }
        let progress = *reported.borrow_and_update();
        if let Err(error) = leading.parts.store.backups.set_progress(&leading.leadership, id, progress).await
            && let halt @ Halt::Ended = Halt::from(error)
        {
            return halt;
        }
    }
}

fn content(written: &Written, timeline: Timeline, position: &Position, unchanged: bool) -> BackupContent {
    BackupContent {
        timeline,
        sequence: position.sequence,
        chain: position.chain,
        taken_at: position.time,
        cluster_time: position.cluster_time,
        records: written.manifest.records,
        bytes: written.manifest.bytes,
        root: written.manifest.root.clone(),
        snapshot: written.path.as_str().to_owned(),
        unchanged,
    }
}

fn failed_with(halt: Halt, copies: Vec<Copy>) -> Halt {
    match halt {
        Halt::Failed(cause, _) => Halt::Failed(cause, copies),
        other => other,
    }
}
