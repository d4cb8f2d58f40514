//! The journal on the targets: writing segments, and bringing a target what it lacks of them.

use std::ops::RangeInclusive;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::domain::backup::BackupContent;
use crate::domain::cause::Cause;
use crate::domain::history::{Sequence, Timeline};
use crate::domain::ids::{DepartmentName, TargetName};
use crate::targets::layout::ObjectPath;
use crate::targets::{Target, Targets};

use super::fanout::require_quorum;
use super::gather::gather;
use super::journal_read::{JournalPlace, JournalReader, Point};
use super::repair::place;
use super::segment::Segment;
use super::{BackupError, Repository, Snapshot};

/// Seals a segment on a thread for work.
///
/// # Errors
/// `Keys` when it cannot be sealed.
pub async fn seal(repository: &Repository, segment: Segment) -> Result<(ObjectPath, Bytes), BackupError> {
    let sealer = repository.clone();
    repository.busy(move || sealer.seal_segment(&segment)).await
}

/// Writes a segment at once to every target that is level; tells which hold it. Waits for the write quorum, and a short
/// grace for the others.
///
/// # Errors
/// `QuorumNotReached`.
pub async fn write(
    targets: &Targets,
    is_level: impl Fn(&Target) -> bool,
    path: &ObjectPath,
    sealed: &Bytes,
) -> Result<Vec<TargetName>, BackupError> {
    let mut puts = JoinSet::new();
    for (index, target) in targets.iter().enumerate() {
        let (target, path, sealed) = (target.clone(), path.clone(), sealed.clone());
        let level = is_level(&target);
        puts.spawn(async move {
            let put = if level {
                target.put(&path, sealed).await.map_err(Into::into)
            } else {
                Err(BackupError::Behind(target.name().to_string()))
            };
            (index, put)
        });
    }
    // Whatever is still on its way may arrive; it only counts once it is caught up.
    let answers = gather(puts, targets.len(), targets.quorum()).await;
    let mut failures: Vec<Option<Cause>> = answers.into_iter().map(Result::err).collect();
    for (target, failure) in targets.iter().zip(&mut failures) {
        // What was exchanged meanwhile took this and nothing before it.
        if failure.is_none() && !is_level(target) {
            *failure = Some(BackupError::Behind(target.name().to_string()).cause());
        }
    }
    require_quorum(targets, &failures)?;
    let took = targets.iter().zip(&failures).filter(|(_, failure)| failure.is_none());
    Ok(took.map(|(target, _)| target.name().clone()).collect())
}

/// Checks the journal between two points on each target alone; tells who holds it whole. Waits for the write quorum, and a
/// short grace for the others.
pub async fn verify(place: &JournalPlace, from: Point, to: Point) -> Vec<Result<(), Cause>> {
    let mut checks = JoinSet::new();
    for (index, target) in place.targets.iter().enumerate() {
        let alone = JournalPlace { targets: place.targets.only(target), ..place.clone() };
        checks.spawn(async move { (index, read_through(alone, from, to).await) });
    }
    gather(checks, place.targets.len(), place.targets.quorum()).await
}

/// Reads the journal between two points and checks every line of it.
///
/// # Errors
/// `Damaged` when it is not whole on these targets.
pub async fn read_through(place: JournalPlace, from: Point, to: Point) -> Result<(), BackupError> {
    let mut reader = JournalReader::open(place, from, to).await?;
    while reader.next().await?.is_some() {}
    Ok(())
}

/// The changes that a target lacks.
#[derive(Debug, Clone, Copy)]
pub struct Lacking {
    /// It holds every change up to and including this one.
    pub after: Sequence,
    /// What came up to this one may have holes that nobody can fill: retention dropped it, or a database was rebuilt from
    /// what was left. It is brought as far as it is there.
    pub begin: Sequence,
    /// Where the journal ends.
    pub through: Sequence,
}

/// Checks that the journal of a place leads from the snapshot of a backup to the backup.
///
/// # Errors
/// `Damaged` when it does not.
pub async fn verify_backup(place: JournalPlace, content: &BackupContent) -> Result<(), BackupError> {
    let path = ObjectPath::from_stored(content.base.snapshot.clone());
    let base = Snapshot::open(&place.repository, &place.targets, &path).await?;
    let to = Point::from(content);
    read_through(place, base.manifest().point(), to).await
}

/// Whether a target has a segment with a change, in any of the timelines.
///
/// # Errors
/// When the target fails.
pub async fn holds(
    target: &Target,
    department: &DepartmentName,
    timelines: RangeInclusive<i64>,
    change: Sequence,
) -> Result<bool, BackupError> {
    // Twice: what is merged while it is listed may be in neither name.
    for _ in 0..2 {
        for timeline in timelines.clone().rev().map(Timeline) {
            let names = target.list(&ObjectPath::journal_folder(department, timeline)).await?;
            let mut ranges = names.iter().filter_map(ObjectPath::segment_range);
            if ranges.any(|(first, last)| first <= change && change <= last) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Brings a target every segment that it lacks, from the others.
///
/// # Errors
/// `Damaged` when the others together do not have all after `begin`; the error of the target.
pub async fn catch_up(
    repository: &Repository,
    targets: &Targets,
    department: &DepartmentName,
    timelines: RangeInclusive<i64>,
    lacking: Lacking,
    target: &Target,
) -> Result<(), BackupError> {
    repository.admit(target).await?;
    let Lacking { after, begin, through } = lacking;
    if after == through {
        return Ok(());
    }
    let mut covered = after.max(begin);
    let last = Timeline(*timelines.end());
    for timeline in timelines.map(Timeline) {
        let folder = ObjectPath::journal_folder(department, timeline);
        for path in targets.list(&folder).await? {
            let Some((first, last)) = path.segment_range() else { continue };
            if last <= after || first > through {
                continue;
            }
            if let Err(error) = bring_segment(repository, targets, department, timeline, &path, target).await {
                if matches!(error, BackupError::Target(_)) {
                    return Err(error);
                }
                // Planted or damaged: another one may cover the same changes.
                tracing::debug!(path = %path, error = &error as &dyn std::error::Error, "a segment is passed over");
                continue;
            }
            if first.0 <= covered.0 + 1 {
                covered = covered.max(last);
            }
        }
    }
    if covered >= through {
        return Ok(());
    }
    Err(BackupError::Damaged {
        path: ObjectPath::journal_folder(department, last),
        reason: format!("no target has the changes {} to {}", covered.0 + 1, through.0),
    })
}

/// Brings one segment, after its seal and its chain have been checked; one that the target holds whole stays.
///
/// # Errors
/// When no target has it whole, or the target fails.
pub async fn bring_segment(
    repository: &Repository,
    targets: &Targets,
    department: &DepartmentName,
    timeline: Timeline,
    path: &ObjectPath,
    target: &Target,
) -> Result<(), BackupError> {
    let checked = |sealed: Bytes| repository.open_segment(department, timeline, path, &sealed).map(|_| sealed);
    if let Ok(sealed) = target.get(path).await
        && checked(sealed).is_ok()
    {
        return Ok(());
    }
    let sealed = targets.read(path, checked).await?;
    place(target, path, sealed).await
}
