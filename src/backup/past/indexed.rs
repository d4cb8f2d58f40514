//! Which users a segment changes, and where in it: read once, kept small, so that one user in the past costs one line.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::backup::chain::parse_place;
use crate::backup::seal::damaged;
use crate::backup::segment::SegmentLines;
use crate::backup::{BackupError, Repository};
use crate::domain::clock::Timestamp;
use crate::domain::history::{Chain, Sequence};
use crate::domain::ids::UserId;
use crate::targets::layout::ObjectPath;

/// A segment whose seal, numbers and chain have been checked. Its lines are not kept: the name of the object commits to them.
#[derive(Debug)]
pub(super) struct IndexedSegment {
    pub(super) path: ObjectPath,
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    pub(super) before: Chain,
    pub(super) after: Chain,
    /// Hash of the user of a change and index of the change, sorted.
    users: Box<[(u64, u32)]>,
    /// Where each change line begins.
    begins: Box<[u32]>,
    times: Box<[Timestamp]>,
    /// The chain before each `MARK_EVERY`th change, so that the chain anywhere takes few lines.
    marks: Box<[Chain]>,
}

/// Changes from one mark to the next.
const MARK_EVERY: usize = 64;

fn hash_of(id: &UserId) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

impl IndexedSegment {
    /// Reads every line for its number, time and user, and follows the chain over all of them.
    pub(super) fn of(repository: &Repository, path: &ObjectPath, lines: &SegmentLines) -> Result<Self, BackupError> {
        let begin = lines.body().as_ptr().addr();
        let (mut users, mut begins, mut times, mut marks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut chain, mut next) = (lines.before, lines.first.0);
        for (index, line) in (0_u32..).zip(lines.lines()) {
            let place = parse_place(line).map_err(|reason| damaged(path, &format!("a change line: {reason}")))?;
            let (sequence, time, id) = place;
            if sequence.0 != next {
                return Err(damaged(path, "its changes are not numbered on"));
            }
            if times.len().is_multiple_of(MARK_EVERY) {
                marks.push(chain);
            }
            chain = repository.chain_after(&chain, line);
            users.push((hash_of(&id), index));
            begins.push(u32::try_from(line.as_ptr().addr() - begin).unwrap_or(u32::MAX));
            times.push(time);
            next += 1;
        }
        if next != lines.last.0 + 1 || chain != lines.after {
            return Err(damaged(path, "its numbers or its chain do not fit its changes"));
        }
        users.sort_unstable();
        Ok(Self {
            path: path.clone(),
            first: lines.first,
            last: lines.last,
            before: lines.before,
            after: lines.after,
            users: users.into(),
            begins: begins.into(),
            times: times.into(),
            marks: marks.into(),
        })
    }

    /// Indexes of the changes of a user, in order; now and then of one whose hash is the same.
    pub(super) fn changes_of(&self, id: &UserId) -> impl DoubleEndedIterator<Item = u32> {
        let hash = hash_of(id);
        let from = self.users.partition_point(|(user, _)| *user < hash);
        self.users[from..]
            .iter()
            .take_while(move |(user, _)| *user == hash)
            .map(|(_, index)| *index)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Number of a change.
    pub(super) fn sequence(&self, index: u32) -> Sequence {
        Sequence(self.first.0 + i64::from(index))
    }

    /// Where the line of a change begins in the lines of the segment.
    pub(super) fn begin(&self, index: u32) -> usize {
        self.begins.get(index as usize).map_or(usize::MAX, |begin| *begin as usize)
    }

    /// The chain after so many of its changes, out of its lines.
    pub(super) fn chain_after(&self, repository: &Repository, lines: &SegmentLines, count: usize) -> Chain {
        let mark = (count / MARK_EVERY).min(self.marks.len().saturating_sub(1));
        let Some(chain) = self.marks.get(mark) else { return self.before };
        let begin = self.begins.get(mark * MARK_EVERY).map_or(usize::MAX, |begin| *begin as usize);
        let rest = lines.body().get(begin..).unwrap_or_default().split(|b| *b == b'\n');
        rest.take(count - mark * MARK_EVERY).fold(*chain, |chain, line| repository.chain_after(&chain, line))
    }

    /// The department's time at the last change.
    pub(super) fn through(&self) -> Option<Timestamp> {
        self.times.last().copied()
    }

    /// The last change up to a time, with its own time.
    pub(super) fn last_at(&self, at: Timestamp) -> Option<(Sequence, Timestamp)> {
        let count = self.times.partition_point(|time| *time <= at);
        let time = *self.times.get(count.checked_sub(1)?)?;
        Some((Sequence(self.first.0 + i64::try_from(count).ok()? - 1), time))
    }

    /// The department's time at a change.
    pub(super) fn time(&self, sequence: Sequence) -> Option<Timestamp> {
        usize::try_from(sequence.0 - self.first.0).ok().and_then(|index| self.times.get(index)).copied()
    }

    /// Bytes that it takes in memory, roughly.
    pub(super) fn weight(&self) -> u64 {
        const EACH: usize = 16 + 4 + 8;
        (256 + self.begins.len() * EACH + self.marks.len() * size_of::<Chain>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::chain::change_line;
    use crate::backup::segment::Segment;
    use crate::backup::testing::{golden_repository, user};
    use crate::domain::epoch::Epoch;
    use crate::domain::history::{Change, Source, Timeline};

    #[test]
    fn the_chain_anywhere_in_a_segment_is_the_one_over_all_its_lines_up_to_there() {
        let (repository, department) = (golden_repository(), "eng".parse().unwrap());
        let (mut lines, mut chains) = (Vec::new(), vec![Chain([3; 32])]);
        for n in 1..=130 {
            let change = Change::Put(user(u32::try_from(n).unwrap()));
            let line = change_line(Sequence(n), Timestamp::from_millis(n), &change);
            chains.push(repository.chain_after(chains.last().unwrap(), &line));
            lines.extend_from_slice(&line);
            lines.push(b'\n');
        }
        let segment = Segment {
            department,
            timeline: Timeline(1),
            first: Sequence(1),
            last: Sequence(130),
            before: chains[0],
            after: chains[130],
            through: Timestamp::from_millis(130),
            epoch: Epoch(1),
            source: Source { replica_set_id: "r".to_owned(), users_uuid: "u".to_owned() },
            lines,
        };
        let (path, sealed) = repository.seal_segment(&segment).unwrap();
        let lines = repository.open_segment_lines(&segment.department, Timeline(1), &path, &sealed).unwrap();
        let indexed = IndexedSegment::of(&repository, &path, &lines).unwrap();
        for (count, chain) in chains.iter().enumerate() {
            assert_eq!(indexed.chain_after(&repository, &lines, count), *chain, "after {count} changes");
        }
    }
}
