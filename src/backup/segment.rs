//! A segment: a run of changes as one sealed object, hash-chained to the run before it.
//!
//! Rule: a segment is believed only when its MAC is right, its lines number on without a hole, and the chain over them
//! leads from the value before it to the value after it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::clock::Timestamp;
use crate::domain::epoch::Epoch;
use crate::domain::history::{Chain, Sequence, Source, Timeline};
use crate::domain::ids::DepartmentName;
use crate::targets::layout::ObjectPath;

use super::chain::{Numbered, parse_change};
use super::manifest::{hex_digest, push_line};
use super::seal::{Header, Kind, Opened, damaged};
use super::{BackupError, Repository};

/// A run of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The department.
    pub department: DepartmentName,
    /// Its line of history.
    pub timeline: Timeline,
    /// Number of its first change.
    pub first: Sequence,
    /// Number of its last change.
    pub last: Sequence,
    /// The chain before its first change.
    pub before: Chain,
    /// The chain after its last change.
    pub after: Chain,
    /// The department's time at its last change.
    pub through: Timestamp,
    /// The epoch of the leader that wrote it.
    pub epoch: Epoch,
    /// What the history comes from.
    pub source: Source,
    /// The change lines, each with its line end.
    pub lines: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct HeaderLine {
    #[serde(flatten)]
    place: Header,
    first: i64,
    last: i64,
    before: String,
    after: String,
    through: String,
    epoch: i64,
    replica_set_id: String,
    users_uuid: String,
}

/// A segment whose seal and chain have been checked, with its changes read.
#[derive(Debug, Clone)]
pub struct OpenedSegment {
    /// The chain before its first change.
    pub before: Chain,
    /// The epoch of the leader that wrote it.
    pub epoch: Epoch,
    /// What the history comes from.
    pub source: Source,
    /// Its changes, each with the chain after it.
    pub changes: Vec<(Numbered, Chain)>,
}

/// A segment whose seal and place have been checked, and whose lines have not.
#[derive(Debug)]
pub(super) struct SegmentLines {
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    pub(super) before: Chain,
    pub(super) after: Chain,
    epoch: Epoch,
    source: Source,
    opened: Opened,
}

impl SegmentLines {
    /// The change lines, without their line ends.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.body().split(|b| *b == b'\n').filter(|line| !line.is_empty())
    }

    /// The change lines as they lie in memory.
    pub(super) fn body(&self) -> &[u8] {
        self.opened.body()
    }
}

impl Repository {
    /// Seals a segment; gives its path and its bytes.
    ///
    /// # Errors
    /// `Keys` when it cannot be sealed.
    pub fn seal_segment(&self, segment: &Segment) -> Result<(ObjectPath, Bytes), BackupError> {
        let header = HeaderLine {
            place: Header::new(Kind::Segment, &segment.department, segment.timeline),
            first: segment.first.0,
            last: segment.last.0,
            before: segment.before.to_string(),
            after: segment.after.to_string(),
            through: segment.through.to_string(),
            epoch: segment.epoch.0,
            replica_set_id: segment.source.replica_set_id.clone(),
            users_uuid: segment.source.users_uuid.clone(),
        };
        let mut lines = Vec::with_capacity(segment.lines.len() + 512);
        push_line(&mut lines, &header)?;
        lines.extend_from_slice(&segment.lines);
        let sealed = self.seal(&ObjectPath::journal_folder(&segment.department, segment.timeline), &lines)?;
        let hash = blake3::hash(&sealed).to_hex();
        let path = ObjectPath::segment(&segment.department, segment.timeline, segment.first, segment.last, &hash);
        Ok((path, sealed))
    }

    /// Opens a segment and checks seal, place, numbers and chain.
    ///
    /// # Errors
    /// `Damaged` or `WrongKey`.
    pub fn open_segment(
        &self,
        department: &DepartmentName,
        timeline: Timeline,
        path: &ObjectPath,
        sealed: &[u8],
    ) -> Result<OpenedSegment, BackupError> {
        let opened = self.open_segment_lines(department, timeline, path, sealed)?;
        let mut chain = opened.before;
        let mut changes = Vec::new();
        for line in opened.lines() {
            chain = self.chain_after(&chain, line);
            let change = parse_change(line).map_err(|reason| damaged(path, &format!("a change line: {reason}")))?;
            changes.push((change, chain));
        }
        let numbered = (opened.first.0..).zip(&changes).all(|(n, (change, _))| change.sequence.0 == n);
        let ends = changes.last().is_some_and(|(change, _)| change.sequence == opened.last);
        if !numbered || !ends || chain != opened.after {
            return Err(damaged(path, "its numbers or its chain do not fit its changes"));
        }
        Ok(OpenedSegment { before: opened.before, epoch: opened.epoch, source: opened.source, changes })
    }

    /// Opens a segment and checks seal and place, and not yet what its lines say.
    ///
    /// # Errors
    /// `Damaged` or `WrongKey`.
    pub(super) fn open_segment_lines(
        &self,
        department: &DepartmentName,
        timeline: Timeline,
        path: &ObjectPath,
        sealed: &[u8],
    ) -> Result<SegmentLines, BackupError> {
        let bad = |reason: &str| damaged(path, reason);
        let opened = self.unseal(path, sealed, &Header::new(Kind::Segment, department, timeline))?;
        let header: HeaderLine =
            serde_json::from_slice(opened.header()).map_err(|_| bad("its header cannot be read"))?;
        let (first, last) = (Sequence(header.first), Sequence(header.last));
        if *path != ObjectPath::segment(department, timeline, first, last, path.hash()) {
            return Err(bad("its name is not the one of its changes"));
        }
        let chain = |text: &str| hex_digest(text).map(Chain).ok_or_else(|| bad("its chain cannot be read"));
        let (before, after) = (chain(&header.before)?, chain(&header.after)?);
        let source = Source { replica_set_id: header.replica_set_id, users_uuid: header.users_uuid };
        Ok(SegmentLines { first, last, before, after, epoch: Epoch(header.epoch), source, opened })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::chain::change_line;
    use crate::backup::testing::{golden_repository, user};
    use crate::domain::history::Change;

    fn segment(repository: &Repository, count: i64) -> Segment {
        let (mut lines, mut chain) = (Vec::new(), Chain::GENESIS);
        for n in 1..=count {
            let change = Change::Put(user(u32::try_from(n).unwrap()));
            let line = change_line(Sequence(n), Timestamp::from_millis(n), &change);
            chain = repository.chain_after(&chain, &line);
            lines.extend_from_slice(&line);
            lines.push(b'\n');
        }
        Segment {
            department: "eng".parse().unwrap(),
            timeline: Timeline(1),
            first: Sequence(1),
            last: Sequence(count),
            before: Chain::GENESIS,
            after: chain,
            through: Timestamp::from_millis(count),
            epoch: Epoch(3),
            source: Source { replica_set_id: "r".to_owned(), users_uuid: "u".to_owned() },
            lines,
        }
    }

    #[test]
    fn a_segment_gives_its_changes_back_with_the_chain_after_each() {
        let repository = golden_repository();
        let segment = segment(&repository, 5);
        let (path, sealed) = repository.seal_segment(&segment).unwrap();
        assert_eq!(path.segment_range(), Some((Sequence(1), Sequence(5))));
        let opened = repository.open_segment(&segment.department, segment.timeline, &path, &sealed).unwrap();
        assert_eq!(opened.before, Chain::GENESIS);
        assert_eq!(opened.changes.len(), 5);
        assert_eq!(opened.changes[4].1, segment.after);
        assert_eq!(opened.changes[2].0.change, Change::Put(user(3)));
    }

    #[test]
    fn a_segment_with_a_hole_a_wrong_chain_or_another_place_is_refused() {
        let repository = golden_repository();
        let whole = segment(&repository, 5);
        let refused = |segment: &Segment, department: &str| {
            let (path, sealed) = repository.seal_segment(segment).unwrap();
            let opened = repository.open_segment(&department.parse().unwrap(), Timeline(1), &path, &sealed);
            matches!(opened, Err(BackupError::Damaged { .. }))
        };
        assert!(!refused(&whole, "eng"));
        assert!(refused(&whole, "ops"), "another place");
        assert!(refused(&Segment { before: Chain([1; 32]), ..whole.clone() }, "eng"), "another chain before");
        assert!(refused(&Segment { last: Sequence(6), ..whole.clone() }, "eng"), "another end");
        let first_line = whole.lines.iter().position(|b| *b == b'\n').unwrap() + 1;
        let lines = whole.lines[first_line..].to_vec();
        assert!(refused(&Segment { lines, ..whole }, "eng"), "a line left out");
    }

    #[test]
    fn a_segment_of_somebody_without_the_secret_is_refused() {
        let repository = golden_repository();
        let (path, sealed) = repository.seal_segment(&segment(&repository, 1)).unwrap();
        let mut forged = sealed.to_vec();
        let end = forged.len() - 1;
        forged[end] ^= 1;
        let department = "eng".parse().unwrap();
        assert!(repository.open_segment(&department, Timeline(1), &path, &forged).is_err());
    }
}
