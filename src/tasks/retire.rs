//! Ends a deleted department: when its policy keeps nothing of it any more, everything of it goes, and nobody leads it.
//!
//! Rules: nothing goes before its time; the department goes last, after every configured target was seen to hold nothing of
//! it. Its head and its fence stay, a few hundred bytes: one of the same name goes on with timeline, sequence and epoch, so
//! that no name of an object is ever used twice.

use tracing::{debug, info, warn};

use super::halt::Halt;
use super::leader::Leading;
use crate::domain::cause::chain;
use crate::domain::clock::Timestamp;
use crate::domain::department::Department;
use crate::domain::window::Place;

/// Whether what is left of a department goes as its policy drops it.
pub(super) async fn ends(leading: &Leading, department: &Department, now: Timestamp) -> Result<bool, Halt> {
    let least = leading.parts.config.backup.deleted_lifetime;
    if department.ends_from(least).is_none_or(|from| now < from) {
        return Ok(false);
    }
    let users = leading.parts.store.users.any_in(&department.name).await?;
    if users {
        warn!("the deleted department has users, which somebody wrote past the service: its history is kept");
    }
    Ok(!users)
}

/// Nothing of the journal is kept for itself any more, only what backups need: the whole history begins where it ends.
pub(super) async fn end_journal(leading: &Leading) -> Result<(), Halt> {
    let mut head = leading.head.lock().await;
    let end = head.place();
    let order = |place: &Place| (place.timeline, place.sequence);
    if head.begin.as_ref().map(order) == Some(order(&end)) {
        return Ok(());
    }
    leading.check()?;
    leading.parts.store.heads.set_begin(&leading.leadership, end).await?;
    head.begin = Some(end);
    Ok(())
}

/// Forgets a department without backups, once no target holds anything of it.
pub(super) async fn retire(leading: &Leading, department: &Department) -> Result<(), Halt> {
    let retired = &leading.parts.store.retired;
    if !retired.is_settled(&department.name).await? {
        return Ok(());
    }
    for target in leading.parts.targets.iter() {
        if target.hangs() {
            return Ok(());
        }
        let folder = format!("departments/{}", department.name);
        match leading.unless_ended(target.sizes(&folder)).await? {
            Ok(left) if left.is_empty() => {}
            Ok(left) => {
                debug!(target.name = %target.name(), objects = left.len(), "still holds something of the deleted department");
                return Ok(());
            }
            Err(error) => {
                debug!(target.name = %target.name(), error = chain(&error), "cannot say what it holds");
                return Ok(());
            }
        }
    }
    leading.check()?;
    if retired.forget(&leading.leadership, department.rev).await? {
        info!("nothing is left of the deleted department");
    }
    Ok(())
}
