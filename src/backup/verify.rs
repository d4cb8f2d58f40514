//! Checks a backup's copies: sealed hash of every object, MAC, place, counts and root.

use std::sync::Arc;

use crate::domain::backup::Backup;
use crate::domain::clock::Clock;
use crate::domain::copies::{Copy, CopyState};
use crate::targets::layout::ObjectPath;
use crate::targets::{Target, Targets};

use super::journal::read_through;
use super::journal_read::{JournalPlace, Point};
use super::snapshot::{check_chunk, read_manifest};
use super::{BackupError, Repository};

/// Checks every copy of a complete backup fully. A target that does not answer keeps the state that it had, with the
/// cause.
pub async fn verify_copies(repository: &Repository, targets: &Targets, backup: &Backup, clock: &Clock) -> Vec<Copy> {
    let checks = targets.iter().map(|target| async move {
        let name = target.name().clone();
        let before = backup.copies.iter().find(|copy| copy.target == name);
        match verify_one(repository, targets, target, backup).await {
            Ok(()) => Copy { target: name, state: CopyState::Present, verified_at: Some(clock.now()), cause: None },
            Err(error) => {
                let kept = before.map_or(CopyState::Owed, |copy| copy.state);
                let state = match &error {
                    BackupError::Target(inner) if inner.is_not_found() && kept != CopyState::Owed => CopyState::Missing,
                    BackupError::Target(_) => kept,
                    _ => CopyState::Damaged,
                };
                let verified_at = before.and_then(|copy| copy.verified_at);
                Copy { target: name, state, verified_at, cause: Some(error.cause()) }
            }
        }
    });
    futures::future::join_all(checks).await
}

/// Checks the snapshot and the journal of a backup on one target alone.
async fn verify_one(
    repository: &Repository,
    targets: &Targets,
    target: &Arc<Target>,
    backup: &Backup,
) -> Result<(), BackupError> {
    let Some(content) = &backup.content else { return Ok(()) };
    let path = ObjectPath::from_stored(content.base.snapshot.clone());
    let (manifest, _) = read_manifest(repository, target, &path).await?;
    if manifest.root != content.base.root || manifest.records != content.base.records {
        return Err(super::seal::damaged(&path, "its root is not the one that the backup was listed with"));
    }
    for chunk in &manifest.chunks {
        let sealed = target.get(&manifest.chunk_path(chunk)).await?;
        check_chunk(repository, &manifest, chunk, sealed).await?;
    }
    let to = Point::from(content);
    let place = JournalPlace::new(repository, targets.only(target), &backup.department, content.timeline);
    read_through(place, manifest.point(), to).await
}
