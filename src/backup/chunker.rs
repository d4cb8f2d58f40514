//! Cuts sorted records into chunks where the keyed hash of an id says so.
//!
//! Rule: where a cut lies depends only on what the records hold (never on `rev`, `version` or `updated_at`), so the
//! same records give the same chunks whatever their history.

use crate::domain::ids::UserId;
use crate::domain::user::User;
use crate::store::StoreError;

use super::manifest::ChunkRef;
use super::merkle::Digest;
use super::record::write_lines;
use super::{BackupError, Repository};

/// Content bytes after which a chunk ends whatever the ids say, so that a chunk always fits into memory.
const CHUNK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Contents that are hashed at once, a power of two: many blocks at a time are several times faster than one.
const HASH_BYTES: usize = 64 * 1024;

/// A chunk before it is sealed.
#[derive(Debug)]
pub(super) struct PlainChunk {
    pub(super) first: UserId,
    pub(super) last: UserId,
    pub(super) records: u64,
    /// The record lines, each with its line end.
    pub(super) lines: Vec<u8>,
    pub(super) content_id: Digest,
    pub(super) digest: Digest,
}

/// Takes records in order and gives chunks.
#[derive(Debug)]
pub(super) struct Chunker {
    repository: Repository,
    mean: u64,
    open: Option<Open>,
    last: Option<UserId>,
}

#[derive(Debug)]
struct Open {
    first: UserId,
    records: u64,
    lines: Vec<u8>,
    contents: Contents,
}

/// The digest of the contents of records, as the Merkle root takes it.
#[derive(Debug)]
pub(super) struct Contents {
    hasher: blake3::Hasher,
    /// Contents that the digest has not taken in yet.
    pending: Vec<u8>,
    bytes: usize,
}

impl Contents {
    /// Takes in what `write` appends: the content of one record with its line end.
    pub(super) fn add<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let before = self.pending.len();
        let written = write(&mut self.pending);
        self.bytes += self.pending.len() - before;
        if self.pending.len() >= HASH_BYTES {
            self.hasher.update(&self.pending[..HASH_BYTES]);
            self.pending.drain(..HASH_BYTES);
        }
        written
    }

    /// The digest.
    pub(super) fn finish(mut self) -> Digest {
        *self.hasher.update(&self.pending).finalize().as_bytes()
    }
}

impl Chunker {
    pub(super) fn new(repository: &Repository, chunk_records: u32) -> Self {
        let mean = u64::from(chunk_records.max(1)).next_power_of_two();
        Self { repository: repository.clone(), mean, open: None, last: None }
    }

    /// Takes the next record; gives the chunk that it ends.
    pub(super) fn push(&mut self, user: &User) -> Result<Option<PlainChunk>, BackupError> {
        if self.last.as_ref().is_some_and(|last| *last >= user.id) {
            let reason = "the records did not come sorted by id".to_owned();
            return Err(StoreError::Corrupt { collection: "users", reason }.into());
        }
        self.last = Some(user.id.clone());
        let limits = self.limits();
        let open = self.open.get_or_insert_with(|| Open {
            first: user.id.clone(),
            records: 0,
            lines: Vec::new(),
            contents: self.repository.contents(),
        });
        open.records += 1;
        let Open { lines, contents, .. } = open;
        contents.add(|pending| write_lines(lines, pending, user));

        let (min, max) = limits;
        let full = open.records >= max || open.contents.bytes >= CHUNK_BYTES_MAX;
        if full || (open.records >= min && self.repository.cuts_after(&user.id, self.mean)) {
            return Ok(self.finish());
        }
        Ok(None)
    }

    /// Takes a chunk of an earlier snapshot as it is, if exactly this chunk would come of its records: it begins where a
    /// chunk begins and ends where one ends. What is cut by size, and the end of a snapshot, is cut anew.
    pub(super) fn keep(&mut self, chunk: &ChunkRef) -> bool {
        let Ok(last) = chunk.last.parse::<UserId>() else { return false };
        let (min, max) = self.limits();
        let ends = chunk.records == max || (chunk.records >= min && self.repository.cuts_after(&last, self.mean));
        let sorted = self.last.as_ref().is_none_or(|before| before.as_str() < chunk.first.as_str());
        if self.open.is_some() || !ends || !sorted || chunk.records > max {
            return false;
        }
        self.last = Some(last);
        true
    }

    /// Least and most records of a chunk.
    fn limits(&self) -> (u64, u64) {
        ((self.mean / 4).max(1), self.mean * 4)
    }

    /// Records of a chunk on average, as they are counted.
    pub(super) fn mean(&self) -> u64 {
        self.mean
    }

    /// The last chunk, if any records are left.
    pub(super) fn finish(&mut self) -> Option<PlainChunk> {
        let open = self.open.take()?;
        let last = self.last.clone()?;
        Some(PlainChunk {
            first: open.first,
            last,
            records: open.records,
            content_id: self.repository.content_id(&open.lines),
            digest: open.contents.finish(),
            lines: open.lines,
        })
    }
}

impl Repository {
    /// Whether a chunk may end after this id.
    fn cuts_after(&self, id: &UserId, mean: u64) -> bool {
        let hash = blake3::keyed_hash(&self.keys().cut, id.as_str().as_bytes());
        let mut low = [0; 8];
        low.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(low) & (mean - 1) == 0
    }

    /// The digest of the contents of records, of none yet.
    pub(super) fn contents(&self) -> Contents {
        Contents { hasher: blake3::Hasher::new_keyed(&self.keys().digest), pending: Vec::new(), bytes: 0 }
    }

    /// The content id of plain record lines.
    pub(super) fn content_id(&self, lines: &[u8]) -> Digest {
        *blake3::keyed_hash(&self.keys().content, lines).as_bytes()
    }
}
