//! Hands the leadership to another replica when somebody wishes it.
//!
//! Rule: nothing is finished first. Whatever is under way goes on under the next leader from where it is, as after a
//! crash, only without the wait; a wish to balance is not worth even that, and waits until nothing is under way.

use std::time::Duration;

use tracing::{info, warn};

use super::halt::Halt;
use super::leader::{Leading, RETRY_AFTER};
use crate::domain::step_down::{StepDown, StepDownReason};

/// How often is looked for a wish whose event was missed.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Waits for a wish until the leadership ends.
pub(super) async fn run(leading: Leading) {
    loop {
        let wait = match follow_wish(&leading).await {
            Ok(wait) => wait,
            Err(Halt::Ended) => return leading.give_up(),
            Err(halt) => {
                warn!(?halt, "look for a wish to step down: tried again");
                RETRY_AFTER
            }
        };
        if !leading.rest(&leading.pokes.step_down, wait).await {
            return;
        }
    }
}

/// Follows a wish that concerns this leadership; tells when to look again.
async fn follow_wish(leading: &Leading) -> Result<Duration, Halt> {
    leading.check()?;
    let parts = &leading.parts;
    let department = &leading.leadership.department;
    let concerns = |wish: &StepDown| wish.concerns(leading.leadership.epoch, parts.clock.now());
    let Some(wish) = parts.store.step_downs.get(department).await?.filter(concerns) else { return Ok(LOOK_EVERY) };
    let view = parts.cluster.view();
    let there = view.members.iter().any(|member| member.replica == wish.to && !member.draining);
    if !there || wish.to == leading.leadership.replica {
        return Ok(LOOK_EVERY);
    }
    if wish.reason == StepDownReason::Balance && parts.store.step_downs.is_busy(department).await? {
        return Ok(RETRY_AFTER);
    }
    info!(to = %wish.to, reason = ?wish.reason, "hands the leadership over");
    parts.cluster.hand_over(&leading.leadership, &wish.to);
    Ok(LOOK_EVERY)
}
