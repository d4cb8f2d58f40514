//! The objects `backups/<id>/<n>-<hash>`: what became of a backup, told on the targets themselves.

use crate::domain::backup::Backup;
use crate::domain::copies::Copy;
use crate::domain::history::Timeline;
use crate::targets::Targets;

use super::{BackupError, Repository};

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
    todo!()
}

/// Brings an owed copy of a complete backup to a target: every chunk that it lacks, then the manifest, then the word on
/// the backup, each read from another target, and verified there. Returns the copy as it is now.
///
/// # Errors
/// When no other target can give an object, or the target fails.
pub async fn catch_up(
    repository: &Repository,
    targets: &Targets,
    backup: &Backup,
    target: &crate::targets::Target,
) -> Result<(), BackupError> {
    todo!()
}
