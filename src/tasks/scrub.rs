//! Reads the journal on each target now and then, slowly, and repairs what another target has whole.
//!
//! Rule: only a target that is level is scrubbed; one that is behind is caught up with first. What cannot be repaired is
//! recorded in the head, and is gone from there when it is whole again.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::halt::Halt;
use super::leader::Leading;
use crate::backup::journal_read::Point;
use crate::backup::scrub::{Scrub, Step};
use crate::domain::damage::JournalDamage;
use crate::domain::history::{Head, Sequence};
use crate::domain::window::{Moment, Stretch};
use crate::targets::Target;

/// Pause between two segments, so that a scrub takes from nobody.
const BETWEEN: Duration = Duration::from_millis(20);
/// Breaks of one target that are recorded.
const DAMAGE_MAX: usize = 100;

/// Scrubs until the leadership ends.
pub(super) async fn run(leading: Leading) {
    // The first pass soon, else a department that is often led anew is never scrubbed.
    let backup = &leading.parts.config.backup;
    let mut wait = backup.look_every.min(backup.scrub_every);
    loop {
        if leading.unless_ended(tokio::time::sleep(wait)).await.is_err() {
            return;
        }
        match Box::pin(leading.unless_ended(scrub_all(&leading))).await {
            Ok(Err(Halt::Ended)) => return leading.give_up(),
            Ok(Err(halt)) => debug!(reason = halt.reason(), "the journal cannot be scrubbed now"),
            Err(_) => return,
            Ok(Ok(())) => {}
        }
        wait = backup.scrub_every;
    }
}

async fn scrub_all(leading: &Leading) -> Result<(), Halt> {
    for target in leading.parts.targets.iter() {
        let head = leading.head.lock().await.clone();
        if head.journal_through(target.name()) != Some(head.position.sequence) {
            continue;
        }
        match scrub_one(leading, &head, target).await {
            Ok(found) => {
                leading.count_scrub("journal", target);
                record(leading, target, found).await?;
            }
            Err(Halt::Ended) => return Err(Halt::Ended),
            // What is down is shown as down, and looked at again.
            Err(halt) => {
                debug!(target.name = %target.name(), reason = halt.reason(), "the target cannot be scrubbed now");
            }
        }
    }
    Ok(())
}

/// Reads every stretch of the recovery window on one target; gives what could not be repaired.
async fn scrub_one(leading: &Leading, head: &Head, target: &Arc<Target>) -> Result<Vec<JournalDamage>, Halt> {
    let mut found = Vec::new();
    for stretch in leading.parts.store.windows.of(head).await?.stretches {
        let Some((from, through)) = ends(leading, head, &stretch).await? else { continue };
        let mut scrub = Scrub::open(leading.journal(stretch.from.timeline), target.clone(), from, through).await?;
        loop {
            leading.check()?;
            match scrub.next().await? {
                Step::Done => break,
                Step::Good => {}
                Step::Repaired(what) => {
                    leading.count_finding(target, "repaired");
                    info!(target.name = %target.name(), what, "repaired the journal from another target");
                }
                Step::Refused(what) => {
                    leading.count_finding(target, "refused");
                    warn!(target.name = %target.name(), what, "an object of the journal is not believed");
                }
                Step::Missing { after, until } => found.push(JournalDamage {
                    target: target.name().clone(),
                    timeline: stretch.from.timeline,
                    after,
                    until,
                    found_at: leading.parts.clock.now(),
                }),
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }
    // What was pruned in the meantime is not missing.
    let begin = leading.parts.store.windows.get(&head.department).await?.from();
    found
        .retain(|damage| begin.is_none_or(|begin| (damage.timeline, damage.after) >= (begin.timeline, begin.sequence)));
    found.truncate(DAMAGE_MAX);
    Ok(found)
}

/// The points that a stretch is checked between: those of the head and of complete backups.
async fn ends(leading: &Leading, head: &Head, stretch: &Stretch) -> Result<Option<(Point, Point)>, Halt> {
    let (windows, department) = (&leading.parts.store.windows, &head.department);
    let timeline = stretch.from.timeline;
    let point = async |at: Sequence| {
        let newest = windows.newest_at(department, timeline, Moment::Sequence(at)).await?;
        Ok::<_, Halt>(newest.as_ref().map(Point::from))
    };
    let from = if stretch.from.sequence == Sequence(0) {
        Some(Point::BEGINNING)
    } else {
        point(stretch.from.sequence).await?.filter(|from| from.sequence == stretch.from.sequence)
    };
    let through = if timeline == head.timeline {
        Some(Point::from(&head.position))
    } else {
        point(stretch.through.sequence).await?
    };
    Ok(from.zip(through).filter(|(from, through)| from.sequence < through.sequence))
}

/// Records what is missing on a target, or that nothing is any more.
async fn record(leading: &Leading, target: &Arc<Target>, found: Vec<JournalDamage>) -> Result<(), Halt> {
    let place = |damage: &JournalDamage| (damage.timeline, damage.after, damage.until);
    let mut head = leading.head.lock().await;
    let (of_it, mut all): (Vec<_>, Vec<_>) =
        head.damage.iter().cloned().partition(|damage| damage.target == *target.name());
    if of_it.iter().map(place).eq(found.iter().map(place)) {
        return Ok(());
    }
    for damage in &found {
        leading.count_finding(target, "lost");
        let (after, until) = (damage.after.0, damage.until.map(|until| until.0));
        error!(target.name = %target.name(), after, until, "the journal on the target breaks, and no other target has the changes");
    }
    all.extend(found);
    leading.check()?;
    leading.parts.store.heads.set_damage(&leading.leadership, &all).await?;
    head.damage = all;
    Ok(())
}
