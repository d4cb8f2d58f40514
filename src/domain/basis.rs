//! Decides what a backup is made of: a scan of the records, a new snapshot folded from the last, or the last as it is.
//!
//! Rule: whatever is less to read. A change costs more than a record, since each is compared with the chain.

use std::time::Duration;

use super::backup::{BackupContent, BackupKind};
use super::history::{Position, Timeline};

/// A department of up to so many records gets a snapshot of its own for each backup that somebody asked for.
const SMALL_RECORDS: u64 = 50_000;
/// Changes beyond this share of the records make replay long.
const CHANGES_SHARE: u64 = 4;
/// Changes over a longer time make replay long.
const CHANGES_SPAN: Duration = Duration::from_hours(1);

/// What a backup is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// A new snapshot, scanned from the live records.
    Scan,
    /// A new snapshot, folded from the last one and the journal.
    Fold,
    /// The last snapshot, with the journal after it.
    Journal,
}

/// What the backup at a position is made of, given the newest complete backup before it.
pub fn basis(kind: BackupKind, previous: Option<&BackupContent>, timeline: Timeline, position: &Position) -> Basis {
    let Some(previous) = previous.filter(|previous| previous.timeline == timeline) else { return Basis::Scan };
    let base = &previous.base;
    let changes = u64::try_from(position.sequence.0 - base.sequence.0).unwrap_or(0);
    let records = u64::try_from(position.balance).unwrap_or(0);
    if changes > SMALL_RECORDS && changes >= records {
        return Basis::Scan;
    }
    // It is read, and so shown to be whole, also where nothing has changed.
    if matches!(kind, BackupKind::OnDemand | BackupKind::BeforeRestore) && base.records <= SMALL_RECORDS {
        return Basis::Fold;
    }
    if changes == 0 {
        return Basis::Journal;
    }
    let span = position.time.as_millis() - base.taken_at.as_millis();
    let long = changes > base.records / CHANGES_SHARE || span > i64::try_from(CHANGES_SPAN.as_millis()).unwrap_or(0);
    if long { Basis::Fold } else { Basis::Journal }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::backup::Base;
    use crate::domain::clock::Timestamp;
    use crate::domain::history::{Chain, ClusterTime, Sequence};

    fn at(sequence: i64, minutes: i64) -> Position {
        Position {
            sequence: Sequence(sequence),
            chain: Chain::GENESIS,
            time: Timestamp::from_millis(minutes * 60_000),
            closed: false,
            cluster_time: ClusterTime { seconds: 1, ordinal: 1 },
            balance: 1_000_000,
            token: None,
        }
    }

    fn previous(records: u64) -> BackupContent {
        let base = Base {
            snapshot: String::new(),
            sequence: Sequence(10),
            taken_at: Timestamp::from_millis(0),
            records,
            bytes: 0,
            root: String::new(),
        };
        BackupContent {
            timeline: Timeline(1),
            sequence: Sequence(12),
            chain: Chain::GENESIS,
            taken_at: Timestamp::from_millis(0),
            cluster_time: ClusterTime { seconds: 1, ordinal: 1 },
            records,
            balance: 0,
            base,
            unchanged: false,
        }
    }

    #[test]
    fn without_a_backup_of_the_same_timeline_the_records_are_scanned() {
        assert_eq!(basis(BackupKind::Scheduled, None, Timeline(1), &at(10, 0)), Basis::Scan);
        assert_eq!(basis(BackupKind::Scheduled, Some(&previous(8)), Timeline(2), &at(10, 0)), Basis::Scan);
    }

    #[test]
    fn a_snapshot_is_folded_when_replay_would_get_long() {
        let of = |kind, sequence, minutes| basis(kind, Some(&previous(200_000)), Timeline(1), &at(sequence, minutes));
        assert_eq!(of(BackupKind::Scheduled, 10, 600), Basis::Journal, "nothing changed");
        assert_eq!(of(BackupKind::Scheduled, 50_010, 1), Basis::Journal);
        assert_eq!(of(BackupKind::Scheduled, 50_011, 1), Basis::Fold);
        assert_eq!(of(BackupKind::Scheduled, 1_000_009, 1), Basis::Fold, "no record is read");
        assert_eq!(of(BackupKind::Scheduled, 1_000_010, 1), Basis::Scan, "there are fewer records than changes");
        assert_eq!(of(BackupKind::Scheduled, 11, 61), Basis::Fold);
        assert_eq!(of(BackupKind::OnDemand, 11, 1), Basis::Journal, "its cost follows the changes");
        let filled = basis(BackupKind::OnDemand, Some(&previous(0)), Timeline(1), &at(1_000_010, 1));
        assert_eq!(filled, Basis::Scan, "also where a small department became a large one");
    }

    #[test]
    fn a_backup_of_a_small_department_that_somebody_asked_for_has_a_root() {
        let of = |kind| basis(kind, Some(&previous(5000)), Timeline(1), &at(11, 1));
        assert_eq!(of(BackupKind::OnDemand), Basis::Fold);
        assert_eq!(of(BackupKind::BeforeRestore), Basis::Fold);
        assert_eq!(of(BackupKind::Scheduled), Basis::Journal);
    }
}
