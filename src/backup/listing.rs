//! The names of a department's segments, sorted so that the ones that hold a change are found without looking at all.

use crate::domain::history::Sequence;
use crate::targets::layout::ObjectPath;

use super::read_ahead::CHANGES_AHEAD_MAX;

/// Names of segments.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// First and last change and the name, sorted.
    names: Vec<(Sequence, Sequence, ObjectPath)>,
    /// The highest last change of all names up to each.
    reach: Vec<Sequence>,
}

impl Listing {
    /// Sorts the names; what is no name of a segment is left out.
    pub(super) fn of(paths: impl IntoIterator<Item = ObjectPath>) -> Self {
        let segments = paths.into_iter().filter_map(|path| {
            let (first, last) = path.segment_range()?;
            Some((first, last, path))
        });
        let mut names: Vec<_> = segments.collect();
        names.sort();
        let mut highest = Sequence(0);
        let reach = names.iter().map(|(_, last, _)| {
            highest = highest.max(*last);
            highest
        });
        Self { reach: reach.collect(), names }
    }

    /// The segments that hold a change, the longest reaching one first.
    pub(super) fn holding(&self, change: Sequence) -> Vec<ObjectPath> {
        let end = self.names.partition_point(|(first, ..)| *first <= change);
        let mut found: Vec<_> = (0..end)
            .rev()
            .take_while(|at| self.reach[*at] >= change)
            .map(|at| &self.names[at])
            .filter(|(_, last, _)| *last >= change)
            .collect();
        found.sort_by_key(|(_, last, _)| std::cmp::Reverse(*last));
        found.into_iter().map(|(.., path)| path.clone()).collect()
    }

    /// The segments that are needed next after a change, as far as their names tell: the longest reaching ones that `pleases`,
    /// as many as may be read ahead.
    pub(super) fn ahead(
        &self,
        after: Sequence,
        through: Sequence,
        most: usize,
        pleases: impl Fn(&ObjectPath) -> bool,
    ) -> Vec<ObjectPath> {
        let (mut at, mut changes, mut ahead) = (after, 0, Vec::new());
        while at < through && ahead.len() < most {
            let next = self.holding(Sequence(at.0 + 1)).into_iter().find(|path| pleases(path));
            let Some((path, (_, last))) = next.and_then(|path| path.segment_range().map(|range| (path, range))) else {
                break;
            };
            // The first is needed now; the one after it is read meanwhile, however long it is.
            if ahead.len() > 1 && changes + last.0 - at.0 > CHANGES_AHEAD_MAX {
                break;
            }
            changes += if ahead.is_empty() { 0 } else { last.0 - at.0 };
            at = last;
            ahead.push(path);
        }
        ahead
    }

    /// Bytes that it takes in memory, roughly.
    pub(super) fn weight(&self) -> u64 {
        const EACH: usize = 224;
        (64 + self.names.len() * EACH) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::history::Timeline;

    fn path(first: i64, last: i64) -> ObjectPath {
        let department = "eng".parse().unwrap();
        ObjectPath::segment(&department, Timeline(1), Sequence(first), Sequence(last), "aa")
    }

    #[test]
    fn what_is_read_ahead_follows_the_longest_segments_and_stays_within_its_bounds() {
        let listing = Listing::of([path(1, 3), path(1, 9), path(4, 4), path(10, 12), path(13, 13), path(15, 16)]);
        let ahead = |after, through, most| listing.ahead(Sequence(after), Sequence(through), most, |_| true);
        assert_eq!(ahead(0, 99, 9), [path(1, 9), path(10, 12), path(13, 13)], "up to the hole");
        assert_eq!(ahead(0, 99, 2), [path(1, 9), path(10, 12)]);
        assert_eq!(ahead(0, 10, 9), [path(1, 9), path(10, 12)]);
        assert_eq!(ahead(9, 9, 9), [], "nothing is needed");
        let without = listing.ahead(Sequence(0), Sequence(99), 9, |at| *at != path(1, 9));
        assert_eq!(without, [path(1, 3), path(4, 4)]);
        let long = Listing::of([path(1, 9000), path(9001, 18_000), path(18_001, 18_001)]);
        let ahead = long.ahead(Sequence(0), Sequence(18_001), 9, |_| true);
        assert_eq!(ahead, [path(1, 9000), path(9001, 18_000)], "one long one");
    }

    #[test]
    fn the_segments_that_hold_a_change_are_found_the_longest_first() {
        let listing = Listing::of([path(1, 3), path(4, 4), path(5, 9), path(1, 9), path(10, 12)]);
        assert_eq!(listing.holding(Sequence(4)), [path(1, 9), path(4, 4)]);
        assert_eq!(listing.holding(Sequence(10)), [path(10, 12)]);
        assert!(listing.holding(Sequence(13)).is_empty());
        assert!(Listing::default().holding(Sequence(1)).is_empty());
    }
}
