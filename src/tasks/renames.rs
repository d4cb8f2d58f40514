//! Finds the renames of a plan that wait for each other: those whose new name is held by another user now.

use std::collections::{HashMap, HashSet};

use super::halt::Halt;
use super::leader::Leading;
use crate::backup::changes::Changes;
use crate::domain::cause::Cause;
use crate::domain::ids::UserId;
use crate::domain::plan::PlannedChange;
use crate::domain::renames::{RenameGroup, order_renames};

/// Names asked for in one query, at most 5 MiB; many, as in `elsewhere`.
const ASK: usize = 10_000;

/// The renames that must be made before all other records, in groups in their order. Asked before the first change of
/// a restore, so that too many are an end and not half a restore.
pub(super) async fn contended(leading: &Leading, changes: &Changes) -> Result<Vec<RenameGroup>, Halt> {
    let mut search = Search::default();
    let mut reader = changes.after(None).await?;
    let mut asked = Vec::with_capacity(ASK);
    while let Some(change) = reader.next().await? {
        if change.wanted.is_some() && (change.base.is_none() || change.renames()) {
            asked.push(change);
        }
        if asked.len() == ASK {
            search.ask(leading, std::mem::take(&mut asked)).await?;
        }
    }
    search.ask(leading, asked).await?;
    if search.holders.is_empty() {
        return Ok(Vec::new());
    }
    // A holder whose own new name is free is the end of a chain: it has to move before the ones that wait for it.
    let waited_for: HashSet<UserId> = search.holders.values().cloned().collect();
    let mut reader = changes.after(None).await?;
    while let Some(change) = reader.next().await? {
        if change.renames() && waited_for.contains(&change.user_id) && search.known.insert(change.user_id.clone()) {
            search.waiting.push(change);
        }
    }
    Ok(order_renames(search.waiting, &search.holders))
}

#[derive(Default)]
struct Search {
    waiting: Vec<PlannedChange>,
    known: HashSet<UserId>,
    holders: HashMap<String, UserId>,
}

impl Search {
    async fn ask(&mut self, leading: &Leading, changes: Vec<PlannedChange>) -> Result<(), Halt> {
        if changes.is_empty() {
            return Ok(());
        }
        leading.check()?;
        let name_of = |change: &PlannedChange| change.wanted.as_ref().map(|user| user.name.to_string());
        let names: Vec<String> = changes.iter().filter_map(name_of).collect();
        let found = leading.parts.store.users.holders_of(&leading.leadership.department, &names).await?;
        let found: HashMap<String, UserId> = found.into_iter().collect();
        for change in changes {
            let Some(name) = name_of(&change) else { continue };
            let Some(holder) = found.get(&name).filter(|holder| **holder != change.user_id) else { continue };
            self.holders.insert(name, holder.clone());
            if change.renames() && self.known.insert(change.user_id.clone()) {
                self.waiting.push(change);
            }
        }
        let most = leading.parts.config.restore.moved_names_max;
        if self.holders.len() > most {
            let message = format!(
                "More than {most} names would move between users; nothing was changed. Restore the users in several \
                 parts, or raise restore.moved_names_max."
            );
            return Err(Halt::Failed(Cause::new("too_many_moved_names", message), Vec::new()));
        }
        Ok(())
    }
}
