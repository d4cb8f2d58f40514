//! New timelines that begin with a leadership: the source of the history is another one, or an operator wants to go on
//! beside another history.

use tracing::{info, warn};

use super::halt::Halt;
use super::leader::Leading;
use crate::backup::divergence::Look;
use crate::domain::history::{Head, JournalCopy, Source, Timeline};
use crate::store::divergence::RebaseTo;

/// The history comes from another replica set or collection: it starts a new timeline.
pub(super) async fn source_changed(leading: &Leading, source: &Source) -> Result<(), Halt> {
    warn!("the replica set or the users collection is another one: the history starts a new timeline");
    let now = leading.parts.clock.now();
    let cause = if source.has_users() { "source_changed" } else { "collection_dropped" };
    let head = leading.parts.store.heads.rebase(&leading.leadership, source, cause, now).await?;
    adopt(leading, head).await;
    Ok(())
}

/// Goes on with the live records above everything that the targets hold, as an operator asked.
pub(super) async fn go_on(leading: &Leading, head: &Head, seen: &Look, source: Source) -> Result<(), Halt> {
    let parts = &leading.parts;
    let sequence = seen.sequence.max(head.position.sequence);
    // Who held everything up to the head has nothing to catch up with: what lies between is another history.
    let level = |copy: &JournalCopy| copy.through >= head.position.sequence;
    let journal = head.journal.iter().map(|copy| {
        let through = if level(copy) { sequence } else { copy.through };
        JournalCopy { target: copy.target.clone(), through }
    });
    let to = RebaseTo {
        timeline: Timeline(seen.timeline.max(head.timeline).0 + 1),
        sequence,
        source,
        journal: journal.collect(),
    };
    leading.check()?;
    let now = parts.clock.now();
    let head = parts.store.divergences.rebase(&leading.leadership, &to, now).await?;
    info!(timeline = to.timeline.0, sequence = to.sequence.0, "goes on with the live records on a new timeline");
    adopt(leading, head).await;
    Ok(())
}

async fn adopt(leading: &Leading, head: Head) {
    leading.follower.restart(head.position.clone());
    leading.archived.send_replace(head.position.sequence);
    *leading.head.lock().await = head;
}
