//! Writes a snapshot: chunks, then the manifest, to all targets at once; reads everything new back.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::domain::backup::BackupProgress;
use crate::domain::clock::Clock;
use crate::domain::copies::Copy;
use crate::domain::epoch::Epoch;
use crate::domain::history::{Position, Timeline};
use crate::domain::ids::DepartmentName;
use crate::domain::user::User;
use crate::store::StoreError;
use crate::targets::Targets;
use crate::targets::layout::ObjectPath;

use super::chunker::{Chunker, PlainChunk};
use super::fanout::{Fanout, Sent};
use super::manifest::{ChunkRef, Manifest, hex_digest, push_line};
use super::merkle::Digest;
use super::read_back::ReadBack;
use super::seal::{Header, Kind, damaged};
use super::state::Piece;
use super::{BackupError, Repository, Snapshot};

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
    /// Tells when a copy was read back.
    pub clock: Clock,
}

impl SnapshotWriter {
    /// Writes all records of `pieces` (sorted by id) as a snapshot. Chunks that `previous` already has, by content id, are
    /// not written again where the target still has them; those that come untouched are not even read, if the same records
    /// would be cut in the same way. Stops between chunks when `stop` is cancelled. `progress` is called after every chunk.
    ///
    /// # Errors
    /// `QuorumNotReached` when fewer than W targets hold everything, read back and verified; `Store` when the records
    /// could not be read; `Stopped`.
    pub async fn write<E: Into<BackupError>>(
        &self,
        of: &SnapshotOf,
        pieces: impl Stream<Item = Result<Piece, E>> + Send,
        previous: Option<&Snapshot>,
        stop: &CancellationToken,
        progress: impl Fn(BackupProgress) + Send + Sync,
    ) -> Result<Written, BackupError> {
        let mut chunker = Chunker::new(&self.repository, self.chunk_records);
        let mut work = Work::start(self, of, &chunker, previous, stop);
        let mut pieces = pin!(pieces);
        let mut piece = pieces.next().await.transpose().map_err(Into::into)?;
        while let Some(this) = piece {
            let users = match this {
                Piece::Users(users) => users,
                Piece::Untouched(chunk) if work.may_keep(&chunk) && chunker.keep(&chunk) => {
                    work.keep(chunk).await?;
                    progress(work.progress());
                    piece = pieces.next().await.transpose().map_err(Into::into)?;
                    continue;
                }
                Piece::Untouched(chunk) => {
                    let previous =
                        previous.ok_or_else(|| damaged(&chunk_path("", &chunk), "nobody knows its snapshot"))?;
                    previous.chunk(&chunk).await?
                }
            };
            // The next records are read while these are cut.
            let cut_and_read = async { tokio::join!(cut(chunker, of.department.clone(), users), pieces.next()) };
            let (done, following) = tokio::select! {
                () = stop.cancelled() => return Err(BackupError::Stopped),
                both = cut_and_read => both,
            };
            let chunks;
            (chunker, chunks) = done?;
            for chunk in chunks {
                work.add(chunk).await?;
                progress(work.progress());
            }
            piece = following.transpose().map_err(Into::into)?;
        }
        if let Some(chunk) = chunker.finish() {
            work.add(chunk).await?;
        }
        while !work.sealing.is_empty() {
            work.settle_one().await?;
        }
        progress(work.progress());
        work.complete(self, of).await
    }
}

/// Cuts a batch of records on a blocking thread; gives the chunker back, with the chunks that ended.
async fn cut(
    mut chunker: Chunker,
    department: DepartmentName,
    users: Vec<User>,
) -> Result<(Chunker, Vec<PlainChunk>), BackupError> {
    let work = move || {
        let mut chunks = Vec::new();
        for user in users {
            if user.department != department {
                let reason = "a record of another department came with the scan".to_owned();
                return Err(StoreError::Corrupt { collection: "users", reason }.into());
            }
            chunks.extend(chunker.push(&user)?);
        }
        Ok((chunker, chunks))
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| BackupError::Stopped)?
}

type Sealing = Pin<Box<dyn Future<Output = Result<(ChunkRef, Sent), BackupError>> + Send>>;

/// A snapshot in the making.
struct Work<'a> {
    repository: Repository,
    place: Header,
    of: &'a SnapshotOf,
    previous: Option<&'a Snapshot>,
    known: HashMap<&'a str, &'a ChunkRef>,
    /// Records of a chunk on average.
    mean: u64,
    expected: u64,
    targets: Targets,
    fanout: Fanout,
    sealing: VecDeque<Sealing>,
    digests: Vec<Digest>,
    chunks: Vec<ChunkRef>,
    new: Vec<ChunkRef>,
    stop: CancellationToken,
}

impl<'a> Work<'a> {
    fn start(
        writer: &SnapshotWriter,
        of: &'a SnapshotOf,
        chunker: &Chunker,
        previous: Option<&'a Snapshot>,
        stop: &CancellationToken,
    ) -> Self {
        let repository = writer.repository.clone();
        let manifest = previous.map(Snapshot::manifest);
        let reusable = manifest.filter(|manifest| {
            manifest.department == of.department
                && manifest.timeline == of.timeline
                && manifest.recipients == repository.recipients_hash()
        });
        let known = reusable.map(|m| m.chunks.iter().map(|c| (c.content_id.as_str(), c)).collect()).unwrap_or_default();
        Self {
            place: Header::new(Kind::Chunk, &of.department, of.timeline),
            of,
            previous,
            known,
            mean: chunker.mean(),
            expected: manifest.map_or(0, |manifest| manifest.records),
            targets: writer.targets.clone(),
            fanout: Fanout::start(&repository, &writer.targets, stop),
            repository,
            sealing: VecDeque::new(),
            digests: Vec::new(),
            chunks: Vec::new(),
            new: Vec::new(),
            stop: stop.clone(),
        }
    }

    /// Whether a chunk of the previous snapshot can be referred to: it is sealed to the present recipients, and was cut as
    /// chunks are cut now.
    fn may_keep(&self, chunk: &ChunkRef) -> bool {
        let cut_alike = self.previous.is_some_and(|previous| previous.manifest().chunk_records == self.mean);
        cut_alike && self.known.get(chunk.content_id.as_str()).is_some_and(|known| *known == chunk)
    }

    /// Refers to a chunk of the previous snapshot, unread. One that is lost everywhere cannot be made again from here.
    async fn keep(&mut self, chunk: ChunkRef) -> Result<(), BackupError> {
        if self.sealing.len() >= 2 {
            self.settle_one().await?;
        }
        let folder = ObjectPath::chunk(&self.of.department, self.of.timeline, "").folder().to_owned();
        let path = chunk_path(&folder, &chunk);
        self.digests.push(hex_digest(&chunk.digest).ok_or_else(|| damaged(&path, "its digest cannot be read"))?);
        let targets = self.targets.clone();
        self.sealing.push_back(Box::pin(async move {
            let size = chunk.bytes;
            if is_held(&targets, &path, size).await {
                return Ok((chunk, Sent::Kept(path, size)));
            }
            Err(damaged(&path, "no target has it any more"))
        }));
        Ok(())
    }

    /// Takes a chunk: seals it beside the one before it, or refers to the one that is there already.
    async fn add(&mut self, plain: PlainChunk) -> Result<(), BackupError> {
        if self.sealing.len() >= 2 {
            self.settle_one().await?;
        }
        self.digests.push(plain.digest);
        let kept = self.known.get(hex::encode(plain.content_id).as_str()).map(|kept| (*kept).clone());
        let (repository, place, targets) = (self.repository.clone(), self.place.clone(), self.targets.clone());
        let folder = ObjectPath::chunk(&self.of.department, self.of.timeline, "").folder().to_owned();
        self.sealing.push_back(Box::pin(async move {
            if let Some(chunk) = kept {
                let path = chunk_path(&folder, &chunk);
                // A chunk that is lost everywhere is made again, else no later backup could be complete.
                if is_held(&targets, &path, chunk.bytes).await {
                    let size = chunk.bytes;
                    return Ok((chunk, Sent::Kept(path, size)));
                }
            }
            repository.clone().busy(move || seal_chunk(&repository, &place, &folder, &plain)).await
        }));
        Ok(())
    }

    /// Sends the oldest chunk on its way.
    async fn settle_one(&mut self) -> Result<(), BackupError> {
        let Some(sealing) = self.sealing.pop_front() else { return Ok(()) };
        let (chunk, piece) = sealing.await?;
        if self.stop.is_cancelled() {
            return Err(BackupError::Stopped);
        }
        if matches!(piece, Sent::New(..)) {
            self.new.push(chunk.clone());
        }
        self.chunks.push(chunk);
        self.fanout.submit(piece).await
    }

    fn progress(&self) -> BackupProgress {
        let records_done = self.chunks.iter().map(|chunk| chunk.records).sum();
        let bytes_done = self.chunks.iter().map(|chunk| chunk.bytes).sum();
        BackupProgress { records_done, records_total: self.expected.max(records_done), bytes_done }
    }

    /// Writes the manifest, and reads everything new back.
    async fn complete(mut self, writer: &SnapshotWriter, of: &SnapshotOf) -> Result<Written, BackupError> {
        let mut manifest = Manifest::of(&self.repository, of, self.mean, self.chunks, &self.digests);
        let folder = ObjectPath::snapshot(&of.department, of.timeline, of.position.sequence, "");
        let sealed = self.repository.seal(folder.folder(), &manifest.format()?)?;
        let hash = blake3::hash(&sealed).to_hex();
        let path = ObjectPath::snapshot(&of.department, of.timeline, of.position.sequence, &hash);
        manifest.bytes += sealed.len() as u64;
        self.fanout.submit(Sent::New(path.clone(), sealed)).await?;
        let failures = self.fanout.finish().await?;
        let back = ReadBack::new(self.repository, path.clone(), manifest.clone(), self.new);
        let copies = back.read_all(writer, failures, &self.stop).await?;
        Ok(Written { path, manifest, copies })
    }
}

fn chunk_path(folder: &str, chunk: &ChunkRef) -> ObjectPath {
    ObjectPath::from_stored(format!("{folder}/{}", chunk.object))
}

fn seal_chunk(
    repository: &Repository,
    place: &Header,
    folder: &str,
    plain: &PlainChunk,
) -> Result<(ChunkRef, Sent), BackupError> {
    let mut lines = Vec::with_capacity(plain.lines.len() + 128);
    push_line(&mut lines, place)?;
    lines.extend_from_slice(&plain.lines);
    let sealed = repository.seal(folder, &lines)?;
    let chunk = ChunkRef {
        first: plain.first.to_string(),
        last: plain.last.to_string(),
        records: plain.records,
        content_id: hex::encode(plain.content_id),
        object: blake3::hash(&sealed).to_hex().to_string(),
        bytes: sealed.len() as u64,
        digest: hex::encode(plain.digest),
    };
    let path = chunk_path(folder, &chunk);
    Ok((chunk, Sent::New(path, sealed)))
}

/// Whether any target has an object of this size; it does not wait for the others once one has.
async fn is_held(targets: &Targets, path: &ObjectPath, size: u64) -> bool {
    let mut sizes: FuturesUnordered<_> = targets.iter().map(|target| target.size(path)).collect();
    while let Some(found) = sizes.next().await {
        if matches!(found, Ok(Some(found)) if found == size) {
            return true;
        }
    }
    false
}
