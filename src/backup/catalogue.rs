//! The objects `backups/<id>/<n>-<hash>`: what became of a backup, told on the targets themselves.

use bytes::Bytes;
use serde::Serialize;

use crate::domain::backup::{Backup, BackupKind, BackupState};
use crate::domain::copies::{Copy, CopyState};
use crate::domain::history::Timeline;
use crate::targets::layout::ObjectPath;
use crate::targets::{Target, Targets};

use super::fanout::require_quorum;
use super::manifest::push_line;
use super::seal::{Header, Kind, damaged, is_named_for};
use super::snapshot::{Snapshot, check_chunk, read_manifest};
use super::write::read_named;
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
}

#[derive(Serialize)]
struct Content<'a> {
    timeline: i64,
    sequence: i64,
    chain: String,
    taken_at: String,
    cluster_time: (u32, u32),
    records: u64,
    bytes: u64,
    root: &'a str,
    snapshot: &'a str,
    unchanged: bool,
}

fn word(backup: &Backup, n: u32) -> Word<'_> {
    Word {
        id: backup.id.as_str(),
        n,
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
            bytes: content.bytes,
            root: &content.root,
            snapshot: &content.snapshot,
            unchanged: content.unchanged,
        }),
    }
}

/// Puts the word on a backup (its state, content and epoch) on every target whose copy is present, after everything it
/// needs; `n` is its number, one more than the last. Returns the copies, with targets that did not take it owed.
///
/// # Errors
/// `QuorumNotReached` when fewer than W targets took it.
pub async fn tell(
    repository: &Repository,
    targets: &Targets,
    timeline: Timeline,
    backup: &Backup,
    n: u32,
    copies: &[Copy],
) -> Result<Vec<Copy>, BackupError> {
    let folder = ObjectPath::backup_folder(&backup.department, timeline, &backup.id);
    let mut lines = Vec::new();
    push_line(&mut lines, &Header::new(Kind::Backup, &backup.department, timeline))?;
    push_line(&mut lines, &word(backup, n))?;
    let sealed = repository.seal(&folder, &lines)?;
    let path = ObjectPath::backup(&backup.department, timeline, &backup.id, n, &blake3::hash(&sealed).to_hex());
    let told = copies.iter().map(|copy| {
        let (path, sealed) = (path.clone(), sealed.clone());
        async move {
            let mut copy = copy.clone();
            let Some(target) = targets.get(&copy.target).filter(|_| copy.state == CopyState::Present) else {
                return copy;
            };
            if let Err(error) = target.put(&path, sealed).await {
                copy.state = CopyState::Owed;
                copy.cause = Some(BackupError::from(error).cause());
            }
            copy
        }
    });
    let copies = futures::future::join_all(told).await;
    let failures: Vec<_> = targets
        .iter()
        .map(|target| match copies.iter().find(|copy| copy.target == *target.name()) {
            Some(copy) if copy.state == CopyState::Present => None,
            Some(Copy { cause: Some(cause), .. }) => Some(cause.clone()),
            _ => Some(crate::domain::cause::Cause::new("owed", "The target holds no copy of the backup yet.")),
        })
        .collect();
    require_quorum(targets, &failures)?;
    Ok(copies)
}

/// Brings an owed copy of a complete backup to a target: every chunk that it lacks, then the manifest, then the word on
/// the backup, each read from another target, and verified there.
///
/// # Errors
/// When no other target can give an object, or the target fails.
pub async fn catch_up(
    repository: &Repository,
    targets: &Targets,
    backup: &Backup,
    target: &Target,
) -> Result<(), BackupError> {
    repository.admit(target).await?;
    let Some(content) = &backup.content else { return Ok(()) };
    let path = ObjectPath::from_stored(content.snapshot.clone());
    let snapshot = Snapshot::open(repository, targets, &path).await?;
    let manifest = snapshot.manifest();
    for chunk in &manifest.chunks {
        let at = manifest.chunk_path(chunk);
        ensure(targets, target, &at).await?;
        check_chunk(repository, manifest, chunk, target.get(&at).await?).await?;
    }
    ensure(targets, target, &path).await?;
    read_manifest(repository, target, &path).await?;
    let folder = ObjectPath::backup_folder(&backup.department, content.timeline, &backup.id);
    let mut words: Vec<ObjectPath> = Vec::new();
    for other in targets.iter() {
        // A target that is down tells nothing; the others do.
        words.extend(other.list(&folder).await.unwrap_or_default());
    }
    words.sort();
    words.dedup();
    let place = Header::new(Kind::Backup, &backup.department, content.timeline);
    for word in words {
        let sealed = match read_named(target, &word).await {
            Ok(sealed) => sealed,
            Err(_) => find_named(targets, &word).await?,
        };
        // A planted word is left where it is, and goes nowhere else.
        if repository.unseal(&word, &sealed, &place).is_ok() {
            ensure(targets, target, &word).await?;
        }
    }
    Ok(())
}

async fn ensure(targets: &Targets, target: &Target, path: &ObjectPath) -> Result<(), BackupError> {
    match read_named(target, path).await {
        Ok(_) => Ok(()),
        Err(BackupError::Target(error)) if !error.is_not_found() => Err(error.into()),
        Err(_) => bring(targets, target, path).await,
    }
}

/// Copies an object whose name is trusted from any target that has it whole, over a damaged or missing one, and reads
/// it back.
pub(super) async fn bring(targets: &Targets, target: &Target, path: &ObjectPath) -> Result<(), BackupError> {
    let sealed = find_named(targets, path).await?;
    target.repair(path, sealed).await?;
    read_named(target, path).await.map(|_| ())
}

async fn find_named(targets: &Targets, path: &ObjectPath) -> Result<Bytes, BackupError> {
    let accept =
        |sealed: Bytes| if is_named_for(path, &sealed) { Ok(sealed) } else { Err(damaged(path, "no copy is whole")) };
    targets.read(path, accept).await.map_err(|error| match error {
        crate::targets::ReadError::Target(error) => error.into(),
        crate::targets::ReadError::Refused(error) => error,
    })
}
