//! Reads segments ahead of whoever goes through the journal: several at the same time, given out as they are asked for.
//!
//! Rule: only what is expected next is read, and what is no longer expected is dropped, so that what is held stays bounded.

use std::collections::{HashMap, HashSet};

use tokio::task::{AbortHandle, JoinSet};

use crate::targets::layout::ObjectPath;

use super::journal_read::JournalPlace;
use super::segment::OpenedSegment;

/// Segments that are read at the same time.
pub(super) const AHEAD_MAX: usize = 12;
/// Changes in segments that are read ahead, beyond the next one: those of an hour of small segments, or of no more than one
/// that is merged.
pub(super) const CHANGES_AHEAD_MAX: i64 = 8192;

/// Segments that are read ahead of their reader.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    reads: JoinSet<(ObjectPath, Option<OpenedSegment>)>,
    under_way: HashMap<ObjectPath, AbortHandle>,
    ready: HashMap<ObjectPath, Option<OpenedSegment>>,
}

impl ReadAhead {
    /// Begins to read what is expected, and drops what is not.
    pub(super) fn expect(&mut self, place: &JournalPlace, expected: &[ObjectPath]) {
        let wanted: HashSet<&ObjectPath> = expected.iter().collect();
        self.ready.retain(|path, _| wanted.contains(path));
        self.under_way.retain(|path, read| {
            let keep = wanted.contains(path);
            if !keep {
                read.abort();
            }
            keep
        });
        for path in expected {
            if !self.ready.contains_key(path) && !self.under_way.contains_key(path) {
                let (place, at) = (place.clone(), path.clone());
                let read = self.reads.spawn(async move { (at.clone(), fetch(&place, &at).await) });
                self.under_way.insert(path.clone(), read);
            }
        }
    }

    /// A segment that no target needs to be asked for again, or that is read now; none when no copy is good.
    pub(super) async fn take(&mut self, place: &JournalPlace, path: &ObjectPath) -> Option<OpenedSegment> {
        while self.under_way.contains_key(path) {
            match self.reads.join_next().await {
                Some(Ok((at, segment))) => {
                    if self.under_way.remove(&at).is_some() {
                        self.ready.insert(at, segment);
                    }
                }
                // Dropped before, or broken off: read below.
                Some(Err(_)) => {}
                None => self.under_way.clear(),
            }
        }
        match self.ready.remove(path) {
            Some(segment) => segment,
            None => fetch(place, path).await,
        }
    }
}

/// The segment from the first target whose copy is good; opened on a blocking thread, for it takes a while.
async fn fetch(place: &JournalPlace, path: &ObjectPath) -> Option<OpenedSegment> {
    for target in place.targets.by_health() {
        let Ok(sealed) = target.get(path).await else { continue };
        let (of, path) = (place.clone(), path.clone());
        let open = move || of.repository.open_segment(&of.department, of.timeline, &path, &sealed);
        if let Ok(segment) = place.repository.busy(open).await {
            return Some(segment);
        }
    }
    None
}

#[cfg(test)]
#[path = "read_ahead_tests.rs"]
mod tests;
