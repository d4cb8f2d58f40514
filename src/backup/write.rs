//! Writes a snapshot: chunks, then the manifest, to all targets at once; reads everything new back.

use futures::Stream;
use tokio_util::sync::CancellationToken;

use crate::domain::backup::BackupProgress;
use crate::domain::copies::Copy;
use crate::domain::epoch::Epoch;
use crate::domain::history::{Position, Timeline};
use crate::domain::ids::DepartmentName;
use crate::domain::user::User;
use crate::store::StoreError;
use crate::targets::Targets;
use crate::targets::layout::ObjectPath;

use super::manifest::Manifest;
use super::{BackupError, Repository};

/// What a snapshot is of.
#[derive(Debug, Clone)]
pub struct SnapshotOf {
    /// The department.
    pub department: DepartmentName,
    /// Its line of history.
    pub timeline: Timeline,
    /// The point that was read.
    pub position: Position,
    /// The epoch of the leader that writes it.
    pub epoch: Epoch,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// Path of the manifest.
    pub path: ObjectPath,
    /// The manifest.
    pub manifest: Manifest,
    /// What each target holds now: `Present` only after every new object was read back from it and found good.
    pub copies: Vec<Copy>,
}

/// Makes snapshots.
#[derive(Debug, Clone)]
pub struct SnapshotWriter {
    /// The repository to seal for.
    pub repository: Repository,
    /// Where to write.
    pub targets: Targets,
    /// Records of a chunk on average.
    pub chunk_records: u32,
}

impl SnapshotWriter {
    /// Writes all records of `records` (batches, sorted by id) as a snapshot. Chunks that `previous` already has, by
    /// content id, are not written again where the target still has them. Stops between chunks when `stop` is
    /// cancelled. `progress` is called after every chunk.
    ///
    /// # Errors
    /// `QuorumNotReached` when fewer than W targets hold everything, read back and verified; `Store` when the records
    /// could not be read; `Stopped`.
    pub async fn write(
        &self,
        of: &SnapshotOf,
        records: impl Stream<Item = Result<Vec<User>, StoreError>> + Send,
        previous: Option<&Manifest>,
        stop: &CancellationToken,
        progress: impl Fn(BackupProgress) + Send + Sync,
    ) -> Result<Written, BackupError> {
        todo!()
    }
}
