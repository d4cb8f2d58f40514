//! Reads the journal: the changes between two points, in order, each checked against the chain.
//!
//! Rule: segments may overlap; whatever does not continue the chain is passed over, and a change that no segment gives is
//! an error, never a silent end.

use std::collections::{BTreeMap, HashSet};

use crate::domain::backup::BackupContent;
use crate::domain::history::{Chain, Position, Sequence, Timeline};
use crate::domain::ids::DepartmentName;
use crate::targets::Targets;
use crate::targets::layout::ObjectPath;

use super::chain::Numbered;
use super::listing::Listing;
use super::read_ahead::{AHEAD_MAX, ReadAhead};
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
    names: Listing,
    /// Segments that are of no use: no copy is good, or they are of another history.
    useless: HashSet<ObjectPath>,
    ahead: ReadAhead,
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
        let mut names = Listing::default();
        if from.sequence < through.sequence {
            let found = place.targets.list(&folder).await?;
            names = Listing::of(found.into_iter().filter(|path| is_in_range(path, from, through)));
        }
        let (useless, ahead, way) = (HashSet::new(), ReadAhead::default(), BTreeMap::new());
        Ok(Self { place, names, useless, ahead, at: from, through, way })
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
        for path in self.names.holding(Sequence(self.at.sequence.0 + 1)) {
            if self.useless.contains(&path) {
                continue;
            }
            let useful = |path: &ObjectPath| !self.useless.contains(path);
            let expected = self.names.ahead(self.at.sequence, self.through.sequence, AHEAD_MAX, useful);
            self.ahead.expect(&self.place, &expected);
            let segment = self.ahead.take(&self.place, &path).await;
            if let Some(changes) = segment.and_then(|segment| self.continued_by(segment)) {
                return Ok(Some(changes));
            }
            self.useless.insert(path);
        }
        Err(self.broken("no target has the next change"))
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

fn is_in_range(path: &ObjectPath, from: Point, through: Point) -> bool {
    path.segment_range().is_some_and(|(first, last)| last > from.sequence && first <= through.sequence)
}
