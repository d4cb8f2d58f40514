//! Keeps a department in the change stream of its replica, and says what becomes of its history when that breaks.
//!
//! Rule: the order of events is the truth, and a break of the stream is a gap with a cause, never silence.

use tracing::warn;

use super::Parts;
use super::archive;
use super::halt::Halt;
use super::leader::{Leading, RETRY_AFTER};
use super::member::Left;
use super::stream::Hub;
use crate::domain::cause::chain;
use crate::domain::epoch::{Epoch, Leadership};
use crate::domain::history::Head;

/// The cause of a gap whose heads are gone as well.
const DATABASE_DROPPED: &str = "database_dropped";

/// Takes the head for a new leadership, with the epoch that it had before.
pub(super) async fn take_head(parts: &Parts, leadership: &Leadership) -> Result<(Head, Epoch), Halt> {
    let source = parts.store.source().await?;
    Ok(parts.store.heads.take(leadership, &source).await?)
}

/// Follows until the leadership ends.
pub(super) async fn run(leading: Leading, hub: Hub) {
    let mut asked = false;
    loop {
        let outcome = tokio::select! {
            () = leading.ended.cancelled() => return,
            outcome = follow(&leading, &hub, &mut asked) => outcome,
        };
        match outcome {
            Ok(()) => continue,
            Err(Halt::Ended) => return leading.give_up(),
            Err(halt) => leading.again("follow the changes", &halt),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Stays in the stream until the department has to leave it, and until it may come back.
async fn follow(leading: &Leading, hub: &Hub, asked: &mut bool) -> Result<(), Halt> {
    until_users(leading).await?;
    let place = hub.join(leading)?;
    // Told nothing, it has left before the stream was open.
    if place.opened.await.is_ok() && !*asked {
        // Whatever was asked before the stream was open is found by looking now, barriers in their place of the stream.
        leading.parts.store.barriers.ask_again(&leading.leadership).await?;
        leading.pokes.backups.notify_one();
        leading.pokes.restores.notify_one();
        *asked = true;
    }
    match place.left.await {
        Ok(Left::Full) => {
            leading.pokes.archive.notify_one();
            leading.follower.until_taken().await;
            Ok(())
        }
        Ok(Left::Broken(cause)) => {
            *asked = false;
            rebase(leading, cause).await?;
            leading.pokes.schedule.notify_one();
            Ok(())
        }
        Err(_) => Err(Halt::Later("the change stream was given up".to_owned())),
    }
}

/// The history cannot go on: archives what came before, records the gap and starts a new timeline.
async fn rebase(leading: &Leading, cause: &'static str) -> Result<(), Halt> {
    warn!(cause, "the change stream broke: the history starts a new timeline");
    // What a dead leader left past the head cannot be compared any more, and stays on the old timeline.
    leading.clear.send_replace(true);
    loop {
        match try_rebase(leading, cause).await {
            Err(Halt::Ended) => return Err(Halt::Ended),
            Err(halt) => leading.again("record the gap", &halt),
            Ok(()) => break,
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    Ok(())
}

/// Waits while there are no users, after their gap was recorded; then the timeline goes on with the new collection.
async fn until_users(leading: &Leading) -> Result<(), Halt> {
    if leading.head.lock().await.source.has_users() {
        return Ok(());
    }
    warn!("there is no users collection: `rollkeeper migrate` makes it again");
    let store = &leading.parts.store;
    let source = loop {
        let source = store.source().await?;
        if source.has_users() {
            break source;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    };
    mend_users(leading).await;
    leading.check()?;
    let mut head = leading.head.lock().await;
    *head = store.heads.settle(&leading.leadership, &source).await?;
    leading.follower.restart(head.position.clone());
    leading.pokes.schedule.notify_one();
    Ok(())
}

/// Users that were made again may lack what guards them, above all the indexes that make ids and names unique.
async fn mend_users(leading: &Leading) {
    if let Err(error) = leading.parts.store.mend_users().await {
        warn!(error = chain(&error), "give the users their validator and indexes: run `rollkeeper migrate`");
    }
}

async fn try_rebase(leading: &Leading, cause: &'static str) -> Result<(), Halt> {
    if cause == DATABASE_DROPPED {
        let head = leading.head.lock().await;
        leading.check()?;
        leading.parts.store.heads.put_back(&leading.leadership, &head).await?;
    }
    // Never into a transaction: what was seen of one that is not whole is forgotten.
    archive::until(leading, leading.follower.cut().sequence).await?;
    leading.check()?;
    let parts = &leading.parts;
    let source = parts.store.source().await?;
    if source.has_users() {
        mend_users(leading).await;
    }
    let now = parts.clock.now();
    let mut head = leading.head.lock().await;
    *head = parts.store.heads.rebase(&leading.leadership, &source, cause, now).await?;
    leading.follower.restart(head.position.clone());
    Ok(())
}
