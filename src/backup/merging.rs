//! Merges old, small segments of the journal into larger ones that say the same.
//!
//! Rules: what is merged was read along the chain between two complete backups, so it is this history and no other; the
//! merged segment is read back from the write quorum before anything is condemned for it; segments end where segments
//! ended before, so never inside a transaction.

use std::collections::BTreeMap;

use crate::domain::epoch::Epoch;
use crate::domain::history::{Head, Sequence};
use crate::targets::Target;
use crate::targets::layout::ObjectPath;

use super::BackupError;
use super::chain::change_line;
use super::fanout::require_quorum;
use super::journal;
use super::journal_read::{JournalPlace, JournalReader, Point};
use super::segment::Segment;

/// Fewer segments than this are not worth a merge.
pub const RUN_MIN: usize = 8;
/// A segment is small when its sealed bytes are less than this share of the most bytes of a segment.
const SMALL_SHARE: u64 = 8;
/// Sealed bytes that are merged at once, as a share of the most bytes of a segment: sealed lines are compressed.
const RUN_SHARE: u64 = 2;

/// Small segments that follow one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallRun {
    /// The first change of the first.
    pub first: Sequence,
    /// The last change of the last.
    pub last: Sequence,
    /// How many there are.
    pub count: usize,
}

/// The oldest run of small segments, all up to a sequence, that is worth a merge. `segments` are paths and sealed bytes.
pub fn next_run(segments: &BTreeMap<ObjectPath, u64>, through: Sequence, segment_bytes: usize) -> Option<SmallRun> {
    let most = u64::try_from(segment_bytes).unwrap_or(u64::MAX);
    let mut small: Vec<(Sequence, Sequence, u64)> = segments
        .iter()
        .filter(|(_, bytes)| **bytes < most / SMALL_SHARE)
        .filter_map(|(path, bytes)| path.segment_range().map(|(first, last)| (first, last, *bytes)))
        .filter(|(_, last, _)| *last <= through)
        .collect();
    small.sort_unstable();
    let mut run: Option<(SmallRun, u64)> = None;
    for (first, last, bytes) in small {
        match &mut run {
            Some((run, sum)) if first.0 <= run.last.0 + 1 && *sum + bytes <= most / RUN_SHARE => {
                run.last = run.last.max(last);
                run.count += 1;
                *sum += bytes;
            }
            Some((run, _)) if run.count >= RUN_MIN => break,
            _ => run = Some((SmallRun { first, last, count: 1 }, bytes)),
        }
    }
    run.map(|(run, _)| run).filter(|run| run.count >= RUN_MIN)
}

/// Reads the changes of a run along the chain from one known point to another and makes one segment of them, as many as
/// fit. None where the segments on the targets do not end with the run.
///
/// # Errors
/// When the journal between the points cannot be read and verified.
pub async fn merged(
    place: &JournalPlace,
    (from, to): (Point, Point),
    run: &SmallRun,
    (head, epoch): (&Head, Epoch),
    segment_bytes: usize,
) -> Result<Option<Segment>, BackupError> {
    let mut reader = JournalReader::open(place.clone(), from, to).await?;
    let mut at = from;
    let mut segment: Option<Segment> = None;
    let mut full = false;
    while let Some(changes) = reader.next().await? {
        let (begin, end) = (at, reader.at());
        at = end;
        let inside = begin.sequence.0 + 1 >= run.first.0 && end.sequence <= run.last;
        if !inside || full {
            continue;
        }
        let mut lines = Vec::new();
        let mut chain = begin.chain;
        for numbered in &changes {
            let line = change_line(numbered.sequence, numbered.time, &numbered.change);
            chain = place.repository.chain_after(&chain, &line);
            lines.extend_from_slice(&line);
            lines.push(b'\n');
        }
        let Some(through) = changes.last().map(|last| last.time).filter(|_| chain == end.chain) else {
            return Ok(None);
        };
        match &mut segment {
            None => {
                segment = Some(Segment {
                    department: place.department.clone(),
                    timeline: place.timeline,
                    first: Sequence(begin.sequence.0 + 1),
                    last: end.sequence,
                    before: begin.chain,
                    after: end.chain,
                    through,
                    epoch,
                    source: head.source.clone(),
                    lines,
                });
            }
            Some(segment) if segment.last == begin.sequence && segment.lines.len() + lines.len() <= segment_bytes => {
                segment.lines.extend_from_slice(&lines);
                (segment.last, segment.after, segment.through) = (end.sequence, end.chain, through);
            }
            Some(_) => full = true,
        }
    }
    Ok(segment)
}

/// Writes a merged segment to every target that holds the journal through it, and reads it back from them.
///
/// # Errors
/// `QuorumNotReached` when fewer than W targets hold it whole.
pub async fn write(place: &JournalPlace, head: &Head, segment: Segment) -> Result<ObjectPath, BackupError> {
    let last = segment.last;
    let (path, sealed) = journal::seal(&place.repository, segment).await?;
    let level = |target: &Target| head.journal_through(target.name()).is_some_and(|through| through >= last);
    let took = journal::write(&place.targets, level, &path, &sealed).await?;
    let read_back = place.targets.iter().map(|target| {
        let (took, path) = (&took, &path);
        async move {
            if !took.contains(target.name()) {
                return Err(BackupError::Behind(target.name().to_string()));
            }
            let sealed = target.get(path).await?;
            place.repository.open_segment(&place.department, place.timeline, path, &sealed).map(drop)
        }
    });
    let answers = futures::future::join_all(read_back).await;
    let failures: Vec<_> = answers.into_iter().map(|answer| answer.err().map(|error| error.cause())).collect();
    require_quorum(&place.targets, &failures)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::history::Timeline;

    fn segments(list: &[(i64, i64, u64)]) -> BTreeMap<ObjectPath, u64> {
        let department = "eng".parse().unwrap();
        let path = |first, last| ObjectPath::segment(&department, Timeline(1), Sequence(first), Sequence(last), "ab");
        list.iter().map(|(first, last, bytes)| (path(*first, *last), *bytes)).collect()
    }

    fn run(list: &[(i64, i64, u64)], through: i64) -> Option<(i64, i64, usize)> {
        next_run(&segments(list), Sequence(through), 8000).map(|run| (run.first.0, run.last.0, run.count))
    }

    #[test]
    fn the_oldest_run_of_small_segments_is_merged_as_far_as_it_is_old() {
        let ones: Vec<_> = (1..=20).map(|n| (n, n, 10)).collect();
        assert_eq!(run(&ones, 12), Some((1, 12, 12)));
        assert_eq!(run(&ones, 7), None, "too few");
        let mut mixed = vec![(1, 5, 10), (6, 90, 5000)];
        mixed.extend((91..=100).map(|n| (n, n, 10)));
        assert_eq!(run(&mixed, 1000), Some((91, 100, 10)), "large ones stay");
    }

    #[test]
    fn a_run_is_no_longer_than_one_segment_and_has_no_hole() {
        let ones: Vec<_> = (1..=20).map(|n| (n, n, 400)).collect();
        assert_eq!(run(&ones, 100), Some((1, 10, 10)));
        let holed: Vec<_> = (1..=7).chain(9..=20).map(|n| (n, n, 10)).collect();
        assert_eq!(run(&holed, 100), Some((9, 20, 12)));
        let mut overlapping: Vec<_> = (1..=9).map(|n| (n, n, 10)).collect();
        overlapping.push((1, 9, 50));
        assert_eq!(run(&overlapping, 100), Some((1, 9, 10)), "what was merged before a crash is merged again");
    }
}
