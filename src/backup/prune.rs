//! What nothing needs any more: finds objects on a target that no complete backup refers to and no kept history runs through.
//!
//! Rules: only what MongoDB lists as complete is needed, and whatever cannot be judged stays: a manifest that cannot be read,
//! a place past the head, a word of this repository on a backup that the catalogue does not know.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;

use crate::domain::history::{Head, Sequence, Timeline};
use crate::domain::ids::{BackupId, DepartmentName};
use crate::store::kept::Need;
use crate::targets::layout::ObjectPath;
use crate::targets::{Target, Targets};

use super::seal::{Header, Kind};
use super::{BackupError, Repository, Snapshot};

/// Name of a chunk: the hash of its sealed bytes.
type ChunkName = [u8; 32];

/// The chunks of manifests that were read before.
#[derive(Debug, Default)]
pub struct Manifests(HashMap<String, Arc<[ChunkName]>>);

/// Everything that the complete backups of a department and its kept history need.
#[derive(Debug, Default)]
pub struct Needed {
    snapshots: HashSet<String>,
    chunks: HashSet<ChunkName>,
    /// Changes of a timeline after the first and through the second sequence.
    ranges: Vec<(Timeline, Sequence, Sequence)>,
    /// The whole history from here on.
    begin: Option<(Timeline, Sequence)>,
    /// How far the history goes.
    end: Option<(Timeline, Sequence)>,
}

impl Needed {
    /// What these backups need, and the history from `begin` to the head; all of it where there is no beginning.
    ///
    /// # Errors
    /// When a manifest cannot be read and verified on any target: then nobody knows its chunks.
    pub async fn by(
        needs: &[Need],
        begin: Option<(Timeline, Sequence)>,
        head: &Head,
        (repository, targets): (&Repository, &Targets),
        known: &mut Manifests,
    ) -> Result<Self, BackupError> {
        let snapshots: HashSet<String> = needs.iter().map(|need| need.snapshot.clone()).collect();
        known.0.retain(|path, _| snapshots.contains(path));
        for path in &snapshots {
            if !known.0.contains_key(path) {
                let snapshot = Snapshot::open(repository, targets, &ObjectPath::from_stored(path.clone())).await?;
                let chunks = snapshot.manifest().chunks.iter().filter_map(|chunk| chunk_name(&chunk.object));
                known.0.insert(path.clone(), chunks.collect());
            }
        }
        let chunks = known.0.values().flat_map(|chunks| chunks.iter().copied()).collect();
        let ranges = needs.iter().map(|need| (need.timeline, need.base, need.through)).collect();
        Ok(Self { snapshots, chunks, ranges, begin, end: Some((head.timeline, head.position.sequence)) })
    }

    /// Whether an object of a timeline is needed, or cannot be judged. Words are judged elsewhere.
    pub fn needs(&self, timeline: Timeline, path: &ObjectPath) -> bool {
        match path.folder().rsplit('/').next() {
            Some("chunks") => chunk_name(path.hash()).is_some_and(|name| self.chunks.contains(&name)),
            Some("snapshots") => self.snapshots.contains(path.as_str()) || self.is_ahead(timeline, sequence_of(path)),
            Some("journal") => match path.segment_range() {
                Some((first, last)) => self.needs_changes(timeline, first, last),
                None => false,
            },
            _ => true,
        }
    }

    fn needs_changes(&self, timeline: Timeline, first: Sequence, last: Sequence) -> bool {
        let kept = self.begin.is_none_or(|begin| (timeline, last) > begin);
        let in_range = |(of, after, through): &(Timeline, Sequence, Sequence)| {
            *of == timeline && last > *after && first <= *through
        };
        kept || self.is_ahead(timeline, Some(last)) || self.ranges.iter().any(in_range)
    }

    /// A place that the history has not come to: the work of somebody else, or of a leader that has just died.
    fn is_ahead(&self, timeline: Timeline, sequence: Option<Sequence>) -> bool {
        sequence.is_some_and(|sequence| self.end.is_none_or(|end| (timeline, sequence) > end))
    }
}

fn chunk_name(text: &str) -> Option<ChunkName> {
    let mut name = [0; 32];
    hex::decode_to_slice(text, &mut name).ok()?;
    Some(name)
}

fn sequence_of(snapshot: &ObjectPath) -> Option<Sequence> {
    let name = snapshot.as_str().rsplit('/').next()?;
    name.split('-').next()?.parse().ok().map(Sequence)
}

/// The backup that a word is on, and the number of the word, by its path.
pub fn word_of(path: &ObjectPath) -> Option<(BackupId, u32)> {
    let mut parts = path.as_str().rsplit('/');
    let (name, id) = (parts.next()?, parts.next()?);
    Some((id.parse().ok()?, name.split('-').next()?.parse().ok()?))
}

#[derive(Deserialize)]
struct Line {
    n: u32,
    epoch: Option<i64>,
    state: String,
}

/// Whether words on a backup that the catalogue does not know say that it is complete: then the catalogue is not whole.
/// Words without a valid seal say nothing.
///
/// # Errors
/// When the target does not answer.
pub async fn says_complete(
    repository: &Repository,
    target: &Target,
    department: &DepartmentName,
    timeline: Timeline,
    words: &[ObjectPath],
) -> Result<bool, BackupError> {
    let place = Header::new(Kind::Backup, department, timeline);
    let mut newest: Option<((i64, u32), bool)> = None;
    for path in words {
        let sealed = match target.get(path).await {
            Ok(sealed) => sealed,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error.into()),
        };
        let Ok(opened) = repository.unseal(path, &sealed, &place) else { continue };
        let line = opened.body().split(|byte| *byte == b'\n').next().unwrap_or_default();
        let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
        let rank = (line.epoch.unwrap_or(0), line.n);
        if newest.as_ref().is_none_or(|(other, _)| rank > *other) {
            newest = Some((rank, line.state == "complete"));
        }
    }
    Ok(newest.is_some_and(|(_, complete)| complete))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(begin: Option<(i64, i64)>, ranges: &[(i64, i64, i64)]) -> Needed {
        Needed {
            begin: begin.map(|(timeline, sequence)| (Timeline(timeline), Sequence(sequence))),
            ranges: ranges
                .iter()
                .map(|(t, after, through)| (Timeline(*t), Sequence(*after), Sequence(*through)))
                .collect(),
            end: Some((Timeline(2), Sequence(100))),
            ..Needed::default()
        }
    }

    fn segment(timeline: i64, first: i64, last: i64) -> ObjectPath {
        ObjectPath::segment(
            &"eng".parse().unwrap(),
            Timeline(timeline),
            Sequence(first),
            Sequence(last),
            &"a".repeat(64),
        )
    }

    #[test]
    fn a_segment_is_needed_from_the_beginning_on_and_between_a_kept_snapshot_and_its_backup() {
        let needed = needed(Some((2, 50)), &[(1, 10, 20), (2, 30, 35)]);
        let table = [
            ((1, 1, 10), false),
            ((1, 1, 11), true),
            ((1, 20, 22), true),
            ((1, 21, 22), false),
            ((2, 21, 30), false),
            ((2, 35, 40), true),
            ((2, 36, 50), false),
            ((2, 50, 51), true),
            ((2, 90, 101), true),
            ((3, 1, 2), true),
        ];
        for ((timeline, first, last), expected) in table {
            let path = segment(timeline, first, last);
            assert_eq!(needed.needs(Timeline(timeline), &path), expected, "{path}");
        }
    }

    #[test]
    fn without_a_beginning_the_whole_journal_is_needed() {
        assert!(needed(None, &[]).needs(Timeline(1), &segment(1, 1, 2)));
        assert!(needed(Some((1, 9)), &[]).needs(Timeline(2), &segment(2, 10, 12)), "a later timeline");
    }

    #[test]
    fn a_name_that_nobody_wrote_is_not_needed_and_a_place_past_the_head_is_not_judged() {
        let needed = needed(Some((1, 0)), &[]);
        let at = |text: &str| ObjectPath::from_stored(format!("departments/eng/2/{text}"));
        assert!(!needed.needs(Timeline(2), &at("chunks/planted")));
        assert!(!needed.needs(Timeline(2), &at("snapshots/planted")));
        assert!(!needed.needs(Timeline(2), &at("journal/planted")));
        assert!(!needed.needs(Timeline(2), &at("snapshots/00000000000000000100-ab.snap")));
        assert!(needed.needs(Timeline(2), &at("snapshots/00000000000000000101-ab.snap")));
    }
}
