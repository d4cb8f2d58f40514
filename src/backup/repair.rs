//! Repairs targets: brings what one owes, lacks or has damaged from another that has it whole.

use bytes::Bytes;

use crate::domain::backup::{Backup, Base};
use crate::targets::layout::ObjectPath;
use crate::targets::{Target, Targets};

use super::read_back::read_named;
use super::seal::{Header, Kind, damaged, is_named_for};
use super::snapshot::{Snapshot, check_chunk, read_manifest};
use super::{BackupError, Repository};

/// Brings an owed snapshot to a target: every chunk that it lacks, then the manifest, each read from another target, and
/// verified there.
///
/// # Errors
/// When no other target can give an object, or the target fails.
pub async fn bring_snapshot(
    repository: &Repository,
    targets: &Targets,
    base: &Base,
    target: &Target,
) -> Result<(), BackupError> {
    repository.admit(target).await?;
    let path = ObjectPath::from_stored(base.snapshot.clone());
    let snapshot = Snapshot::open(repository, targets, &path).await?;
    let manifest = snapshot.manifest();
    for chunk in &manifest.chunks {
        let at = manifest.chunk_path(chunk);
        ensure(targets, target, &at).await?;
        check_chunk(repository, manifest, chunk, target.get(&at).await?).await?;
    }
    ensure(targets, target, &path).await?;
    read_manifest(repository, target, &path).await.map(drop)
}

/// Brings a target the words on a backup, after everything that they need.
///
/// # Errors
/// When no other target can give an object, or the target fails.
pub async fn bring_words(
    repository: &Repository,
    targets: &Targets,
    backup: &Backup,
    target: &Target,
) -> Result<(), BackupError> {
    let Some(content) = &backup.content else { return Ok(()) };
    let words = targets.list(&ObjectPath::backup_folder(&backup.department, content.timeline, &backup.id)).await?;
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
    place(target, path, sealed).await
}

/// Puts an object over a damaged or missing one, and reads it back.
pub(super) async fn place(target: &Target, path: &ObjectPath, sealed: Bytes) -> Result<(), BackupError> {
    target.repair(path, sealed).await?;
    read_named(target, path).await.map(|_| ())
}

pub(super) async fn find_named(targets: &Targets, path: &ObjectPath) -> Result<Bytes, BackupError> {
    let accept =
        |sealed: Bytes| if is_named_for(path, &sealed) { Ok(sealed) } else { Err(damaged(path, "no copy is whole")) };
    Ok(targets.read(path, accept).await?)
}
