//! Prunes: drops the backups that retention no longer keeps, then condemns the objects that nothing needs any more.
//!
//! Rules: the beginning of the history moves before anything of it goes; an object is condemned only after it was seen on
//! a target while no backup was being made, so that it belongs to none; whatever cannot be judged stays. Nothing waits for
//! this: backups go on meanwhile, and one that becomes complete in between makes the look at what is needed begin anew.

use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::halt::Halt;
use super::leader::{Leading, RETRY_AFTER};
use super::merge;
use super::retire;
use super::settle;
use super::sweep::{Swept, sweep};
use crate::backup::prune::Manifests;
use crate::domain::cause::Cause;
use crate::domain::department::Department;
use crate::domain::history::{Sequence, Timeline};
use crate::domain::ids::{BackupId, TargetName};
use crate::domain::retention::{Decision, Pin, Plan, Reason, plan, plan_of_deleted};
use crate::domain::window::Place;
use crate::store::kept::Points;

/// Longest time between two looks at the plan.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// Pause before targets are looked through again that could not be judged.
const SWEEP_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Backups of one transaction.
const DROPPED_AT_ONCE: usize = 100;

/// What the pruner of a leadership remembers between two rounds.
#[derive(Debug, Default)]
struct Memory {
    planned: Option<Instant>,
    swept: Option<Instant>,
    manifests: Manifests,
    targets_forgotten: bool,
}

/// Prunes until the leadership ends.
pub(super) async fn run(leading: Leading) {
    let targets: Vec<_> = leading.parts.targets.iter().cloned().collect();
    // Each by itself: a target that hangs keeps no other from being settled.
    let settling = targets.iter().map(|target| settle::run(&leading, target));
    tokio::join!(decide(&leading), merge::run(&leading), futures::future::join_all(settling));
}

async fn decide(leading: &Leading) {
    let mut memory = Memory::default();
    loop {
        let wait = match round(leading, &mut memory).await {
            Ok(wait) => wait,
            Err(Halt::Ended) => return leading.give_up(),
            Err(halt) => {
                leading.again("prune", &halt);
                RETRY_AFTER * 4
            }
        };
        if !leading.rest(&leading.pokes.prune, wait).await {
            return;
        }
    }
}

/// Drops, and looks through the targets when that is due; tells when to look again.
async fn round(leading: &Leading, memory: &mut Memory) -> Result<Duration, Halt> {
    leading.check()?;
    let store = &leading.parts.store;
    let config = &leading.parts.config.backup;
    let name = &leading.leadership.department;
    let Some(department) = store.departments.get(name).await? else { return Ok(LOOK_EVERY) };
    if !memory.targets_forgotten {
        store.condemned.forget_targets(&leading.leadership, &targets(leading)).await?;
        memory.targets_forgotten = true;
    }
    // A plan reads every backup, so not each new one is worth one at once.
    let every = (department.policy.retention.keep_within / 100).clamp(Duration::from_secs(1), LOOK_EVERY);
    let due = memory.planned.is_none_or(|at| at.elapsed() >= every);
    if due || store.kept.any_unwanted(name).await? {
        let left = drop_expired(leading, &department).await?;
        if left == Left::Nothing {
            retire::retire(leading, &department).await?;
        }
        memory.planned = Some(Instant::now());
    }
    if memory.swept.is_none_or(|at| at.elapsed() >= config.prune_every) {
        if sweep(leading, &mut memory.manifests).await? == Swept::Later {
            return Ok(SWEEP_AGAIN_AFTER);
        }
        memory.swept = Some(Instant::now());
    }
    Ok(every.min(config.prune_every))
}

/// Names of all targets: each has to hear of a deletion, and to delete.
pub(super) fn targets(leading: &Leading) -> Vec<TargetName> {
    leading.parts.targets.iter().map(|target| target.name().clone()).collect()
}

/// What is left of a department after a plan was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Something,
    /// It was deleted, its time is over, and it has no backup any more.
    Nothing,
}

async fn drop_expired(leading: &Leading, department: &Department) -> Result<Left, Halt> {
    let store = &leading.parts.store;
    let retention = &department.policy.retention;
    let clock = leading.parts.clock.now();
    let undo = retention.undo_lifetime(leading.parts.config.restore.undo_lifetime);
    let Points { points, now, from_beginning } = store.kept.points(&leading.leadership.department, undo, clock).await?;
    let ends = retire::ends(leading, department, now).await?;
    let mut plan = if ends { plan_of_deleted(retention, points, now) } else { plan(retention, points, now) };
    if from_beginning {
        plan.begin = None;
    }
    let read = |it: &Decision| it.point.pinned_by.as_ref().is_some_and(Pin::is_open);
    if !ends {
        move_begin(leading, &plan).await?;
    } else if !from_beginning && !plan.decisions.iter().any(read) {
        retire::end_journal(leading).await?;
    }
    let dropped: Vec<(BackupId, Cause)> = plan.dropped().map(|it| (it.point.id.clone(), cause(it))).collect();
    for some in dropped.chunks(DROPPED_AT_ONCE) {
        leading.check()?;
        store.kept.drop(&leading.leadership, some, &targets(leading), clock).await?;
    }
    leading.check()?;
    store.kept.drop_failed(&leading.leadership, retention.since(now), &targets(leading), clock).await?;
    if !dropped.is_empty() {
        info!(dropped = dropped.len(), of = plan.decisions.len(), "dropped backups");
        leading.pokes.settle.notify_waiters();
    }
    Ok(if ends && !from_beginning && plan.decisions.is_empty() { Left::Nothing } else { Left::Something })
}

fn cause(decision: &Decision) -> Cause {
    if decision.reasons.contains(&Reason::Requested) {
        Cause::new("delete_requested", "Somebody asked to delete it.")
    } else {
        Cause::new("retention", "No rule of the department's retention keeps it.")
    }
}

/// Moves the beginning of the whole history to where the plan wants it, before anything of it is dropped: no moment is
/// offered that is being deleted.
async fn move_begin(leading: &Leading, plan: &Plan) -> Result<(), Halt> {
    let mut head = leading.head.lock().await;
    let Some(begin) = next_begin(head.begin, plan) else { return Ok(()) };
    leading.check()?;
    leading.parts.store.heads.set_begin(&leading.leadership, begin).await?;
    head.begin = Some(begin);
    Ok(())
}

/// Where the whole history shall begin, if that is another place than now.
fn next_begin(present: Option<Place>, plan: &Plan) -> Option<Place> {
    let order = |place: &Place| -> (Timeline, Sequence) { (place.timeline, place.sequence) };
    let place_of = |decision: &Decision| {
        let point = &decision.point;
        Place { timeline: point.timeline, sequence: point.sequence, time: point.taken_at }
    };
    let planned = plan.decisions.iter().find(|decision| Some(&decision.point.id) == plan.begin.as_ref()).map(place_of);
    // From the empty beginning no backup is needed; from any other place the one that stands there is.
    let present_stands = present.is_some_and(|present| present.sequence == Sequence(0));
    let wanted = match (present, planned) {
        (Some(present), Some(planned)) if order(&planned) > order(&present) => planned,
        (Some(present), _) if !present_stands => present,
        (None, Some(planned)) => planned,
        _ => return None,
    };
    let mut kept = plan.decisions.iter().filter(|decision| decision.keep).map(place_of);
    let next = kept.find(|place| order(place) >= order(&wanted))?;
    (present.as_ref().map(order) != Some(order(&next))).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Timestamp;
    use crate::domain::retention::Point;

    fn place(sequence: i64) -> Place {
        Place { timeline: Timeline(1), sequence: Sequence(sequence), time: Timestamp::from_millis(sequence) }
    }

    /// A plan over backups at these sequences: which are kept, and the one that the window begins with.
    fn plan_of(backups: &[(i64, bool)], begin: Option<i64>) -> Plan {
        let id = |sequence: i64| -> BackupId { uuid::Uuid::from_u128(sequence.unsigned_abs().into()).into() };
        let decisions = backups.iter().map(|(sequence, keep)| Decision {
            point: Point {
                id: id(*sequence),
                timeline: Timeline(1),
                sequence: Sequence(*sequence),
                taken_at: Timestamp::from_millis(*sequence),
                finished_at: Timestamp::from_millis(*sequence),
                held: false,
                unwanted: false,
                pinned_by: None,
            },
            keep: *keep,
            reasons: Vec::new(),
        });
        Plan { decisions: decisions.collect(), begin: begin.map(id) }
    }

    #[test]
    fn the_beginning_moves_forward_only_and_stands_on_a_kept_backup() {
        let plan = plan_of(&[(5, true), (10, false), (20, true), (30, true)], Some(20));
        assert_eq!(next_begin(None, &plan), Some(place(20)));
        assert_eq!(next_begin(Some(place(0)), &plan), Some(place(20)), "from the empty beginning");
        assert_eq!(next_begin(Some(place(10)), &plan), Some(place(20)));
        assert_eq!(next_begin(Some(place(20)), &plan), None);
        assert_eq!(next_begin(Some(place(30)), &plan), None, "never back");
        assert_eq!(next_begin(Some(place(0)), &plan_of(&[(5, true), (10, true)], None)), None);
        // Somebody deletes the backup that it stands on: the whole history begins with the next one.
        assert_eq!(
            next_begin(Some(place(20)), &plan_of(&[(5, true), (20, false), (30, true)], Some(5))),
            Some(place(30))
        );
    }
}
