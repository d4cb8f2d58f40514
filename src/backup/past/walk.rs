//! Walks the journal from a known point on, segment by segment, along the chain.
//!
//! Rule: a segment that does not continue the chain is passed over; where none continues it, that is an error and never a
//! silent end.

use std::sync::Arc;

use bytes::Bytes;

use super::indexed::IndexedSegment;
use super::{Past, PastError};
use crate::backup::BackupError;
use crate::backup::journal_read::{JournalPlace, Point};
use crate::backup::listing::Listing;
use crate::backup::read_ahead::AHEAD_MAX;
use crate::backup::seal::damaged;
use crate::backup::segment::SegmentLines;
use crate::domain::clock::Timestamp;
use crate::domain::history::{Chain, Sequence};
use crate::domain::ids::DepartmentName;
use crate::targets::layout::ObjectPath;

/// A segment, and which of its changes count.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) segment: Arc<IndexedSegment>,
    /// The first change that no segment before it has.
    pub(super) from: Sequence,
}

/// How far a walk has read ahead.
struct Ahead {
    /// Segments to read at the same time: few at first, for a walk to a time may end soon.
    most: usize,
    /// Everything up to here.
    read: Sequence,
}

impl Past {
    /// The segments after a point up to a sequence, or up to the one that passes a time.
    pub(super) async fn runs(
        &self,
        place: &JournalPlace,
        from: Point,
        through: Sequence,
        until: Option<Timestamp>,
    ) -> Result<Vec<Run>, BackupError> {
        let (mut at, mut runs) = (from, Vec::new());
        let mut listing = None;
        let mut ahead = Ahead { most: 1, read: from.sequence };
        while at.sequence < through {
            let names = match &listing {
                Some(names) => Arc::clone(names),
                None => self.listing(place).await?,
            };
            self.read_ahead(place, &names, (at.sequence, through), &mut ahead).await;
            let next = match self.continues(place, &names, at).await? {
                Some(segment) => segment,
                // What was written or merged since the names were read.
                None if listing.is_none() => {
                    listing = Some(self.list_again(place).await?);
                    continue;
                }
                None => {
                    let reason = format!("after sequence {}: no target has the next change", at.sequence.0);
                    return Err(broken(place, reason));
                }
            };
            runs.push(Run { from: Sequence(at.sequence.0 + 1), segment: Arc::clone(&next) });
            at = Point { sequence: next.last, chain: next.after };
            if until.is_some_and(|until| next.through().is_some_and(|through| through > until)) {
                break;
            }
        }
        Ok(runs)
    }

    /// Indexes the next segments that are not known yet, all at the same time. What cannot be read is told when it is needed.
    async fn read_ahead(
        &self,
        place: &JournalPlace,
        names: &Listing,
        (at, through): (Sequence, Sequence),
        ahead: &mut Ahead,
    ) {
        if at < ahead.read {
            return;
        }
        let next = names.ahead(at, through, ahead.most, |_| true);
        ahead.read = next.iter().filter_map(ObjectPath::segment_range).map(|(_, last)| last).max().unwrap_or(at);
        let unknown: Vec<_> = next.iter().filter(|path| self.caches.segments.get(*path).is_none()).collect();
        if !unknown.is_empty() {
            ahead.most = (ahead.most * 2).min(AHEAD_MAX);
            futures::future::join_all(unknown.into_iter().map(|path| self.indexed(place, path))).await;
        }
    }

    /// The segment that reaches furthest and continues the chain at a point.
    async fn continues(
        &self,
        place: &JournalPlace,
        names: &Listing,
        at: Point,
    ) -> Result<Option<Arc<IndexedSegment>>, BackupError> {
        for path in names.holding(Sequence(at.sequence.0 + 1)) {
            match self.indexed(place, &path).await {
                Ok(segment) if self.chain_at(place, &segment, at.sequence).await? == at.chain => {
                    return Ok(Some(segment));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(path = %path, error = &error as &dyn std::error::Error, "a segment is passed over");
                }
            }
        }
        Ok(None)
    }

    /// The chain at a sequence of a segment, or just before its first.
    pub(super) async fn chain_at(
        &self,
        place: &JournalPlace,
        segment: &Arc<IndexedSegment>,
        sequence: Sequence,
    ) -> Result<Chain, BackupError> {
        if sequence == segment.last {
            return Ok(segment.after);
        }
        let Ok(count) = usize::try_from(sequence.0 - segment.first.0 + 1) else { return Ok(segment.before) };
        if count == 0 {
            return Ok(segment.before);
        }
        // The same points come again and again: every read of a snapshot begins at its own.
        let key = (segment.path.clone(), sequence);
        let chaining = async {
            let lines = self.lines(place, &segment.path).await?;
            Ok::<_, BackupError>(segment.chain_after(&place.repository, &lines, count))
        };
        self.caches.chains.get_or_insert_async(&key, chaining).await
    }

    async fn indexed(&self, place: &JournalPlace, path: &ObjectPath) -> Result<Arc<IndexedSegment>, BackupError> {
        let indexing = async {
            // Not kept: whoever walks over thousands of segments needs the lines of few.
            let lines = self.read(place, path).await?;
            let (repository, path) = (place.repository.clone(), path.clone());
            place.repository.busy(move || IndexedSegment::of(&repository, &path, &lines).map(Arc::new)).await
        };
        self.caches.segments.get_or_insert_async(path, indexing).await
    }

    /// The lines of a segment; its name commits to them, so what was checked once is what comes again.
    pub(super) async fn lines(
        &self,
        place: &JournalPlace,
        path: &ObjectPath,
    ) -> Result<Arc<SegmentLines>, BackupError> {
        self.caches.lines.get_or_insert_async(path, self.read(place, path)).await
    }

    async fn read(&self, place: &JournalPlace, path: &ObjectPath) -> Result<Arc<SegmentLines>, BackupError> {
        let mut refused = None;
        for target in place.targets.by_health() {
            match read_lines(place, target.get(path).await, path).await {
                Ok(lines) => return Ok(Arc::new(lines)),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| damaged(path, "there is no target")))
    }

    /// Does it once more with fresh names when it fails: segments that were known may have been merged and deleted since.
    pub(super) async fn with_fresh_names<T, F>(
        &self,
        department: &DepartmentName,
        work: impl Fn() -> F,
    ) -> Result<T, PastError>
    where
        F: Future<Output = Result<T, PastError>>,
    {
        match work().await {
            Err(PastError::Backup(BackupError::Target(_) | BackupError::Damaged { .. })) => {
                self.caches.listings.retain(|(of, _), _| of != department);
                work().await
            }
            outcome => outcome,
        }
    }

    async fn listing(&self, place: &JournalPlace) -> Result<Arc<Listing>, BackupError> {
        let key = (place.department.clone(), place.timeline);
        match self.caches.listings.get(&key) {
            Some(listing) => Ok(listing),
            None => self.list_again(place).await,
        }
    }

    async fn list_again(&self, place: &JournalPlace) -> Result<Arc<Listing>, BackupError> {
        let folder = ObjectPath::journal_folder(&place.department, place.timeline);
        let listing = Arc::new(Listing::of(place.targets.list(&folder).await?));
        self.caches.listings.insert((place.department.clone(), place.timeline), Arc::clone(&listing));
        Ok(listing)
    }
}

async fn read_lines(
    place: &JournalPlace,
    sealed: Result<Bytes, crate::targets::TargetError>,
    path: &ObjectPath,
) -> Result<SegmentLines, BackupError> {
    let sealed = sealed?;
    let (of, path) = (place.clone(), path.clone());
    let opening = move || of.repository.open_segment_lines(&of.department, of.timeline, &path, &sealed);
    place.repository.busy(opening).await
}

pub(super) fn broken(place: &JournalPlace, reason: String) -> BackupError {
    BackupError::Damaged { path: ObjectPath::journal_folder(&place.department, place.timeline), reason }
}
