//! The names of a department's segments, sorted so that the ones that hold a change are found without looking at all.

use crate::domain::history::Sequence;
use crate::targets::layout::ObjectPath;

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
    fn the_segments_that_hold_a_change_are_found_the_longest_first() {
        let listing = Listing::of([path(1, 3), path(4, 4), path(5, 9), path(1, 9), path(10, 12)]);
        assert_eq!(listing.holding(Sequence(4)), [path(1, 9), path(4, 4)]);
        assert_eq!(listing.holding(Sequence(10)), [path(10, 12)]);
        assert!(listing.holding(Sequence(13)).is_empty());
        assert!(Listing::default().holding(Sequence(1)).is_empty());
    }
}
