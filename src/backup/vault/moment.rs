//! Finds a moment in the history that the targets have, and the state there.

use crate::domain::clock::Timestamp;
use crate::domain::history::{Sequence, Timeline};
use crate::domain::ids::BackupId;
use crate::domain::window::{Place, Stretch};
use crate::targets::layout::ObjectPath;

use super::super::BackupError;
use super::super::journal_read::{JournalPlace, Point};
use super::super::snapshot::Snapshot;
use super::super::state::State;
use super::catalogue::{Catalogue, TimelineVault};
use super::lineage::{Base, Node, Run};
use super::{Vault, VaultError};

/// Which state is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The newest that the targets have.
    Newest,
    /// With every change up to a moment.
    At(Timestamp),
    /// With every change up to a sequence.
    Sequence(Sequence),
    /// As of a backup.
    Backup(BackupId),
}

/// A point that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its timeline.
    pub timeline: Timeline,
    /// The point.
    pub point: Point,
    /// The time of its last change, or of the base there.
    pub time: Option<Timestamp>,
    /// The base that the state begins with.
    base: Base,
    /// Points on the way from the base to it.
    way: Vec<Point>,
}

impl Vault {
    /// Finds a state; none when the department has no history at all here, and so no records.
    ///
    /// # Errors
    /// `Outside` when the targets do not have it, with what they have.
    pub async fn find(&self, catalogue: &Catalogue, wanted: &Wanted) -> Result<Option<Found>, VaultError> {
        let Some((newest, tip)) = catalogue.newest() else {
            let bare = *wanted == Wanted::Newest && catalogue.damage.is_empty() && catalogue.sequence == Sequence(0);
            return if bare { Ok(None) } else { Err(nothing(catalogue)) };
        };
        match wanted {
            Wanted::Newest => found_at(newest, tip.point).map(Some).ok_or_else(|| nothing(catalogue)),
            Wanted::Backup(id) => of_backup(catalogue, id).map(Some),
            Wanted::Sequence(sequence) => self.at_sequence(catalogue, *sequence).await.map(Some),
            Wanted::At(at) => self.at_time(catalogue, *at).await.map(Some),
        }
    }

    /// The state at a point that was found.
    ///
    /// # Errors
    /// When its snapshot or the journal after it cannot be read and verified.
    pub async fn state(&self, catalogue: &Catalogue, found: &Found) -> Result<State, VaultError> {
        let place = JournalPlace::new(&self.repository, self.targets.clone(), &catalogue.department, found.timeline);
        let base = match &found.base.snapshot {
            Some(path) => Some((Snapshot::open(&self.repository, &self.targets, path).await?, found.base.point)),
            None => None,
        };
        Ok(State::along(place, base, found.point, &found.way).await?)
    }

    async fn at_sequence(&self, catalogue: &Catalogue, wanted: Sequence) -> Result<Found, VaultError> {
        for (timeline, run) in counting(catalogue).into_iter().rev() {
            let Some((from, to)) = timeline.lineage.span(run) else { continue };
            if wanted < from || wanted > to {
                continue;
            }
            let nodes = nodes(timeline, run);
            let after = nodes.partition_point(|node| node.point.sequence < wanted);
            let Some(node) = nodes.get(after) else { continue };
            if node.point.sequence == wanted {
                return found_at(timeline, node.point).ok_or_else(|| nothing(catalogue));
            }
            return self.inside(catalogue, timeline, node, |sequence, _| sequence <= wanted).await;
        }
        Err(outside(catalogue, &format!("sequence {}", wanted.0)))
    }

    async fn at_time(&self, catalogue: &Catalogue, at: Timestamp) -> Result<Found, VaultError> {
        let begun = counting(catalogue).into_iter().rev().find(|(timeline, run)| {
            let first = nodes(timeline, run).first().and_then(|node| node.time);
            first.is_some_and(|first| first <= at)
        });
        let refused = || outside(catalogue, &at.to_string());
        let (timeline, run) = begun.ok_or_else(refused)?;
        let nodes = nodes(timeline, run);
        let passed = nodes.partition_point(|node| node.time.is_none_or(|time| time <= at));
        let Some(last) = passed.checked_sub(1).and_then(|last| nodes.get(last)) else { return Err(refused()) };
        match nodes.get(passed) {
            Some(next) => self.inside(catalogue, timeline, next, |_, time| time <= at).await,
            None if last.until.is_some_and(|until| at <= until) => {
                found_at(timeline, last.point).ok_or_else(|| nothing(catalogue))
            }
            None => Err(refused()),
        }
    }

    /// The last point before a node, inside the segment that leads to it, that pleases.
    async fn inside(
        &self,
        catalogue: &Catalogue,
        timeline: &TimelineVault,
        next: &Node,
        pleases: impl Fn(Sequence, Timestamp) -> bool,
    ) -> Result<Found, VaultError> {
        let begin = timeline.lineage.before(&next.point).ok_or_else(|| nothing(catalogue))?;
        let (base, mut way) = timeline.lineage.way_to(&begin.point).ok_or_else(|| nothing(catalogue))?;
        let (begin, mut point, mut time) = (begin.point, begin.point, begin.time);
        let mut refused = None;
        for link in timeline.lineage.links_to(&next.point) {
            let (of, on) = (catalogue.department.clone(), timeline.timeline);
            let open = move |repository: &super::super::Repository, path: &ObjectPath, sealed: &[u8]| {
                repository.open_segment(&of, on, path, sealed)
            };
            match self.open_object(&link.path, open).await {
                Ok(opened) => {
                    for (change, chain) in &opened.changes {
                        if change.sequence > begin.sequence && pleases(change.sequence, change.time) {
                            point = Point { sequence: change.sequence, chain: *chain };
                            time = Some(change.time);
                        }
                    }
                    refused = None;
                    break;
                }
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            return Err(error.into());
        }
        if point != begin {
            way.push(point);
        }
        Ok(Found { timeline: timeline.timeline, point, time, base: base.clone(), way })
    }
}

fn found_at(timeline: &TimelineVault, point: Point) -> Option<Found> {
    let (base, way) = timeline.lineage.way_to(&point)?;
    let time = timeline.lineage.node(&point).and_then(|node| node.time);
    Some(Found { timeline: timeline.timeline, point, time, base: base.clone(), way })
}

fn of_backup(catalogue: &Catalogue, id: &BackupId) -> Result<Found, VaultError> {
    let unknown = || VaultError::Outside(format!("no word on a backup {id} of {} is here", catalogue.department));
    let listed = catalogue.backup(id).ok_or_else(unknown)?;
    if let Some(damage) = listed.missing.first() {
        let (object, reason) = (damage.object.clone(), damage.reason.clone());
        return Err(
            BackupError::Damaged { path: object, reason: format!("{reason}; another target may have it") }.into()
        );
    }
    let content = listed.word.backup.content.as_ref().filter(|_| listed.is_whole()).ok_or_else(|| {
        VaultError::Outside(format!("the backup {id} is {}: it holds nothing to read", listed.word.state))
    })?;
    let timeline = catalogue.of(content.timeline).ok_or_else(unknown)?;
    let point = Point::from(content);
    found_at(timeline, point).ok_or_else(unknown)
}

/// The runs that count, oldest first: none of a timeline above the newest point.
fn counting(catalogue: &Catalogue) -> Vec<(&TimelineVault, &Run)> {
    let newest = catalogue.newest().map_or(Timeline(0), |(timeline, _)| timeline.timeline);
    let timelines = catalogue.timelines.iter().filter(|timeline| timeline.timeline <= newest);
    timelines.flat_map(|timeline| timeline.lineage.runs.iter().map(move |run| (timeline, run))).collect()
}

fn nodes<'a>(timeline: &'a TimelineVault, run: &Run) -> Vec<&'a Node> {
    run.iter().filter_map(|at| timeline.lineage.nodes.get(*at)).collect()
}

impl Catalogue {
    /// Every stretch that counts, oldest first.
    pub fn stretches(&self) -> Vec<Stretch> {
        let stretch = |(timeline, run): (&TimelineVault, &Run)| {
            let nodes = nodes(timeline, run);
            let (first, last) = (nodes.first()?, nodes.last()?);
            let place = |node: &Node, time: Option<Timestamp>| {
                Some(Place { timeline: timeline.timeline, sequence: node.point.sequence, time: time? })
            };
            Some(Stretch { from: place(first, first.time)?, through: place(last, last.until)? })
        };
        counting(self).into_iter().filter_map(stretch).collect()
    }
}

fn outside(catalogue: &Catalogue, what: &str) -> VaultError {
    let place = |place: Place| format!("{} (sequence {})", place.time, place.sequence.0);
    let known: Vec<String> = catalogue
        .stretches()
        .iter()
        .map(|stretch| format!("{} to {}", place(stretch.from), place(stretch.through)))
        .collect();
    VaultError::Outside(format!(
        "the history of {} does not have {what} here; it can be read from {}",
        catalogue.department,
        known.join(", and from ")
    ))
}

fn nothing(catalogue: &Catalogue) -> VaultError {
    VaultError::Outside(format!(
        "nothing of {} can be read here: no snapshot is whole, and the journal does not begin with the first change; name \
         another target",
        catalogue.department
    ))
}
