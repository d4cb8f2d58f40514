//! Keeps the schedule of a department: records one backup for each slot, exactly once over all leaders.
//!
//! Rule: a slot that cannot be taken (nobody led, or the backup before it is still under way) is counted as missed.

use std::time::Duration;

use tracing::info;
use uuid::Uuid;

use super::halt::Halt;
use super::leader::{Leading, RETRY_AFTER};
use crate::domain::backup::{Backup, BackupKind};
use crate::domain::clock::Timestamp;
use crate::domain::department::DepartmentState;
use crate::domain::ids::{BackupId, DepartmentName};

/// Longest sleep, so that a changed clock or a missed poke is noticed.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_mins(1);
/// How soon a backup that bridges a gap is looked for, and asked for again when it failed.
const BRIDGE_AGAIN: Duration = Duration::from_secs(10);

/// Keeps the schedule until the leadership ends.
pub(super) async fn run(leading: Leading) {
    loop {
        let wait = match keep(&leading).await {
            Ok(wait) => wait.min(LOOK_AT_LEAST_EVERY),
            Err(Halt::Ended) => return leading.give_up(),
            Err(halt) => {
                leading.again("keep the schedule", &halt);
                RETRY_AFTER
            }
        };
        if !leading.rest(&leading.pokes.schedule, wait).await {
            return;
        }
    }
}

/// Takes the present slot unless it is taken; tells how long it is until the next one.
async fn keep(leading: &Leading) -> Result<Duration, Halt> {
    leading.check()?;
    let store = &leading.parts.store;
    let name = &leading.leadership.department;
    let Some(department) = store.departments.get(name).await? else { return Ok(LOOK_AT_LEAST_EVERY) };
    if department.state == DepartmentState::Deleted {
        return Ok(LOOK_AT_LEAST_EVERY);
    }
    let bridged = bridge_gap(leading).await?;
    let now = leading.parts.clock.now();
    let slot = department.policy.slot_at(now);
    let last = department.schedule.last_slot;
    if last.is_none_or(|last| slot > last) {
        let busy = store.backups.open(name).await?.iter().any(|backup| backup.kind == BackupKind::Scheduled);
        let skipped = last.map_or(0, |last| department.policy.slots_missed(last, department.updated_at, slot));
        let backup = (!busy).then(|| queued(name, slot, now));
        let missed = skipped + u64::from(busy);
        store.departments.take_slot(&leading.leadership, last, slot, missed, backup.as_ref()).await?;
        leading.pokes.backups.notify_one();
    }
    let next = slot.as_millis() + i64::try_from(department.policy.backup_every.as_millis()).unwrap_or(i64::MAX);
    let wait = Duration::from_millis(u64::try_from(next - leading.parts.clock.now().as_millis()).unwrap_or(0));
    Ok(if bridged { wait } else { wait.min(BRIDGE_AGAIN) })
}

/// After a gap nothing can be restored until there is a backup again: asks for one at once, and again until the new timeline
/// has one that is complete. Only the leader does so, and one of before has committed or never does, so there is one at
/// a time. Tells whether there is one.
async fn bridge_gap(leading: &Leading) -> Result<bool, Halt> {
    let (timeline, gap) = {
        let head = leading.head.lock().await;
        (head.timeline, !head.gaps.is_empty() && head.source.has_users())
    };
    if !gap {
        return Ok(true);
    }
    let (store, name) = (&leading.parts.store, &leading.leadership.department);
    let newest = store.backups.newest_complete(name).await?.and_then(|backup| backup.content);
    if newest.is_some_and(|content| content.timeline >= timeline) {
        return Ok(true);
    }
    if !store.backups.open(name).await?.is_empty() {
        return Ok(false);
    }
    let backup = Backup::queued(fresh_backup_id(), name.clone(), BackupKind::Scheduled, leading.parts.clock.now());
    leading.check()?;
    store.backups.insert_fenced(&leading.leadership, &backup).await?;
    info!(backup.id = %backup.id, "asked for a backup after a gap");
    leading.pokes.backups.notify_one();
    Ok(false)
}

fn queued(department: &DepartmentName, slot: Timestamp, now: Timestamp) -> Backup {
    let wish = Backup::queued(slot_backup_id(department, slot), department.clone(), BackupKind::Scheduled, now);
    Backup { slot: Some(slot), ..wish }
}

/// The id of a slot's backup: a UUIDv7 of the slot's time whose other bits come from department and slot, so that two
/// leaders can never record the same slot twice.
fn slot_backup_id(department: &DepartmentName, slot: Timestamp) -> BackupId {
    let mut hasher = blake3::Hasher::new_derive_key("rollkeeper 2026 slot backup id");
    hasher.update(department.as_str().as_bytes());
    hasher.update(&slot.as_millis().to_le_bytes());
    let mut bits = [0; 10];
    bits.copy_from_slice(&hasher.finalize().as_bytes()[..10]);
    let millis = u64::try_from(slot.as_millis()).unwrap_or(0);
    BackupId::from(uuid::Builder::from_unix_timestamp_millis(millis, &bits).into_uuid())
}

/// A fresh UUIDv7 for a backup that a leader asks for itself.
pub(super) fn fresh_backup_id() -> BackupId {
    BackupId::from(Uuid::now_v7())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_one_id_and_two_slots_have_two() {
        let department: DepartmentName = "eng".parse().unwrap();
        let at = |ms| slot_backup_id(&department, Timestamp::from_millis(ms));
        assert_eq!(at(1_795_512_340_000), at(1_795_512_340_000));
        assert_ne!(at(1_795_512_340_000), at(1_795_512_350_000));
        assert!(at(1_795_512_340_000).as_str().parse::<BackupId>().is_ok());
    }
}
