//! Carries out restores: safety backup, plan, then ranges of changes, each a fenced transaction with its checkpoint.
//!
//! Rules: whatever a dead leader has committed is in the restore's document; the next leader goes on from there. The
//! restores of a department go one after the other, in the order in which they were asked for, so that a plan sees what
//! the ones before it did.

use std::time::Duration;

use tracing::info;

use super::apply::Applier;
use super::elsewhere;
use super::halt::Halt;
use super::leader::{Leading, RETRY_AFTER};
use super::noted;
use super::schedule::fresh_backup_id;
use crate::backup::changes::Changes;
use crate::backup::plan::plan;
use crate::backup::sides::{Reads, Sides};
use crate::domain::backup::{Backup, BackupKind, BackupState};
use crate::domain::cause::Cause;
use crate::domain::ids::BackupId;
use crate::domain::restore::{Plan, Restore, RestoreSource, RestoreState};
use crate::store::StoreError;

/// How often open restores are looked at without a poke.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often a restore that is being planned is looked at for a wish to stop it.
const CANCEL_LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where a restore stands when its leader lets go of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rests {
    /// It has ended, or waits for somebody to apply it.
    Done,
    /// Its safety backup is under way; the ones after it wait as well.
    Waits,
}

/// Carries out restores until the leadership ends.
pub(super) async fn run(leading: Leading) {
    loop {
        // A range that was begun is not dropped when the lease ends: its fence decides whether it commits.
        let wait = match carry_out_all(&leading).await {
            Ok(()) => LOOK_EVERY,
            Err(Halt::Ended) => return leading.give_up(),
            Err(halt) => {
                leading.again("carry out restores", &halt);
                RETRY_AFTER
            }
        };
        if !leading.rest(&leading.pokes.restores, wait).await {
            return;
        }
    }
}

async fn carry_out_all(leading: &Leading) -> Result<(), Halt> {
    let mut waits = false;
    for restore in leading.parts.store.restores.open(&leading.leadership.department).await? {
        let idle = restore.state == RestoreState::Planned && !restore.apply;
        // Who waits for another one, or for somebody to apply it, can still be stopped.
        if (idle || waits) && !restore.cancel_requested {
            give_up_old_plan(leading, &restore).await?;
            continue;
        }
        let id = restore.id.clone();
        let (state, cause) = match Box::pin(carry_out(leading, &restore)).await {
            Ok(rests) => {
                waits |= rests == Rests::Waits;
                continue;
            }
            Err(Halt::Cancelled) => (RestoreState::Cancelled, None),
            Err(Halt::Failed(cause, _)) => (RestoreState::Failed, Some(cause)),
            Err(halt) => return Err(halt),
        };
        leading.check()?;
        info!(restore.id = %id, ?state, cause = cause.as_ref().map(|cause| &cause.code), "the restore ended early");
        let now = leading.parts.clock.now();
        leading.parts.store.restores.finish(&leading.leadership, &id, state, cause.as_ref(), now).await?;
        leading.count_restore(&restore, state, cause.as_ref());
    }
    Ok(())
}

/// Ends a restore whose plan nobody has applied for long, so that nothing is kept for it any more.
async fn give_up_old_plan(leading: &Leading, restore: &Restore) -> Result<(), Halt> {
    let lifetime = leading.parts.config.restore.plan_lifetime;
    let now = leading.parts.clock.now();
    if restore.expires_at(lifetime).is_none_or(|expires| now < expires) {
        return Ok(());
    }
    let message = format!(
        "Nobody applied the plan within {}, so it was given up, and nothing was changed. Ask for the restore again.",
        humantime::format_duration(lifetime)
    );
    leading.check()?;
    let restores = &leading.parts.store.restores;
    match restores.expire(&leading.leadership, &restore.id, &Cause::new("plan_expired", message), now).await {
        Ok(()) => info!(restore.id = %restore.id, "the plan was given up"),
        // Somebody has asked to apply it in the same moment.
        Err(StoreError::Stale) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Goes one or more states forward; returns when the restore has ended or waits.
async fn carry_out(leading: &Leading, restore: &Restore) -> Result<Rests, Halt> {
    leading.check()?;
    let store = &leading.parts.store;
    let mut restore = store.restores.take(&leading.leadership, &restore.id, leading.parts.clock.now()).await?;
    still_wanted(&restore)?;
    if !has_safety_backup(leading, &mut restore).await? {
        return Ok(Rests::Waits);
    }
    let sides = open(leading, &mut restore).await?;
    let mut made = None;
    if restore.state == RestoreState::Planning {
        let (plan, changes) =
            unless_cancelled(leading, &restore, Box::pin(make_plan(leading, &restore, &sides))).await??;
        made = Some(changes);
        leading.check()?;
        restore = store.restores.set_plan(&leading.leadership, &restore.id, &plan).await?;
        info!(restore.id = %restore.id, changes = plan.changes(), "the restore is planned");
        still_wanted(&restore)?;
    }
    if restore.state == RestoreState::Planned {
        if !restore.apply {
            return Ok(Rests::Done);
        }
        leading.check()?;
        restore = store.restores.start_applying(&leading.leadership, &restore.id).await?;
        still_wanted(&restore)?;
    }
    let changes = if let Some(changes) = made {
        changes
    } else {
        let comparing = Box::pin(Changes::again(sides));
        unless_cancelled(leading, &restore, comparing).await??
    };
    let applier = Applier { leading, restore: &restore, changes: &changes };
    Box::pin(applier.apply(restore.progress.clone())).await?;
    leading.check()?;
    let now = leading.parts.clock.now();
    store.restores.finish(&leading.leadership, &restore.id, RestoreState::Complete, None, now).await?;
    leading.count_restore(&restore, RestoreState::Complete, None);
    info!(restore.id = %restore.id, "the restore is complete");
    Ok(Rests::Done)
}

/// Opens the two sides of a restore. What its moment is, is looked up once.
async fn open(leading: &Leading, restore: &mut Restore) -> Result<Sides, Halt> {
    let parts = &leading.parts;
    let (repository, targets, past) = (&leading.repository, &parts.targets, &parts.past);
    let reads = Reads { store: &parts.store, repository, targets, past };
    if let (RestoreSource::Moment(department, moment), None) = (&restore.request.source, &restore.point) {
        let point = unless_cancelled(leading, restore, Box::pin(reads.locate(department, *moment))).await??;
        leading.check()?;
        *restore = parts.store.restores.set_point(&leading.leadership, &restore.id, &point).await?;
    }
    Ok(unless_cancelled(leading, restore, Box::pin(reads.sides(restore))).await??)
}

/// Makes the plan, and tells which changes it is made of.
async fn make_plan(leading: &Leading, restore: &Restore, sides: &Sides) -> Result<(Plan, Changes), Halt> {
    let parts = &leading.parts;
    let mut sides = sides.clone();
    let mut noted = 0;
    if restore.request.into.is_some() {
        noted = noted::keep(leading, restore, &sides).await?;
        let (repository, targets, past) = (&leading.repository, &parts.targets, &parts.past);
        let reads = Reads { store: &parts.store, repository, targets, past };
        sides.renumber = Some(reads.renumber(restore, noted));
    }
    let (mut plan, held) = plan(&sides, parts.clock.now()).await?;
    plan.noted = noted;
    let changes = Changes::new(sides, held);
    if restore.request.into.is_none() && plan.creates > 0 {
        plan.conflicts += elsewhere::count(leading, &changes).await?;
    }
    Ok((plan, changes))
}

fn still_wanted(restore: &Restore) -> Result<(), Halt> {
    if restore.cancel_requested { Err(Halt::Cancelled) } else { Ok(()) }
}

/// Does something long that writes nothing, and drops it when the leadership ends or somebody stops the restore.
pub(super) async fn unless_cancelled<T>(
    leading: &Leading,
    restore: &Restore,
    work: impl Future<Output = T>,
) -> Result<T, Halt> {
    let stopped = async {
        loop {
            tokio::time::sleep(CANCEL_LOOK_EVERY).await;
            // One that cannot be read now is looked at again.
            if let Ok(Some(now)) = leading.parts.store.restores.get(&restore.id).await
                && let Err(halt) = still_wanted(&now)
            {
                return halt;
            }
        }
    };
    tokio::select! {
        done = leading.unless_ended(work) => done,
        halt = stopped => Err(halt),
    }
}

/// Whether the backup before anything is changed has been taken: asked for once, then waited for.
async fn has_safety_backup(leading: &Leading, restore: &mut Restore) -> Result<bool, Halt> {
    let store = &leading.parts.store;
    let Some(id) = restore.safety_backup_id.clone() else {
        let id = fresh_backup_id();
        // The name first: a leader that dies in between leaves a name that the next one fills.
        store.restores.set_safety_backup(&leading.leadership, &restore.id, &id).await?;
        request_safety_backup(leading, restore, id).await?;
        return Ok(false);
    };
    let Some(backup) = store.backups.get(&id).await? else {
        request_safety_backup(leading, restore, id).await?;
        return Ok(false);
    };
    match backup.state {
        BackupState::Complete => Ok(true),
        BackupState::Failed | BackupState::Cancelled => {
            let why = backup.cause.map_or_else(String::new, |cause| cause.message);
            let message = format!("The safety backup {id} failed, so nothing was changed. {why}");
            Err(Halt::Failed(Cause::new("safety_backup_failed", message), Vec::new()))
        }
        _ => Ok(false),
    }
}

async fn request_safety_backup(leading: &Leading, restore: &Restore, id: BackupId) -> Result<(), Halt> {
    leading.check()?;
    let now = leading.parts.clock.now();
    let backup = Backup {
        requested_by: Some(restore.requested_by.clone()),
        restore_id: Some(restore.id.clone()),
        ..Backup::queued(id, restore.department.clone(), BackupKind::BeforeRestore, now)
    };
    leading.parts.store.backups.insert_fenced(&leading.leadership, &backup).await?;
    leading.pokes.backups.notify_one();
    Ok(())
}
