//! Reads a snapshot: verified manifest first, then chunk by chunk, with fallback to the next copy.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};

use crate::domain::history::Timeline;
use crate::domain::ids::UserId;
use crate::domain::user::User;
use crate::targets::layout::ObjectPath;
use crate::targets::{Target, TargetError, Targets};

use super::manifest::{ChunkRef, Manifest};
use super::overlay::BasePiece;
use super::record::{parse_record, read_line};
use super::seal::{Header, Kind, Opened, damaged};
use super::{BackupError, Repository};

/// A snapshot whose manifest has been read and verified. Clones share it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    repository: Repository,
    targets: Targets,
    manifest: Arc<Manifest>,
}

impl Snapshot {
    /// Reads and verifies a manifest.
    ///
    /// # Errors
    /// `Damaged` or `WrongKey` when no copy passes; `Target` when no target answers.
    pub async fn open(repository: &Repository, targets: &Targets, path: &ObjectPath) -> Result<Self, BackupError> {
        let mut refusal = None;
        for target in targets.by_health() {
            match read_manifest(repository, target, path).await {
                Ok((manifest, _)) => {
                    let (repository, targets) = (repository.clone(), targets.clone());
                    return Ok(Self { repository, targets, manifest: Arc::new(manifest) });
                }
                Err(error) => refusal = Some(worse(refusal, error)),
            }
        }
        Err(refusal.unwrap_or_else(|| damaged(path, "there is no target")))
    }

    /// The verified manifest.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The records after an id (exclusive), or all, sorted by id, a verified chunk at a time. Reads one chunk ahead.
    pub fn users(&self, after: Option<UserId>) -> impl Stream<Item = Result<Vec<User>, BackupError>> + Send + use<> {
        self.users_of(after, &|_| true)
    }

    /// The same, of the chunks that the caller needs; no other one is read.
    pub fn users_of(
        &self,
        after: Option<UserId>,
        needed: &dyn Fn(&ChunkRef) -> bool,
    ) -> impl Stream<Item = Result<Vec<User>, BackupError>> + Send + use<> {
        let snapshot = self.clone();
        let chunks: Vec<ChunkRef> = self
            .manifest
            .chunks
            .iter()
            .filter(|chunk| after.as_ref().is_none_or(|after| chunk.last.as_str() > after.as_str()) && needed(chunk))
            .cloned()
            .collect();
        futures::stream::iter(chunks)
            .map(move |chunk| {
                let (snapshot, after) = (snapshot.clone(), after.clone());
                async move {
                    let mut users = snapshot.chunk(&chunk).await?;
                    if let Some(after) = after {
                        users.retain(|user| user.id > after);
                    }
                    Ok(users)
                }
            })
            .buffered(2)
    }

    /// All chunks in order: those that are `touched` with their records, the others as they are, unread.
    pub(super) fn pieces(&self, touched: &[bool]) -> impl Stream<Item = Result<BasePiece, BackupError>> + Send + use<> {
        let snapshot = self.clone();
        let chunks: Vec<(ChunkRef, bool)> = self.manifest.chunks.iter().cloned().zip(touched.iter().copied()).collect();
        futures::stream::iter(chunks)
            .map(move |(chunk, touched)| {
                let snapshot = snapshot.clone();
                async move {
                    if touched {
                        return snapshot.chunk(&chunk).await.map(BasePiece::Users);
                    }
                    Ok(BasePiece::Untouched(chunk))
                }
            })
            .buffered(2)
    }

    /// One user.
    ///
    /// # Errors
    /// When the chunk that may hold it cannot be read and verified.
    pub async fn user(&self, id: &UserId) -> Result<Option<User>, BackupError> {
        let chunks = &self.manifest.chunks;
        let at = chunks.partition_point(|chunk| chunk.last.as_str() < id.as_str());
        let Some(chunk) = chunks.get(at).filter(|chunk| chunk.first.as_str() <= id.as_str()) else { return Ok(None) };
        Ok(self.records_of(chunk, vec![id.clone()]).await?.pop().flatten())
    }

    /// The records of some ids, sorted, in one chunk. Only their own lines are read; the content id commits to all of them.
    pub(super) async fn records_of(
        &self,
        chunk: &ChunkRef,
        ids: Vec<UserId>,
    ) -> Result<Vec<Option<User>>, BackupError> {
        let ids: Arc<[UserId]> = ids.into();
        let find = |sealed| find_in_chunk(&self.repository, &self.manifest, chunk, sealed, Arc::clone(&ids));
        self.read_chunk(chunk, find).await
    }

    /// Reads a chunk from the first target whose copy pleases.
    async fn read_chunk<T, F>(&self, chunk: &ChunkRef, accept: impl Fn(Bytes) -> F) -> Result<T, BackupError>
    where
        F: Future<Output = Result<T, BackupError>>,
    {
        let path = self.manifest.chunk_path(chunk);
        let mut refusal = None;
        for target in self.targets.by_health() {
            let read = match target.get(&path).await {
                Ok(sealed) => accept(sealed).await,
                Err(error) => Err(error.into()),
            };
            match read {
                Ok(value) => return Ok(value),
                Err(error) => refusal = Some(worse(refusal, error)),
            }
        }
        Err(refusal.unwrap_or_else(|| damaged(&path, "there is no target")))
    }

    /// The records of one chunk.
    pub(super) async fn chunk(&self, chunk: &ChunkRef) -> Result<Vec<User>, BackupError> {
        self.read_chunk(chunk, |sealed| check_chunk(&self.repository, &self.manifest, chunk, sealed)).await
    }
}

/// Which of two refusals to show: damage before absence.
fn worse(old: Option<BackupError>, new: BackupError) -> BackupError {
    match old {
        Some(old) if matches!(new, BackupError::Target(_)) => match (&old, &new) {
            (BackupError::Target(TargetError::NotFound { .. }), _) => new,
            _ => old,
        },
        _ => new,
    }
}

/// Reads and verifies the manifest on one target; also gives its sealed bytes.
pub(super) async fn read_manifest(
    repository: &Repository,
    target: &Target,
    path: &ObjectPath,
) -> Result<(Manifest, Bytes), BackupError> {
    let sealed = target.get(path).await?;
    let (repository, path, bytes) = (repository.clone(), path.clone(), sealed.clone());
    let manifest = repository.clone().busy(move || open_manifest(&repository, &path, &bytes)).await?;
    Ok((manifest, sealed))
}

/// Opens a sealed manifest.
pub(super) fn open_manifest(
    repository: &Repository,
    path: &ObjectPath,
    sealed: &[u8],
) -> Result<Manifest, BackupError> {
    let parts: Vec<&str> = path.as_str().split('/').collect();
    let (department, timeline) = match parts.as_slice() {
        ["departments", department, timeline, "snapshots", _] => (department.parse().ok(), timeline.parse().ok()),
        _ => (None, None),
    };
    let (Some(department), Some(timeline)) = (department, timeline) else {
        return Err(damaged(path, "this is no path of a snapshot"));
    };
    let place = Header::new(Kind::Snapshot, &department, Timeline(timeline));
    let opened = repository.unseal(path, sealed, &place)?;
    Manifest::parse(repository, path, &opened, sealed.len() as u64)
}

/// Checks everything about a chunk and gives its records.
pub(super) async fn check_chunk(
    repository: &Repository,
    manifest: &Manifest,
    chunk: &ChunkRef,
    sealed: Bytes,
) -> Result<Vec<User>, BackupError> {
    let (path, place) = (manifest.chunk_path(chunk), manifest.chunk_place());
    let (repository, chunk) = (repository.clone(), chunk.clone());
    repository.clone().busy(move || decode_chunk(&repository, &path, &place, &chunk, &sealed)).await
}

/// Finds the records of some ids, sorted, in a chunk.
async fn find_in_chunk(
    repository: &Repository,
    manifest: &Manifest,
    chunk: &ChunkRef,
    sealed: Bytes,
    ids: Arc<[UserId]>,
) -> Result<Vec<Option<User>>, BackupError> {
    let (path, place) = (manifest.chunk_path(chunk), manifest.chunk_place());
    let (repository, chunk) = (repository.clone(), chunk.clone());
    let find = move |repository: &Repository| {
        let opened = open_chunk(repository, &path, &place, &chunk, &sealed)?;
        let mut lines = opened.body().split(|b| *b == b'\n').peekable();
        let mut found = Vec::with_capacity(ids.len());
        for id in ids.iter() {
            while lines.next_if(|line| id_of(line).is_some_and(|other| other < id.as_str())).is_some() {}
            let line = lines.next_if(|line| id_of(line) == Some(id.as_str()));
            let user = line.map(parse_record).transpose();
            found.push(user.map_err(|reason| damaged(&path, &format!("a record: {reason}")))?);
        }
        Ok(found)
    };
    repository.clone().busy(move || find(&repository)).await
}

/// The id of a record line; an id needs no escaping.
fn id_of(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(b"{\"id\":\"")?;
    let end = rest.iter().position(|b| *b == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// Checks that a chunk holds exactly the lines that were written, and looks at no record: the content id commits to all
/// of them. So much is enough for the one who wrote them a moment ago.
pub(super) async fn check_lines(
    repository: &Repository,
    manifest: &Manifest,
    chunk: &ChunkRef,
    sealed: Bytes,
) -> Result<(), BackupError> {
    let (path, place) = (manifest.chunk_path(chunk), manifest.chunk_place());
    let (repository, chunk) = (repository.clone(), chunk.clone());
    repository.clone().busy(move || open_chunk(&repository, &path, &place, &chunk, &sealed).map(drop)).await
}

fn open_chunk(
    repository: &Repository,
    path: &ObjectPath,
    place: &Header,
    chunk: &ChunkRef,
    sealed: &[u8],
) -> Result<Opened, BackupError> {
    let opened = repository.unseal(path, sealed, place)?;
    if hex::encode(repository.content_id(opened.body())) != chunk.content_id {
        return Err(damaged(path, "its records are not the ones that the manifest names"));
    }
    Ok(opened)
}

fn decode_chunk(
    repository: &Repository,
    path: &ObjectPath,
    place: &Header,
    chunk: &ChunkRef,
    sealed: &[u8],
) -> Result<Vec<User>, BackupError> {
    let opened = open_chunk(repository, path, place, chunk, sealed)?;
    let mut users = Vec::with_capacity(usize::try_from(chunk.records).unwrap_or_default().min(65_536));
    let mut contents = repository.contents();
    for line in opened.body().split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let user = contents.add(|pending| read_line(line, pending));
        users.push(user.map_err(|reason| damaged(path, &format!("a record: {reason}")))?);
    }
    let ends = users.first().is_some_and(|user| user.id.as_str() == chunk.first)
        && users.last().is_some_and(|user| user.id.as_str() == chunk.last);
    let sorted = users.windows(2).all(|pair| pair[0].id < pair[1].id);
    let digest = hex::encode(contents.finish()) == chunk.digest;
    if users.len() as u64 != chunk.records || !ends || !sorted || !digest {
        return Err(damaged(path, "its records do not fit what the manifest says of them"));
    }
    Ok(users)
}
