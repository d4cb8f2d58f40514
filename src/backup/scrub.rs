//! Checks the journal on one target, segment by segment, and repairs what another target has whole.
//!
//! Rules: every object is opened, also one that another covers; what no target has whole is named, and left where it is; a
//! hole is filled before it is told.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::history::{Chain, Sequence, Timeline};
use crate::targets::Target;
use crate::targets::layout::ObjectPath;

use super::journal::{Lacking, bring_segment, catch_up};
use super::journal_read::{JournalPlace, Point};
use super::segment::OpenedSegment;
use super::{BackupError, Repository};

/// Changes whose chain is remembered; what overlaps with earlier ones is not compared.
const RECENT_MAX: usize = 1024;

/// One step of a scrub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A segment is as it should be.
    Good,
    /// A segment was damaged or missing, and was brought from another target.
    Repaired(String),
    /// A segment is not believed, and no target has it whole.
    Refused(String),
    /// No target has the changes after this one, up to the next one that is there, if any.
    Missing {
        /// The last change that is whole.
        after: Sequence,
        /// The next change that is whole.
        until: Option<Sequence>,
    },
    /// The stretch has been checked to its end.
    Done,
}

/// A stretch of the journal that is being checked on one target.
#[derive(Debug)]
pub struct Scrub {
    place: JournalPlace,
    target: Arc<Target>,
    names: VecDeque<(Sequence, Sequence, ObjectPath)>,
    /// The chain at the last changes, for segments that overlap.
    recent: VecDeque<Point>,
    at: Point,
    through: Point,
    /// The hole that was filled last: one that is still there after that cannot be filled.
    filled: Option<Sequence>,
    /// The object that was brought last, likewise.
    brought: Option<ObjectPath>,
}

impl Scrub {
    /// Begins after `from`; ends at `through`. `place` names all targets, `target` the one that is checked.
    ///
    /// # Errors
    /// When the target cannot be listed.
    pub async fn open(
        place: JournalPlace,
        target: Arc<Target>,
        from: Point,
        through: Point,
    ) -> Result<Self, BackupError> {
        let (names, recent) = (VecDeque::new(), VecDeque::new());
        let mut scrub = Self { place, target, names, recent, at: from, through, filled: None, brought: None };
        scrub.list().await?;
        Ok(scrub)
    }

    fn repository(&self) -> &Repository {
        &self.place.repository
    }

    fn timeline(&self) -> Timeline {
        self.place.timeline
    }

    /// The segments of the rest of the stretch, in order.
    async fn list(&mut self) -> Result<(), BackupError> {
        let folder = ObjectPath::journal_folder(&self.place.department, self.timeline());
        let mut names: Vec<_> = self
            .target
            .list(&folder)
            .await?
            .into_iter()
            .filter_map(|path| path.segment_range().map(|(first, last)| (first, last, path)))
            .filter(|(first, last, _)| *last > self.at.sequence && *first <= self.through.sequence)
            .collect();
        names.sort_unstable();
        self.names = names.into();
        Ok(())
    }

    /// Checks the next segment.
    ///
    /// # Errors
    /// When the target fails; then nothing can be said of it now.
    pub async fn next(&mut self) -> Result<Step, BackupError> {
        let next = Sequence(self.at.sequence.0 + 1);
        let behind = self.at.sequence < self.through.sequence;
        match self.names.front() {
            None if !behind => Ok(Step::Done),
            None => self.fill().await,
            Some((first, ..)) if behind && *first > next => self.fill().await,
            Some(_) => {
                let Some((_, _, path)) = self.names.pop_front() else { return Ok(Step::Done) };
                self.check(path).await
            }
        }
    }

    async fn check(&mut self, path: ObjectPath) -> Result<Step, BackupError> {
        let sealed = match self.target.get(&path).await {
            // Merged or pruned since it was listed; a hole shows if it was not.
            Err(error) if error.is_not_found() => return Ok(Step::Good),
            outcome => outcome?,
        };
        let (repository, department) = (self.repository().clone(), self.place.department.clone());
        let (timeline, at) = (self.timeline(), path.clone());
        let open = move || repository.open_segment(&department, timeline, &at, &sealed);
        match self.repository().busy(open).await {
            Ok(segment) if self.goes_on(&segment) => Ok(Step::Good),
            Ok(_) => Ok(Step::Refused(format!("object `{path}` is of another history: its chain does not fit"))),
            Err(error @ (BackupError::Damaged { .. } | BackupError::WrongKey { .. })) => self.mend(path, &error).await,
            Err(error) => Err(error),
        }
    }

    /// Follows a segment; false when its chain is not the one of this history.
    fn goes_on(&mut self, segment: &OpenedSegment) -> bool {
        let mut before = segment.before;
        for (change, after) in &segment.changes {
            if change.sequence.0 == self.at.sequence.0 + 1 && self.at.sequence < self.through.sequence {
                if before != self.at.chain {
                    return false;
                }
                self.at = Point { sequence: change.sequence, chain: *after };
                self.recent.push_back(self.at);
                if self.recent.len() > RECENT_MAX {
                    self.recent.pop_front();
                }
            } else if self.known(change.sequence).is_some_and(|known| known != *after) {
                return false;
            }
            before = *after;
        }
        self.at.sequence < self.through.sequence || self.at == self.through
    }

    /// The chain at a change that was checked a while ago; their numbers have no hole but where the journal has.
    fn known(&self, sequence: Sequence) -> Option<Chain> {
        let at = self.recent.binary_search_by_key(&sequence, |known| known.sequence).ok()?;
        self.recent.get(at).map(|known| known.chain)
    }

    async fn mend(&mut self, path: ObjectPath, why: &BackupError) -> Result<Step, BackupError> {
        let place = &self.place;
        let bring =
            bring_segment(&place.repository, &place.targets, &place.department, place.timeline, &path, &self.target);
        if self.brought.as_ref() != Some(&path) && bring.await.is_ok() {
            let range = path.segment_range();
            self.brought = Some(path.clone());
            if let Some((first, last)) = range {
                self.names.push_front((first, last, path));
            }
            return Ok(Step::Repaired(why.to_string()));
        }
        Ok(Step::Refused(why.to_string()))
    }

    /// Brings the changes of a hole from the other targets, or tells of it and goes on behind it.
    async fn fill(&mut self) -> Result<Step, BackupError> {
        let after = self.at.sequence;
        if self.filled != Some(after) {
            self.filled = Some(after);
            let place = &self.place;
            let timelines = place.timeline.0..=place.timeline.0;
            let lacking = Lacking { after, begin: after, through: Sequence(after.0 + 1) };
            let (repository, targets) = (&place.repository, &place.targets);
            let brought = catch_up(repository, targets, &place.department, timelines, lacking, &self.target).await;
            if let Err(BackupError::Target(error)) = brought {
                return Err(error.into());
            }
            self.list().await?;
            let repaired = brought.is_ok().then(|| format!("the changes after {} were missing", after.0));
            return Ok(repaired.map_or(Step::Good, Step::Repaired));
        }
        // Behind the hole the next segment that can be opened says where its chain begins.
        while let Some((first, _, path)) = self.names.front().cloned() {
            if first > after {
                let open = |sealed: &[u8]| {
                    self.repository().open_segment(&self.place.department, self.timeline(), &path, sealed)
                };
                if let Ok(segment) = open(&self.target.get(&path).await?) {
                    self.at = Point { sequence: Sequence(first.0 - 1), chain: segment.before };
                    return Ok(Step::Missing { after, until: Some(first) });
                }
            }
            self.names.pop_front();
        }
        self.at = self.through;
        Ok(Step::Missing { after, until: None })
    }
}

#[cfg(test)]
#[path = "scrub_tests.rs"]
mod tests;
