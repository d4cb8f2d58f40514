//! Reads and verifies the objects of a department: words, manifests and segments. Chunks are looked at by name and size.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use crate::domain::clock::Timestamp;
use crate::domain::history::{Chain, Sequence, Timeline};
use crate::domain::ids::{BackupId, DepartmentName};
use crate::targets::layout::ObjectPath;

use super::super::journal_read::Point;
use super::super::segment::OpenedSegment;
use super::super::snapshot::open_manifest;
use super::super::word_read::{Word, backup_of};
use super::super::{BackupError, Repository};
use super::catalogue::Damage;
use super::lineage::{Base, Link, Station};
use super::{Vault, VaultError};

/// Objects that are read and opened at the same time.
const AT_ONCE: usize = 4;

/// A verified manifest, without its chunks.
#[derive(Debug, Clone)]
pub struct SnapshotSeen {
    /// What it is a base of.
    pub base: Base,
    /// Its object.
    pub path: ObjectPath,
    /// Its number of records.
    pub records: u64,
    /// The root over its records, in hexadecimal.
    pub root: String,
    /// Its chunks that are not there whole.
    pub missing: Vec<Damage>,
}

/// The names of the objects of one timeline, with the sizes that their copies have.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) words: BTreeSet<ObjectPath>,
    pub(super) snapshots: BTreeSet<ObjectPath>,
    pub(super) segments: BTreeSet<ObjectPath>,
    pub(super) chunks: BTreeMap<ObjectPath, BTreeSet<u64>>,
}

/// What was read of one timeline.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) words: Vec<(ObjectPath, Word)>,
    pub(super) snapshots: Vec<SnapshotSeen>,
    pub(super) links: Vec<Link>,
    pub(super) damage: Vec<Damage>,
}

impl Vault {
    /// The names of all objects of a department by timeline; what does not belong there is told apart.
    pub(super) async fn names(
        &self,
        department: &DepartmentName,
    ) -> Result<(BTreeMap<Timeline, Names>, Vec<Damage>), BackupError> {
        let folder = format!("departments/{department}");
        let mut timelines: BTreeMap<Timeline, Names> = BTreeMap::new();
        let mut strange = Vec::new();
        for (path, sizes) in self.targets.sizes(&folder).await? {
            let parts: Vec<&str> = path.as_str().split('/').collect();
            let known = match parts.as_slice() {
                [_, _, timeline, kind @ ("snapshots" | "journal" | "chunks"), _] => Some((*timeline, *kind)),
                [_, _, timeline, kind @ "backups", _, _] if backup_of(&path).is_some() => Some((*timeline, *kind)),
                _ => None,
            };
            let number = |text: &str| text.parse::<i64>().ok().filter(|n| *n > 0 && n.to_string() == text);
            let Some((timeline, kind)) = known.and_then(|(timeline, kind)| Some((number(timeline)?, kind))) else {
                strange.push(Damage::new(path.as_str(), "this is no object of rollkeeper; it is passed over"));
                continue;
            };
            let names = timelines.entry(Timeline(timeline)).or_default();
            match kind {
                "backups" => drop(names.words.insert(path)),
                "snapshots" => drop(names.snapshots.insert(path)),
                "journal" => drop(names.segments.insert(path)),
                _ => drop(names.chunks.insert(path, sizes)),
            }
        }
        Ok((timelines, strange))
    }

    /// Whether there is any word on a backup in a department; nothing is opened.
    ///
    /// # Errors
    /// When no target can be listed.
    pub async fn tells_of(&self, department: &DepartmentName, id: &BackupId) -> Result<bool, VaultError> {
        let (timelines, _) = self.names(department).await?;
        Ok(timelines.values().flat_map(|names| &names.words).any(|path| backup_of(path).as_ref() == Some(id)))
    }

    /// Reads everything of one timeline but its chunks.
    pub(super) async fn read_timeline(
        &self,
        department: &DepartmentName,
        timeline: Timeline,
        names: &Names,
    ) -> Result<Read, BackupError> {
        let mut read = Read::default();
        let of = department.clone();
        let open = move |repository: &Repository, path: &ObjectPath, sealed: &[u8]| {
            repository.open_word(&of, timeline, path, sealed)
        };
        for (path, outcome) in self.open_all(&names.words, open).await? {
            match outcome {
                Ok(word) => read.words.push((path, word)),
                Err(damage) => read.damage.push(damage),
            }
        }
        let chunks = Arc::new(names.chunks.clone());
        let open = move |repository: &Repository, path: &ObjectPath, sealed: &[u8]| {
            see_snapshot(repository, path, sealed, &chunks)
        };
        for (_, outcome) in self.open_all(&names.snapshots, open).await? {
            match outcome {
                Ok(seen) => read.snapshots.push(seen),
                Err(damage) => read.damage.push(damage),
            }
        }
        let marks = Arc::new(marks(names, &read));
        let of = department.clone();
        let open = move |repository: &Repository, path: &ObjectPath, sealed: &[u8]| {
            let opened = repository.open_segment(&of, timeline, path, sealed)?;
            Ok(link(path, &opened, &marks))
        };
        for (_, outcome) in self.open_all(&names.segments, open).await? {
            match outcome {
                Ok(link) => read.links.push(link),
                Err(damage) => read.damage.push(damage),
            }
        }
        Ok(read)
    }

    /// Reads objects, some at a time, and opens each; what is damaged on every target is told as such.
    async fn open_all<T: Send + 'static>(
        &self,
        paths: &BTreeSet<ObjectPath>,
        open: impl Fn(&Repository, &ObjectPath, &[u8]) -> Result<T, BackupError> + Clone + Send + 'static,
    ) -> Result<Vec<(ObjectPath, Result<T, Damage>)>, BackupError> {
        let opened = futures::stream::iter(paths.clone()).map(|path| {
            let open = open.clone();
            async move {
                match self.open_object(&path, open).await {
                    Ok(value) => Ok((path, Ok(value))),
                    Err(error @ (BackupError::Damaged { .. } | BackupError::WrongKey { .. })) => {
                        let damage = Damage::of(&path, &error);
                        Ok((path, Err(damage)))
                    }
                    Err(BackupError::Target(error)) if error.is_not_found() => {
                        let damage = Damage::new(path.as_str(), "it went while it was read");
                        Ok((path, Err(damage)))
                    }
                    Err(error) => Err(error),
                }
            }
        });
        opened.buffered(AT_ONCE).try_collect().await
    }

    /// Reads an object from the first target whose copy can be opened.
    pub(super) async fn open_object<T: Send + 'static>(
        &self,
        path: &ObjectPath,
        open: impl Fn(&Repository, &ObjectPath, &[u8]) -> Result<T, BackupError> + Clone + Send + 'static,
    ) -> Result<T, BackupError> {
        let mut refused = None;
        for target in self.targets.by_health() {
            let outcome = match target.get(path).await {
                Ok(sealed) => self.open_bytes(path, sealed, open.clone()).await,
                Err(error) => Err(error.into()),
            };
            match (outcome, &refused) {
                (Ok(value), _) => return Ok(value),
                // Damage says more than absence.
                (Err(BackupError::Target(_)), Some(_)) => {}
                (Err(error), _) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or(BackupError::Stopped))
    }

    async fn open_bytes<T: Send + 'static>(
        &self,
        path: &ObjectPath,
        sealed: Bytes,
        open: impl Fn(&Repository, &ObjectPath, &[u8]) -> Result<T, BackupError> + Send + 'static,
    ) -> Result<T, BackupError> {
        let (repository, path) = (self.repository.clone(), path.clone());
        self.repository.busy(move || open(&repository, &path, &sealed)).await
    }
}

fn see_snapshot(
    repository: &Repository,
    path: &ObjectPath,
    sealed: &[u8],
    chunks: &BTreeMap<ObjectPath, BTreeSet<u64>>,
) -> Result<SnapshotSeen, BackupError> {
    let manifest = open_manifest(repository, path, sealed)?;
    let missing = manifest.chunks.iter().filter_map(|chunk| {
        let at = manifest.chunk_path(chunk);
        match chunks.get(&at) {
            None => Some(Damage::new(at.as_str(), "it is missing")),
            Some(sizes) if !sizes.contains(&chunk.bytes) => Some(Damage::new(at.as_str(), "it has another size")),
            Some(_) => None,
        }
    });
    Ok(SnapshotSeen {
        missing: missing.collect(),
        base: Base {
            point: manifest.point(),
            time: manifest.taken_at,
            epoch: manifest.epoch,
            snapshot: Some(path.clone()),
        },
        path: path.clone(),
        records: manifest.records,
        root: manifest.root,
    })
}

/// Where segments must say how their chain stands: where one begins or ends, and where a snapshot or a backup is.
fn marks(names: &Names, read: &Read) -> BTreeSet<Sequence> {
    let ranges = names.segments.iter().filter_map(ObjectPath::segment_range);
    let mut marks: BTreeSet<Sequence> = ranges.flat_map(|(first, last)| [Sequence(first.0 - 1), last]).collect();
    marks.extend(read.snapshots.iter().map(|seen| seen.base.point.sequence));
    marks.extend(read.words.iter().filter_map(|(_, word)| word.backup.content.as_ref().map(|held| held.sequence)));
    marks
}

fn link(path: &ObjectPath, opened: &OpenedSegment, marks: &BTreeSet<Sequence>) -> Link {
    let first = opened.changes.first().map_or(Sequence(0), |(change, _)| change.sequence);
    let begin = Station { point: point(Sequence(first.0 - 1), opened.before), time: None };
    let inside = opened.changes.iter().filter(|(change, _)| marks.contains(&change.sequence));
    let station = |sequence, chain, time: Timestamp| Station { point: point(sequence, chain), time: Some(time) };
    let stations = inside.map(|(change, chain)| station(change.sequence, *chain, change.time));
    Link { path: path.clone(), epoch: opened.epoch, stations: std::iter::once(begin).chain(stations).collect() }
}

fn point(sequence: Sequence, chain: Chain) -> Point {
    Point { sequence, chain }
}
