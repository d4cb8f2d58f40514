//! Words on a backup: the objects `backups/<id>/<n>-<hash>`, which say on the targets themselves what became of it.
//!
//! Rule: a word is put after everything that it needs, and the one with the highest (epoch, n) counts.

use bytes::Bytes;
use serde::Serialize;

use crate::domain::backup::{Backup, BackupKind, BackupState};
use crate::domain::cause::Cause;
use crate::domain::copies::{Copy, CopyState};
use crate::domain::department::Department;
use crate::domain::history::Timeline;
use crate::targets::layout::ObjectPath;
use crate::targets::{Target, Targets};

use super::fanout::require_quorum;
use super::manifest::push_line;
use super::seal::{Header, Kind};
use super::word_read::DepartmentLine;
use super::{BackupError, Repository};

#[derive(Serialize)]
struct Word<'a> {
    id: &'a str,
    n: u32,
    epoch: Option<i64>,
    kind: &'a str,
    state: &'a str,
    cause: Option<&'a str>,
    requested_at: String,
    finished_at: Option<String>,
    content: Option<Content<'a>>,
    /// What was known of the department then, so that it can be made again from the targets alone.
    department: Option<DepartmentLine>,
    /// Written only where somebody holds it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    held: bool,
}

#[derive(Serialize)]
struct Content<'a> {
    timeline: i64,
    sequence: i64,
    chain: String,
    taken_at: String,
    cluster_time: (u32, u32),
    records: u64,
    balance: i64,
    base: BaseLine<'a>,
    unchanged: bool,
}

#[derive(Serialize)]
struct BaseLine<'a> {
    snapshot: &'a str,
    sequence: i64,
    taken_at: String,
    records: u64,
    bytes: u64,
    root: &'a str,
}

fn word<'a>(backup: &'a Backup, department: Option<&Department>) -> Word<'a> {
    Word {
        id: backup.id.as_str(),
        n: backup.word(),
        epoch: backup.executed_by.as_ref().map(|executor| executor.epoch.0),
        kind: match backup.kind {
            BackupKind::Scheduled => "scheduled",
            BackupKind::OnDemand => "on_demand",
            BackupKind::BeforeRestore => "before_restore",
        },
        state: match backup.state {
            BackupState::Queued => "queued",
            BackupState::Running => "running",
            BackupState::Complete => "complete",
            BackupState::Failed => "failed",
            BackupState::Cancelled => "cancelled",
            BackupState::Deleted => "deleted",
        },
        cause: backup.cause.as_ref().map(|cause| cause.code.as_str()),
        requested_at: backup.requested_at.to_string(),
        finished_at: backup.finished_at.map(|at| at.to_string()),
        content: backup.content.as_ref().map(|content| Content {
            timeline: content.timeline.0,
            sequence: content.sequence.0,
            chain: content.chain.to_string(),
            taken_at: content.taken_at.to_string(),
            cluster_time: (content.cluster_time.seconds, content.cluster_time.ordinal),
            records: content.records,
            balance: content.balance,
            base: BaseLine {
                snapshot: &content.base.snapshot,
                sequence: content.base.sequence.0,
                taken_at: content.base.taken_at.to_string(),
                records: content.base.records,
                bytes: content.base.bytes,
                root: &content.base.root,
            },
            unchanged: content.unchanged,
        }),
        department: department.map(DepartmentLine::from),
        held: backup.held.is_some(),
    }
}

/// A word, sealed.
struct Sealed {
    path: ObjectPath,
    bytes: Bytes,
}

fn seal(
    repository: &Repository,
    timeline: Timeline,
    backup: &Backup,
    department: Option<&Department>,
) -> Result<Sealed, BackupError> {
    let folder = ObjectPath::backup_folder(&backup.department, timeline, &backup.id);
    let mut lines = Vec::new();
    push_line(&mut lines, &Header::new(Kind::Backup, &backup.department, timeline))?;
    push_line(&mut lines, &word(backup, department))?;
    let bytes = repository.seal(&folder, &lines)?;
    let hash = blake3::hash(&bytes).to_hex();
    Ok(Sealed { path: ObjectPath::backup(&backup.department, timeline, &backup.id, backup.word(), &hash), bytes })
}

/// Tells of a complete backup, on every target whose copy is present, and of the department as it is then. Returns the
/// copies, with targets that did not take the word owed.
///
/// # Errors
/// `QuorumNotReached` when fewer than W targets took it.
pub async fn tell(
    repository: &Repository,
    targets: &Targets,
    timeline: Timeline,
    backup: &Backup,
    department: Option<&Department>,
    copies: &[Copy],
) -> Result<Vec<Copy>, BackupError> {
    let word = &seal(repository, timeline, backup, department)?;
    let told = copies.iter().map(|copy| async move {
        let mut copy = copy.clone();
        let Some(target) = targets.get(&copy.target).filter(|_| copy.state == CopyState::Present) else {
            return copy;
        };
        if let Err(error) = target.put(&word.path, word.bytes.clone()).await {
            copy.state = CopyState::Owed;
            copy.cause = Some(BackupError::from(error).cause());
        }
        copy
    });
    let copies = futures::future::join_all(told).await;
    let failures: Vec<_> = targets
        .iter()
        .map(|target| match copies.iter().find(|copy| copy.target == *target.name()) {
            Some(copy) if copy.state == CopyState::Present => None,
            Some(Copy { cause: Some(cause), .. }) => Some(cause.clone()),
            _ => Some(Cause::new("owed", "The target holds no copy of the backup yet.")),
        })
        .collect();
    require_quorum(targets, &failures)?;
    Ok(copies)
}

/// Tells one target of a backup that was held, released or deleted.
///
/// # Errors
/// When the word cannot be sealed, or the target does not take it.
pub async fn tell_one(
    repository: &Repository,
    target: &Target,
    timeline: Timeline,
    backup: &Backup,
) -> Result<(), BackupError> {
    repository.admit(target).await?;
    let word = seal(repository, timeline, backup, None)?;
    Ok(target.put(&word.path, word.bytes).await?)
}

/// Tells of a backup that failed, on every target that takes the word. Nothing depends on it, so no quorum is needed, and
/// a target that is away is not owed it.
///
/// # Errors
/// When the word cannot be sealed.
pub async fn tell_failed(
    repository: &Repository,
    targets: &Targets,
    timeline: Timeline,
    backup: &Backup,
) -> Result<(), BackupError> {
    let word = &seal(repository, timeline, backup, None)?;
    let told = targets.iter().map(|target| async move {
        repository.admit(target).await?;
        target.put(&word.path, word.bytes.clone()).await?;
        Ok::<_, BackupError>(())
    });
    for outcome in futures::future::join_all(told).await {
        if let Err(error) = outcome {
            tracing::debug!(error = &error as &dyn std::error::Error, "a target does not hear of the failed backup");
        }
    }
    Ok(())
}
