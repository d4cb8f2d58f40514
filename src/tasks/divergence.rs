//! Looks at the targets before a leader writes anything to them, and now and then while it leads: is the history there
//! the one of the head?
//!
//! Rules: a department whose targets hold another history gets nothing written until an operator decides; a segment that
//! a dead leader left past the head is compared with the own stream before anything is written after it.

use std::collections::HashSet;
use std::time::Duration;

use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::halt::Halt;
use super::leader::{Leading, RETRY_AFTER};
use super::rebase;
use crate::backup::divergence::{Look, LookFrom, look};
use crate::domain::barrier::Barrier;
use crate::domain::cause::Cause;
use crate::domain::divergence::{
    Divergence, DivergenceCause, Evidence, Judgement, Known, Orphan, judge, judge_while_leading,
};
use crate::domain::epoch::Epoch;
use crate::domain::history::Head;
use crate::domain::ids::{BarrierId, DepartmentName};
use crate::store::StoreError;

/// How often a diverged department is looked at for what its operator decided.
const DECIDED_EVERY: Duration = Duration::from_secs(1);
/// How soon a look is repeated that a target did not answer.
const INCOMPLETE_AGAIN: Duration = Duration::from_secs(5);
/// Refused objects that are remembered, so that each is named once.
const REFUSED_MAX: usize = 10_000;

/// The cause that the jobs of a diverged department show.
fn cause_of(divergence: &Divergence, department: &DepartmentName) -> Cause {
    Cause::new("diverged", format!("{} {}", divergence.cause.meaning(), Divergence::remedy(department)))
}

/// Returns when the tasks of the leadership may begin. What may write to a target still waits until it is `clear`.
pub(super) async fn settle(leading: &Leading) -> Result<(), Halt> {
    let mut explained = false;
    loop {
        leading.check()?;
        let outcome = leading.unless_ended(attempt(leading)).await?;
        let (cause, wait) = match outcome {
            Ok(None) => break,
            Ok(Some(divergence)) => (cause_of(&divergence, &leading.leadership.department), DECIDED_EVERY),
            Err(Halt::Failed(cause, _)) => {
                warn!(cause = cause.message, "the targets cannot be looked at: tried again");
                (cause, RETRY_AFTER)
            }
            Err(Halt::Later(reason)) => (Cause::new("targets_not_looked_at", reason), RETRY_AFTER),
            Err(halt) => return Err(halt),
        };
        leading.check()?;
        explained |= explain(leading, Some(&cause)).await?;
        leading.unless_ended(tokio::time::sleep(wait)).await?;
    }
    if explained {
        explain(leading, None).await?;
    }
    Ok(())
}

/// Tells the jobs that wait why they do; what MongoDB cannot take now is told the next time.
async fn explain(leading: &Leading, cause: Option<&Cause>) -> Result<bool, Halt> {
    match leading.parts.store.divergences.explain_queued(&leading.leadership, cause).await {
        Err(StoreError::Fenced(_)) => Err(Halt::Ended),
        Ok(()) | Err(_) => Ok(true),
    }
}

/// One look at head and targets; none when the history goes on, else why nothing may be written.
async fn attempt(leading: &Leading) -> Result<Option<Divergence>, Halt> {
    let parts = &leading.parts;
    let source = parts.store.source().await?;
    let head = parts.store.heads.get(&leading.leadership.department).await?.ok_or(Halt::Ended)?;
    if head.epoch != leading.leadership.epoch {
        return Err(Halt::Ended);
    }
    if let Some(divergence) = head.diverged.clone() {
        if divergence.rebase.is_none() {
            return Ok(Some(divergence));
        }
        let seen = seen(leading, &head).await?;
        rebase::go_on(leading, &head, &seen, source).await?;
        leading.clear.send_replace(true);
        return Ok(None);
    }
    let mut seen = seen(leading, &head).await?;
    let past = std::mem::take(&mut seen.past);
    match judge(Known { head: &head, before: leading.before, source: &source }, past) {
        Judgement::Diverged(cause, evidence) => record(leading, cause, evidence).await.map(Some),
        Judgement::GoesOn(orphans) => {
            // Where the users are gone, the gap is recorded already, and `follow` waits for new ones.
            let waits = !head.source.has_users() && head.source.replica_set_id == source.replica_set_id;
            if head.source != source && !waits {
                rebase::source_changed(leading, &source).await?;
            }
            if orphans.is_empty() {
                leading.clear.send_replace(true);
            } else {
                info!(segments = orphans.len(), "the last leader left segments past the head: they are compared");
                leading.follower.expect(orphans);
            }
            Ok(None)
        }
    }
}

/// Looks at the targets, names what is not believed there, and insists on an epoch above all that wrote there.
async fn seen(leading: &Leading, head: &Head) -> Result<Look, Halt> {
    let seen = look_past(leading, head).await?;
    name_refused(&mut HashSet::new(), &seen.refused);
    above(leading, seen.newest.as_ref().map_or(Epoch(0), |newest| newest.epoch)).await?;
    Ok(seen)
}

async fn look_past(leading: &Leading, head: &Head) -> Result<Look, Halt> {
    let from = LookFrom { timeline: head.timeline, sequence: head.position.sequence };
    Ok(look(&leading.repository, &leading.parts.targets, &leading.leadership.department, from).await?)
}

/// An epoch on the targets that is not below ours: the next claim is above it.
async fn above(leading: &Leading, epoch: Epoch) -> Result<(), Halt> {
    // What this very leadership wrote is no reason to give it up.
    let own = epoch == leading.leadership.epoch && leading.before == epoch;
    if epoch < leading.leadership.epoch || own {
        return Ok(());
    }
    warn!(%epoch, "the targets carry an epoch that is not below this one: claims again above it");
    leading.parts.store.fences.raise(&leading.leadership, epoch).await?;
    Err(Halt::Ended)
}

fn name_refused(named: &mut HashSet<String>, refused: &[String]) {
    for object in refused {
        if named.len() < REFUSED_MAX && named.insert(object.clone()) {
            warn!(object, "an object on a target is not believed, and left where it is");
        }
    }
}

async fn record(leading: &Leading, cause: DivergenceCause, evidence: Evidence) -> Result<Divergence, Halt> {
    let department = &leading.leadership.department;
    error!(
        cause = cause.code(),
        target.name = %evidence.target,
        object = evidence.object,
        sequence = evidence.sequence.0,
        epoch = %evidence.epoch,
        remedy = Divergence::remedy(department),
        "the department is diverged: {}", cause.meaning()
    );
    let divergence = Divergence { cause, found_at: leading.parts.clock.now(), evidence, rebase: None };
    leading.parts.store.divergences.record(&leading.leadership, &divergence).await?;
    Ok(divergence)
}

/// Does the work of a task that may write to targets, once that is allowed.
pub(super) async fn when_clear(leading: Leading, work: impl Future<Output = ()>) {
    let mut clear = leading.clear.subscribe();
    let may = tokio::select! {
        () = leading.ended.cancelled() => false,
        outcome = clear.wait_for(|clear| *clear) => outcome.is_ok(),
    };
    if may {
        work.await;
    }
}

/// Compares what the last leader left, then looks at the targets now and then, until the leadership ends.
pub(super) async fn run(leading: Leading) {
    let mut named = HashSet::new();
    loop {
        let outcome = tokio::select! {
            () = leading.ended.cancelled() => return,
            outcome = step(&leading, &mut named) => outcome,
        };
        match outcome {
            Ok(()) => {}
            Err(Halt::Ended) => return leading.give_up(),
            Err(halt) => leading.again("look at the targets", &halt),
        }
    }
}

async fn step(leading: &Leading, named: &mut HashSet<String>) -> Result<(), Halt> {
    if !*leading.clear.borrow() {
        return compare(leading).await;
    }
    let every = leading.parts.config.backup.look_every;
    let soon = INCOMPLETE_AGAIN.min(every);
    // The first one soon: a target may have come back after the leadership had begun.
    let mut wait = soon;
    loop {
        tokio::time::sleep(wait).await;
        wait = match watch(leading, named).await {
            Ok(complete) => {
                if complete {
                    every
                } else {
                    soon
                }
            }
            Err(Halt::Ended) => return Err(Halt::Ended),
            Err(halt) => {
                debug!(reason = halt.reason(), "the targets cannot be looked at");
                soon
            }
        };
    }
}

/// Looks once; tells whether every target answered.
async fn watch(leading: &Leading, named: &mut HashSet<String>) -> Result<bool, Halt> {
    let from = own_head(leading).await?;
    let seen = look_past(leading, &from).await?;
    name_refused(named, &seen.refused);
    let head = leading.head.lock().await.clone();
    let Some(evidence) = judge_while_leading(&head, seen.past, seen.newest) else { return Ok(seen.complete) };
    // A higher epoch may be the one of the next leader, and then this is no news but to us.
    let fence = leading.parts.store.fences.epoch(&leading.leadership.department).await?;
    if fence == Some(leading.leadership.epoch) {
        record(leading, DivergenceCause::AnotherWriter, evidence).await?;
    }
    Err(Halt::Ended)
}

/// The head as this leader moved it last. Where MongoDB's is behind that, it was rolled back under a running service: then
/// the leadership ends, and the next one finds out what the targets have.
async fn own_head(leading: &Leading) -> Result<Head, Halt> {
    let head = leading.head.lock().await;
    let stored = leading.parts.store.heads.get(&leading.leadership.department).await?;
    // One that is gone altogether is the business of the stream, which tells of the drop.
    if stored.is_some_and(|stored| stored.position.sequence < head.position.sequence) {
        warn!("the head in MongoDB is behind the one of its leader: MongoDB was rolled back");
        return Err(Halt::Ended);
    }
    Ok(head.clone())
}

/// Waits until the own stream has shown what the orphans say, and past the present moment.
async fn compare(leading: &Leading) -> Result<(), Halt> {
    let department = leading.leadership.department.clone();
    let id = BarrierId::from(Uuid::now_v7());
    let barrier = Barrier { id: id.clone(), department, requested_at: leading.parts.clock.now(), receipt: None };
    leading.parts.store.barriers.insert(&barrier).await?;
    let mut clear = leading.clear.subscribe();
    let compared = tokio::select! {
        compared = leading.follower.compared(&id) => compared,
        // The stream broke: nothing can be compared any more, and the history goes on on a new timeline.
        _ = clear.wait_for(|clear| *clear) => return Ok(()),
    };
    match compared {
        Ok(()) => {
            leading.clear.send_replace(true);
            Ok(())
        }
        Err((cause, Orphan { evidence, .. })) => {
            record(leading, cause, evidence).await?;
            Err(Halt::Ended)
        }
    }
}
