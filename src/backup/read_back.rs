//! Reads a new snapshot back from every target before its backup counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::domain::cause::Cause;
use crate::domain::copies::{Copy, CopyState};
use crate::targets::Target;
use crate::targets::layout::ObjectPath;

use super::fanout::require_quorum;
use super::gather::gather;
use super::manifest::{ChunkRef, Manifest};
use super::seal::{damaged, is_named_for};
use super::snapshot::{check_lines, open_manifest};
use super::write::SnapshotWriter;
use super::{BackupError, Repository};

/// Chunks that are read back from one target at the same time.
const AT_ONCE: usize = 2;

/// What is new of a snapshot.
pub(super) struct ReadBack {
    repository: Repository,
    path: ObjectPath,
    manifest: Manifest,
    new: Vec<ChunkRef>,
    /// Which chunks have been opened: equal sealed bytes need that only once.
    opened: Vec<AtomicBool>,
}

impl ReadBack {
    pub(super) fn new(repository: Repository, path: ObjectPath, manifest: Manifest, new: Vec<ChunkRef>) -> Self {
        let opened = new.iter().map(|_| AtomicBool::new(false)).collect();
        Self { repository, path, manifest, new, opened }
    }

    /// Reads from every target without a failure, and says what each holds then. Waits for the write quorum, and a short
    /// grace for the others.
    pub(super) async fn read_all(
        self,
        writer: &SnapshotWriter,
        mut failures: Vec<Option<Cause>>,
        stop: &CancellationToken,
    ) -> Result<Vec<Copy>, BackupError> {
        let back = Arc::new(self);
        let mut reads = JoinSet::new();
        for ((index, target), failure) in writer.targets.iter().enumerate().zip(&failures) {
            if failure.is_none() {
                let (back, target) = (Arc::clone(&back), Arc::clone(target));
                reads.spawn(async move { (index, back.read_one(&target).await) });
            }
        }
        let answers = tokio::select! {
            () = stop.cancelled() => return Err(BackupError::Stopped),
            answers = gather(reads, writer.targets.len(), writer.targets.quorum()) => answers,
        };
        for (failure, answer) in failures.iter_mut().zip(answers) {
            *failure = failure.take().or(answer.err());
        }
        require_quorum(&writer.targets, &failures)?;
        let now = writer.clock.now();
        let copy = |(target, cause): (&Arc<Target>, Option<Cause>)| {
            let state = if cause.is_none() { CopyState::Present } else { CopyState::Owed };
            Copy { target: target.name().clone(), state, verified_at: cause.is_none().then_some(now), cause }
        };
        Ok(writer.targets.iter().zip(failures).map(copy).collect())
    }

    async fn read_one(&self, target: &Target) -> Result<(), BackupError> {
        let checks = futures::stream::iter(0..self.new.len()).map(|at| self.read_chunk(target, at));
        checks.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let sealed = read_named(target, &self.path).await?;
        open_manifest(&self.repository, &self.path, &sealed).map(|_| ())
    }

    async fn read_chunk(&self, target: &Target, at: usize) -> Result<(), BackupError> {
        let (Some(chunk), Some(opened)) = (self.new.get(at), self.opened.get(at)) else { return Ok(()) };
        let sealed = read_named(target, &self.manifest.chunk_path(chunk)).await?;
        if opened.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        check_lines(&self.repository, &self.manifest, chunk, sealed).await
    }
}

/// Reads an object and checks that its bytes are the ones that it is named for.
pub(super) async fn read_named(target: &Target, path: &ObjectPath) -> Result<Bytes, BackupError> {
    let sealed = target.get(path).await?;
    if is_named_for(path, &sealed) { Ok(sealed) } else { Err(damaged(path, "its bytes are not the ones written")) }
}
