//! One department of a rebuild: its head, its backups and their copies, out of what the targets tell.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::backup::{Backup, BackupKind, BackupState};
use crate::domain::cause::Cause;
use crate::domain::clock::Timestamp;
use crate::domain::copies::{Copy, CopyState};
use crate::domain::epoch::{Epoch, Executor};
use crate::domain::history::{Gap, JournalCopy, Sequence, Timeline};
use crate::domain::ids::{ReplicaId, TargetName};
use crate::domain::window::Place;
use crate::store::rebuild::RebuiltHead;

use super::catalogue::{Catalogue, Listed, TimelineVault};
use super::moment::Found;

/// Who made a backup, where only its epoch is known.
const EXECUTOR: &str = "rebuilt";

/// One department as it will be rebuilt.
#[derive(Debug)]
pub struct Part {
    /// What the targets together tell of it.
    pub catalogue: Catalogue,
    /// The state that its users get; none for no users.
    pub found: Option<Found>,
    /// What each target alone tells of it; none for one that does not answer.
    pub(super) each: BTreeMap<TargetName, Option<Catalogue>>,
}

impl Part {
    /// The head: on a new timeline, above every epoch and every sequence that the targets show.
    pub(super) fn head(&self, users: u64, now: Timestamp) -> RebuiltHead {
        let catalogue = &self.catalogue;
        let point = |of: &Catalogue| of.newest().map(|(timeline, tip)| (timeline.timeline, tip.point));
        let last = point(catalogue);
        let gaps = catalogue.ends(last.map(|(timeline, _)| timeline), now);
        // Only a target that has all of it holds the journal; the others catch up.
        let holding = self.each.iter().filter(|(_, of)| of.as_ref().is_some_and(|of| point(of) == last));
        RebuiltHead {
            epoch: Epoch(catalogue.epoch.0 + 1),
            timeline: Timeline(catalogue.timeline.0 + 1),
            sequence: catalogue.sequence,
            chain: catalogue.chain(),
            time: gaps.iter().map(|gap| gap.time).max().unwrap_or(Timestamp::from_millis(0)),
            balance: i64::try_from(users).unwrap_or(i64::MAX),
            begin: catalogue.begin(),
            gaps,
            journal: holding
                .map(|(target, _)| JournalCopy { target: target.clone(), through: catalogue.sequence })
                .collect(),
        }
    }

    /// A backup as the catalogue lists it; one that was deleted is not listed, and one that is not whole only as failed.
    pub(super) fn backup(&self, listed: &Listed) -> Option<Backup> {
        let mut backup = listed.word.backup.clone();
        if !matches!(listed.word.state.as_str(), "complete" | "failed" | "cancelled" | "held") {
            return None;
        }
        backup.executed_by = executor(listed.word.epoch);
        backup.slot = slot(listed);
        backup.copies = self.each.iter().map(|(target, of)| copy(target, of.as_ref(), listed)).collect();
        if let Some(damage) = listed.missing.first() {
            backup.state = BackupState::Failed;
            let text = format!(
                "When the database was rebuilt, the targets did not have {}: {}.",
                damage.object, damage.reason
            );
            backup.cause = Some(Cause::new("objects_missing", text));
            backup.content = None;
        }
        Some(backup)
    }
}

/// The slot of a scheduled backup: the time in its id.
pub(super) fn slot(listed: &Listed) -> Option<Timestamp> {
    let backup = &listed.word.backup;
    let id = uuid::Uuid::parse_str(backup.id.as_str()).ok().filter(|_| backup.kind == BackupKind::Scheduled)?;
    i64::try_from(id.as_u128() >> 80).ok().map(Timestamp::from_millis)
}

fn executor(epoch: Epoch) -> Option<Executor> {
    let replica: ReplicaId = EXECUTOR.parse().ok()?;
    Some(Executor { replica, epoch })
}

/// What one target alone holds of a backup.
fn copy(target: &TargetName, of: Option<&Catalogue>, listed: &Listed) -> Copy {
    let own = of.and_then(|catalogue| catalogue.backup(&listed.word.backup.id));
    let whole = own.is_some_and(|own| own.is_whole() && own.path == listed.path);
    let (state, cause) = if whole {
        (CopyState::Present, None)
    } else {
        let text = "The target did not have all of it when the database was rebuilt; it is brought there.";
        (CopyState::Missing, Some(Cause::new("rebuilt_without", text)))
    };
    Copy { target: target.clone(), state, verified_at: None, cause }
}

impl Catalogue {
    /// Where each timeline ends, as gaps of the head.
    fn ends(&self, newest: Option<Timeline>, now: Timestamp) -> Vec<Gap> {
        let gap = |timeline: &TimelineVault| {
            let tip = timeline.lineage.tip()?;
            let cause = if newest == Some(timeline.timeline) { "database_rebuilt" } else { "timeline_ended" };
            let (after, time) = (tip.point.sequence, tip.until?);
            Some(Gap {
                timeline: timeline.timeline,
                after,
                goes_on_after: after,
                time,
                found_at: now,
                cause: cause.to_owned(),
            })
        };
        self.timelines.iter().filter_map(gap).collect()
    }

    /// The earliest place from which the journal has no hole inside a timeline: the empty beginning, or the first backup
    /// after the last such hole.
    fn begin(&self) -> Option<Place> {
        let stretches = self.stretches();
        let whole = |from: usize| {
            let timelines = stretches.iter().skip(from).map(|stretch| stretch.from.timeline);
            timelines.collect::<BTreeSet<_>>().len() == stretches.len() - from
        };
        let first = stretches.iter().enumerate().find(|(at, _)| whole(*at)).map(|(_, stretch)| *stretch)?;
        if first.from.sequence == Sequence(0) && first.from.timeline == Timeline(1) {
            return Some(first.from);
        }
        let held = self.backups.iter().filter(|backup| backup.is_whole());
        let places = held.filter_map(|backup| backup.word.backup.content.as_ref()).map(|content| Place {
            timeline: content.timeline,
            sequence: content.sequence,
            time: content.taken_at,
        });
        let inside = |place: &Place| {
            place.timeline == first.from.timeline
                && first.from.sequence <= place.sequence
                && place.sequence <= first.through.sequence
        };
        places.filter(inside).min_by_key(|place| place.sequence)
    }
}
