//! Finds which records of a restore have an id that lives in another department now: before anything is written, so that
//! the plan says so.

use super::halt::Halt;
use super::leader::Leading;
use crate::backup::changes::{ChangeReader, Changes};
use crate::backup::renumber::PAGE;
use crate::domain::ids::UserId;
use crate::domain::restore::{Action, Restore};

/// Ids asked for in one query.
const ASK: usize = 1000;

/// How many of the records that a restore creates have an id that lives elsewhere.
pub(super) async fn count(leading: &Leading, changes: &Changes) -> Result<u64, Halt> {
    if !leading.parts.store.users.any_outside(&leading.leadership.department).await? {
        return Ok(0);
    }
    let mut search = Search { leading, reader: changes.after(None).await? };
    let mut count = 0;
    while let Some(found) = search.next().await? {
        count += found.len() as u64;
    }
    Ok(count)
}

/// The same, and keeps them with the restore, since they get new ids.
pub(super) async fn keep(leading: &Leading, restore: &Restore, changes: &Changes) -> Result<u64, Halt> {
    let batches = &leading.parts.store.restore_batches;
    let mut search = Search { leading, reader: changes.after(None).await? };
    let (mut page, mut number, mut count) = (Vec::with_capacity(PAGE), 0, 0);
    loop {
        let found = search.next().await?;
        let ended = found.is_none();
        page.extend(found.unwrap_or_default());
        while page.len() >= PAGE || (ended && !page.is_empty()) {
            let rest = page.split_off(page.len().min(PAGE));
            batches.put_elsewhere(&leading.leadership, &restore.id, number, &page).await?;
            count += page.len() as u64;
            (page, number) = (rest, number + 1);
        }
        if ended {
            return Ok(count);
        }
    }
}

/// Goes through the ids that live elsewhere, in their order.
struct Search<'a> {
    leading: &'a Leading,
    reader: ChangeReader,
}

impl Search<'_> {
    /// The next ones, of so many records; none at the end.
    async fn next(&mut self) -> Result<Option<Vec<UserId>>, Halt> {
        let mut asked = Vec::with_capacity(ASK);
        while asked.len() < ASK
            && let Some(change) = self.reader.next().await?
        {
            if change.action == Action::Create && change.renumbered_from.is_none() {
                asked.push(change.user_id);
            }
        }
        if asked.is_empty() {
            return Ok(None);
        }
        self.leading.check()?;
        let department = &self.leading.leadership.department;
        let mut found = self.leading.parts.store.users.elsewhere(department, &asked).await?;
        found.sort_unstable();
        Ok(Some(found))
    }
}
