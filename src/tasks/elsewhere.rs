//! Counts which records of a restore have an id that lives in another department now: before anything is written, so that
//! the plan says so.

use super::halt::Halt;
use super::leader::Leading;
use crate::backup::changes::{ChangeReader, Changes};
use crate::domain::ids::UserId;
use crate::domain::restore::Action;

/// Ids asked for in one query, some MiB. Where all of them were deleted a moment ago, MongoDB passes over every deleted key after
/// them in each query, so few large ones are quicker by far than many small ones.
const ASK: usize = 50_000;

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
