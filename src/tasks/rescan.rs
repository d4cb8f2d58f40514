//! Compares the history with the live records now and then, and raises an alarm when they differ.
//!
//! Rule: both sides are read at the same cluster time, so writes beside it are no difference.

use std::time::Duration;

use tracing::{debug, error, info};

use super::archive;
use super::halt::Halt;
use super::leader::{Leading, RETRY_AFTER};
use crate::backup::BackupError;
use crate::backup::journal_read::Point;
use crate::backup::past::{PastError, PastPoint};
use crate::backup::rescan::compare;
use crate::domain::drift::Drift;
use crate::domain::history::{Head, Position, Sequence};
use crate::domain::window::Moment;

/// Longest wait for the tick that gives a position of now.
const TICK_WITHIN: Duration = Duration::from_mins(1);
/// Longest wait for the first comparison of a department that was never compared.
const FIRST_WITHIN: Duration = Duration::from_mins(10);

/// Compares until the leadership ends.
pub(super) async fn run(leading: Leading) {
    let every = leading.parts.config.backup.rescan_every;
    loop {
        let last = leading.head.lock().await.drift.as_ref().map(|drift| drift.checked_at);
        let wait = match last {
            Some(last) => every.saturating_sub(leading.parts.clock.now().since(last)),
            None => every.min(FIRST_WITHIN),
        };
        // One that could not be made is due at once, and must not spin.
        if leading.unless_ended(tokio::time::sleep(wait.max(RETRY_AFTER))).await.is_err() {
            return;
        }
        match Box::pin(leading.unless_ended(rescan(&leading))).await {
            Ok(Err(Halt::Ended)) => return leading.give_up(),
            Ok(Err(halt)) => {
                debug!(reason = halt.reason(), "the history cannot be compared with the live records now");
                if leading.unless_ended(tokio::time::sleep(every.min(TICK_WITHIN))).await.is_err() {
                    return;
                }
            }
            Err(_) => return,
            Ok(Ok(())) => {}
        }
    }
}

async fn rescan(leading: &Leading) -> Result<(), Halt> {
    let restarts = leading.follower.restarts();
    let position = position_of_now(leading).await?;
    archive::until(leading, position.sequence).await?;
    let head = leading.head.lock().await.clone();
    let Some(point) = point(leading, &head, &position).await? else { return Ok(()) };
    let parts = &leading.parts;
    let state = parts.past.state(&point).await.map_err(refused)?;
    let department = &leading.leadership.department;
    let live = parts.store.users.scan_at(department, position.cluster_time, 1);
    let found = compare(live, &state).await?;
    if leading.follower.restarts() != restarts {
        return Err(Halt::Later("a new timeline began meanwhile".to_owned()));
    }
    let drift = Drift {
        checked_at: parts.clock.now(),
        timeline: head.timeline,
        sequence: position.sequence,
        records: found.records,
        differing: found.differing,
        ids: found.ids,
    };
    leading.count_rescan(drift.differing);
    if drift.differing > 0 {
        let ids: Vec<&str> = drift.ids.iter().map(crate::domain::ids::UserId::as_str).collect();
        error!(
            sequence = drift.sequence.0,
            differing = drift.differing,
            ?ids,
            "the history is not what the live records are"
        );
    } else {
        info!(sequence = drift.sequence.0, records = drift.records, "the history is what the live records are");
    }
    leading.check()?;
    let mut head = leading.head.lock().await;
    parts.store.heads.set_drift(&leading.leadership, &drift).await?;
    head.drift = Some(drift);
    Ok(())
}

/// A place of the stream, not inside a transaction, whose cluster time is so young that MongoDB still has its snapshot.
async fn position_of_now(leading: &Leading) -> Result<Position, Halt> {
    let before = leading.follower.cut().cluster_time;
    leading.parts.store.barriers.tick(&leading.leadership.department).await?;
    let moved = async {
        loop {
            let cut = leading.follower.cut();
            if cut.cluster_time > before {
                return cut;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(TICK_WITHIN, moved).await;
    waited.map_err(|_| Halt::Later("the change stream did not show a tick".to_owned()))
}

/// The point of the history at a position; absent where there is nothing to begin with.
async fn point(leading: &Leading, head: &Head, position: &Position) -> Result<Option<PastPoint>, Halt> {
    let department = &leading.leadership.department;
    let moment = Moment::Sequence(position.sequence);
    let newest = leading.parts.store.windows.newest_at(department, head.timeline, moment).await?;
    let begins_empty = head.begin.is_some_and(|place| place.sequence == Sequence(0) && place.timeline == head.timeline);
    if newest.is_none() && !begins_empty {
        return Ok(None);
    }
    Ok(Some(PastPoint {
        department: department.clone(),
        timeline: head.timeline,
        point: Point::from(position),
        time: position.time,
        base: newest.map(|content| content.base),
    }))
}

fn refused(error: PastError) -> Halt {
    match error {
        PastError::Backup(error) => error.into(),
        other => BackupError::Undecided(other.to_string()).into(),
    }
}
