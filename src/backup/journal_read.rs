//! Reads the journal: the changes between two points, in order, each checked against the chain.
//!
//! Rule: segments may overlap; whatever does not continue the chain is passed over, and a change that no segment gives is
//! an error, never a silent end.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::backup::BackupContent;
use crate::domain::history::{Chain, Position, Sequence, Timeline};
use crate::domain::ids::DepartmentName;
use crate::targets::Targets;
use crate::targets::layout::ObjectPath;

use super::chain::Numbered;
use super::segment::OpenedSegment;
use super::{BackupError, Repository};

/// A point of a history: a sequence, and the chain there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Changes up to and including this one.
    pub sequence: Sequence,
    /// The chain at that sequence.
    pub chain: Chain,
}

impl Point {
    /// The empty beginning.
    pub const BEGINNING: Self = Self { sequence: Sequence(0), chain: Chain::GENESIS };
}

impl From<&BackupContent> for Point {
    fn from(content: &BackupContent) -> Self {
        Self { sequence: content.sequence, chain: content.chain }
    }
}

impl From<&Position> for Point {
    fn from(position: &Position) -> Self {
        Self { sequence: position.sequence, chain: position.chain }
    }
}

/// Where a journal lies.
#[derive(Debug, Clone)]
pub struct JournalPlace {
    /// The repository.
    pub repository: Repository,
    /// The targets.
    pub targets: Targets,
    /// The department.
    pub department: DepartmentName,
    /// The line of history.
    pub timeline: Timeline,
}

impl JournalPlace {
    /// The journal of a department on some targets.
    pub fn new(repository: &Repository, targets: Targets, department: &DepartmentName, timeline: Timeline) -> Self {
        Self { repository: repository.clone(), targets, department: department.clone(), timeline }
    }
}

/// Reads the changes between two points.
#[derive(Debug)]
pub struct JournalReader {
    place: JournalPlace,
    names: BTreeSet<(Sequence, Sequence, ObjectPath)>,
    at: Point,
    through: Point,
    way: BTreeMap<Sequence, Chain>,
}

impl JournalReader {
    /// Begins after `from`; ends at `through`.
    ///
    /// # Errors
    /// When no target can be listed.
    pub async fn open(place: JournalPlace, from: Point, through: Point) -> Result<Self, BackupError> {
        let folder = ObjectPath::journal_folder(&place.department, place.timeline);
        let mut names = BTreeSet::new();
        if from.sequence < through.sequence {
            let found = place.targets.list(&folder).await?;
            names.extend(found.into_iter().filter_map(|path| in_range(path, from, through)));
        }
        Ok(Self { place, names, at: from, through, way: BTreeMap::new() })
    }

    /// Reads by the history that passes these points, where several lie beside each other.
    #[must_use]
    pub fn along(mut self, way: &[Point]) -> Self {
        self.way.extend(way.iter().map(|point| (point.sequence, point.chain)));
        self
    }

    /// Where it has come to.
    pub fn at(&self) -> Point {
        self.at
    }

    /// The next changes, a segment of them at most; none at the end.
    ///
    /// # Errors
    /// `Damaged` when no target has the next change, or the chain does not lead to the end that was asked for.
    pub async fn next(&mut self) -> Result<Option<Vec<Numbered>>, BackupError> {
        if self.at.sequence >= self.through.sequence {
            return if self.at == self.through { Ok(None) } else { Err(self.broken("another chain leads there")) };
        }
        let next = Sequence(self.at.sequence.0 + 1);
        let mut candidates: Vec<_> =
            self.names.iter().filter(|(first, last, _)| *first <= next && next <= *last).cloned().collect();
        candidates.sort_by_key(|(_, last, _)| std::cmp::Reverse(*last));
        for (.., path) in candidates {
            let Some(segment) = self.read(&path).await else { continue };
            if let Some(changes) = self.continued_by(segment) {
                self.names.retain(|(_, last, _)| *last > self.at.sequence);
                return Ok(Some(changes));
            }
        }
        Err(self.broken("no target has the next change"))
    }

    /// The segment from the first target whose copy is good; opened on a blocking thread, for it takes a while.
    async fn read(&self, path: &ObjectPath) -> Option<OpenedSegment> {
        for target in self.place.targets.by_health() {
            let Ok(sealed) = target.get(path).await else { continue };
            let (place, path) = (self.place.clone(), path.clone());
            let open = move || place.repository.open_segment(&place.department, place.timeline, &path, &sealed);
            if let Ok(segment) = self.place.repository.busy(open).await {
                return Some(segment);
            }
        }
        None
    }

    /// The changes of a segment after this point, if it continues the chain; those up to the last point of the way, where
    /// it leaves that.
    fn continued_by(&mut self, segment: OpenedSegment) -> Option<Vec<Numbered>> {
        let (mut before, mut at) = (segment.before, self.at);
        let (mut taken, mut sure) = (Vec::new(), 0);
        for (change, after) in segment.changes {
            if change.sequence.0 == at.sequence.0 + 1 && change.sequence <= self.through.sequence {
                if before != at.chain {
                    break;
                }
                at = Point { sequence: change.sequence, chain: after };
                taken.push(change);
                match self.way.get(&at.sequence) {
                    Some(chain) if *chain == after => (sure, self.at) = (taken.len(), at),
                    Some(_) => {
                        taken.truncate(sure);
                        return (sure > 0).then_some(taken);
                    }
                    None => {}
                }
            }
            before = after;
        }
        self.at = at;
        (!taken.is_empty()).then_some(taken)
    }

    fn broken(&self, reason: &str) -> BackupError {
        let folder = ObjectPath::journal_folder(&self.place.department, self.place.timeline);
        let reason = format!("after sequence {}: {reason}", self.at.sequence.0);
        BackupError::Damaged { path: folder, reason }
    }
}

fn in_range(path: ObjectPath, from: Point, through: Point) -> Option<(Sequence, Sequence, ObjectPath)> {
    let (first, last) = path.segment_range()?;
    (last > from.sequence && first <= through.sequence).then_some((first, last, path))
}
