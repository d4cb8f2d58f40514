//! The snapshot manifest: header, one line a chunk, totals with the root.

use serde::{Deserialize, Serialize};

use crate::domain::clock::Timestamp;
use crate::domain::epoch::Epoch;
use crate::domain::history::{Chain, ClusterTime, Sequence, Timeline};
use crate::domain::ids::DepartmentName;
use crate::targets::layout::ObjectPath;

use super::journal_read::Point;
use super::merkle::Digest;
use super::seal::{Header, Kind, Opened, damaged};
use super::write::SnapshotOf;
use super::{BackupError, Repository};

/// A snapshot manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The department.
    pub department: DepartmentName,
    /// Its line of history.
    pub timeline: Timeline,
    /// The history up to here is in it.
    pub sequence: Sequence,
    /// The chain at that sequence.
    pub chain: Chain,
    /// The oplog moment that was read.
    pub cluster_time: ClusterTime,
    /// The department's time at that point.
    pub taken_at: Timestamp,
    /// The epoch of the leader that wrote it.
    pub epoch: Epoch,
    /// Fingerprint of the recipients that its chunks are sealed to.
    pub recipients: String,
    /// Records of a chunk on average, as its chunks were cut.
    pub chunk_records: u64,
    /// The chunks, in the order of their records.
    pub chunks: Vec<ChunkRef>,
    /// Number of records.
    pub records: u64,
    /// Sealed bytes of all chunks and the manifest itself.
    pub bytes: u64,
    /// Merkle root over all records, in hexadecimal.
    pub root: String,
}

/// One chunk of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkRef {
    /// Id of its first record.
    pub first: String,
    /// Id of its last record.
    pub last: String,
    /// Number of records.
    pub records: u64,
    /// Keyed hash of the plain record lines.
    pub content_id: String,
    /// Name of the object: blake3 of its sealed bytes.
    pub object: String,
    /// Sealed bytes.
    pub bytes: u64,
    /// Digest of the records for the root.
    pub digest: String,
}

#[derive(Serialize, Deserialize)]
struct HeaderLine {
    #[serde(flatten)]
    place: Header,
    sequence: i64,
    chain: String,
    cluster_time: (u32, u32),
    taken_at: String,
    epoch: i64,
    recipients: String,
    chunk_records: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Totals {
    records: u64,
    bytes: u64,
    root: String,
    chunks: u64,
}

impl Manifest {
    /// The manifest of these chunks; `bytes` does not count the manifest yet.
    pub(super) fn of(
        repository: &Repository,
        of: &SnapshotOf,
        chunk_records: u64,
        chunks: Vec<ChunkRef>,
        digests: &[Digest],
    ) -> Self {
        Self {
            department: of.department.clone(),
            timeline: of.timeline,
            sequence: of.position.sequence,
            chain: of.position.chain,
            cluster_time: of.position.cluster_time,
            taken_at: of.position.time,
            epoch: of.epoch,
            recipients: repository.recipients_hash(),
            chunk_records,
            records: chunks.iter().map(|chunk| chunk.records).sum(),
            bytes: chunks.iter().map(|chunk| chunk.bytes).sum(),
            root: hex::encode(repository.merkle_root(digests)),
            chunks,
        }
    }

    /// The point of the history that is in it.
    pub fn point(&self) -> Point {
        Point { sequence: self.sequence, chain: self.chain }
    }

    /// Path of a chunk's object.
    pub fn chunk_path(&self, chunk: &ChunkRef) -> ObjectPath {
        ObjectPath::chunk(&self.department, self.timeline, &chunk.object)
    }

    /// What the header of each chunk says.
    pub(super) fn chunk_place(&self) -> Header {
        Header::new(Kind::Chunk, &self.department, self.timeline)
    }

    /// All lines, without the MAC.
    pub(super) fn format(&self) -> Result<Vec<u8>, BackupError> {
        let header = HeaderLine {
            place: Header::new(Kind::Snapshot, &self.department, self.timeline),
            sequence: self.sequence.0,
            chain: self.chain.to_string(),
            cluster_time: (self.cluster_time.seconds, self.cluster_time.ordinal),
            taken_at: self.taken_at.to_string(),
            epoch: self.epoch.0,
            recipients: self.recipients.clone(),
            chunk_records: self.chunk_records,
        };
        let totals = Totals {
            records: self.records,
            bytes: self.bytes,
            root: self.root.clone(),
            chunks: self.chunks.len() as u64,
        };
        let mut out = Vec::new();
        push_line(&mut out, &header)?;
        for chunk in &self.chunks {
            push_line(&mut out, chunk)?;
        }
        push_line(&mut out, &totals)?;
        Ok(out)
    }

    /// Reads a manifest whose seal has been checked, and checks it against itself and its path.
    pub(super) fn parse(
        repository: &Repository,
        path: &ObjectPath,
        opened: &Opened,
        sealed_bytes: u64,
    ) -> Result<Self, BackupError> {
        let bad = |reason: &str| damaged(path, reason);
        let header: HeaderLine =
            serde_json::from_slice(opened.header()).map_err(|_| bad("its header cannot be read"))?;
        let mut lines: Vec<&[u8]> = opened.body().split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
        let totals = lines.pop().ok_or_else(|| bad("it has no totals"))?;
        let totals: Totals = serde_json::from_slice(totals).map_err(|_| bad("its totals cannot be read"))?;
        let chunks = lines
            .into_iter()
            .map(|line| serde_json::from_slice(line).map_err(|_| bad("a chunk line cannot be read")))
            .collect::<Result<Vec<ChunkRef>, _>>()?;
        let digests = chunks
            .iter()
            .map(|chunk| hex_digest(&chunk.digest).ok_or_else(|| bad("a digest cannot be read")))
            .collect::<Result<Vec<Digest>, _>>()?;
        let manifest = Self {
            department: header.place.department.parse().map_err(|_| bad("its department is not valid"))?,
            timeline: Timeline(header.place.timeline),
            sequence: Sequence(header.sequence),
            chain: hex_digest(&header.chain).map(Chain).ok_or_else(|| bad("its chain cannot be read"))?,
            cluster_time: ClusterTime { seconds: header.cluster_time.0, ordinal: header.cluster_time.1 },
            taken_at: header.taken_at.parse().map_err(|_| bad("its time is not valid"))?,
            epoch: Epoch(header.epoch),
            recipients: header.recipients,
            chunk_records: header.chunk_records,
            records: totals.records,
            bytes: totals.bytes + sealed_bytes,
            root: totals.root,
            chunks,
        };
        let expected = ObjectPath::snapshot(&manifest.department, manifest.timeline, manifest.sequence, path.hash());
        let sums = manifest.chunks.len() as u64 == totals.chunks
            && manifest.chunks.iter().map(|chunk| chunk.records).sum::<u64>() == manifest.records
            && hex::encode(repository.merkle_root(&digests)) == manifest.root
            && manifest.chunks.windows(2).all(|pair| pair[0].last < pair[1].first);
        if expected != *path || !sums {
            return Err(bad("its totals, order or place do not fit its chunks"));
        }
        Ok(manifest)
    }
}

pub(super) fn push_line(out: &mut Vec<u8>, line: &impl Serialize) -> Result<(), BackupError> {
    serde_json::to_writer(&mut *out, line).map_err(|error| BackupError::Keys(format!("cannot format: {error}")))?;
    out.push(b'\n');
    Ok(())
}

pub(super) fn hex_digest(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}
