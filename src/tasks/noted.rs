//! What a restore into another department notes before its plan: whose id lives elsewhere now, and which hash and lock were
//! newest of each user, so that the copies weaken nobody.
//!
//! Rule: of a user who lives, its record counts; of one who is gone, what the histories of both departments last knew. Both
//! are read after the safety backup, and kept, so that every leader makes the same plan.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::halt::Halt;
use super::leader::Leading;
use crate::backup::changes::{ChangeReader, Changes};
use crate::backup::known::Histories;
use crate::backup::renumber::PAGE;
use crate::backup::sides::{Reads, Sides};
use crate::domain::barrier::{Barrier, Receipt};
use crate::domain::cause::Cause;
use crate::domain::ids::{BarrierId, DepartmentName};
use crate::domain::plan::{Noted, Security, with_last_known};
use crate::domain::restore::{Action, Restore};
use crate::domain::user::User;

/// Users asked for in one query.
const ASK: usize = 1000;
/// Longest wait until the other department has brought its history up to date: a change of its leader takes less.
const SYNC_WITHIN: Duration = Duration::from_mins(1);
/// Pause between two looks at that.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Notes what the plan of a restore needs, and tells of how many users.
pub(super) async fn keep(leading: &Leading, restore: &Restore, sides: &Sides) -> Result<u64, Halt> {
    let changes = Changes::again(sides.clone()).await?;
    let reader = changes.after(None).await?;
    let mut search = Search { leading, restore, sides, reader, histories: None };
    let batches = &leading.parts.store.restore_batches;
    let (mut page, mut number, mut count) = (Vec::with_capacity(PAGE), 0, 0);
    loop {
        let found = search.next().await?;
        let ended = found.is_none();
        page.extend(found.unwrap_or_default());
        while page.len() >= PAGE || (ended && !page.is_empty()) {
            let rest = page.split_off(page.len().min(PAGE));
            leading.check()?;
            batches.put_noted(&leading.leadership, &restore.id, number, &page).await?;
            count += page.len() as u64;
            (page, number) = (rest, number + 1);
        }
        if ended {
            return Ok(count);
        }
    }
}

/// Goes through the users that a restore would create, in the order of their ids.
struct Search<'a> {
    leading: &'a Leading,
    restore: &'a Restore,
    sides: &'a Sides,
    reader: ChangeReader,
    /// Opened for the first user that lives nowhere.
    histories: Option<Histories>,
}

impl Search<'_> {
    /// What is to be noted of the next users; none at the end.
    async fn next(&mut self) -> Result<Option<Vec<Noted>>, Halt> {
        let mut asked: Vec<User> = Vec::with_capacity(ASK);
        while asked.len() < ASK
            && let Some(change) = self.reader.next().await?
        {
            asked.extend(change.wanted.filter(|_| change.action == Action::Create));
        }
        if asked.is_empty() {
            return Ok(None);
        }
        self.leading.check()?;
        let ids: Vec<_> = asked.iter().map(|user| &user.id).collect();
        let department = &self.leading.leadership.department;
        let mut live = self.leading.parts.store.users.records_elsewhere(department, &ids).await?;
        live.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let mut noted = Vec::with_capacity(live.len());
        for wanted in asked {
            let found = live.binary_search_by(|user| user.id.cmp(&wanted.id)).ok().and_then(|at| live.get(at));
            let (elsewhere, newest) = match found {
                Some(user) => (true, Some(Security::from(user))),
                None => (false, self.last_known(&wanted).await?),
            };
            let user_id = wanted.id.clone();
            let request = &self.sides.request;
            let security = newest.filter(|newest| with_last_known(wanted, newest, request).1);
            if elsewhere || security.is_some() {
                noted.push(Noted { user_id, elsewhere, security });
            }
        }
        Ok(Some(noted))
    }

    /// What was last known of a user that lives nowhere, where a policy keeps that.
    async fn last_known(&mut self, user: &User) -> Result<Option<Security>, Halt> {
        if !self.sides.request.keeps_security() {
            return Ok(None);
        }
        if self.histories.is_none() {
            self.histories = Some(self.open().await?);
        }
        let Some(histories) = &mut self.histories else { return Ok(None) };
        Ok(histories.of(&user.id).await?.as_ref().map(Security::from))
    }

    async fn open(&mut self) -> Result<Histories, Halt> {
        let Some(from) = &self.sides.from else { return Ok(Histories::new(&[])) };
        let receipt = synced(self.leading, &from.department).await?;
        let parts = &self.leading.parts;
        let (repository, targets, past) = (&self.leading.repository, &parts.targets, &parts.past);
        let reads = Reads { store: &parts.store, repository, targets, past };
        Ok(Histories::new(&reads.histories(self.restore, self.sides, &receipt).await?))
    }
}

/// Waits until the history of another department has everything that was acknowledged before now.
async fn synced(leading: &Leading, department: &DepartmentName) -> Result<Receipt, Halt> {
    let (barriers, clock) = (&leading.parts.store.barriers, &leading.parts.clock);
    let id = BarrierId::from(Uuid::now_v7());
    let barrier = Barrier { id, department: department.clone(), requested_at: clock.now(), receipt: None };
    barriers.insert(&barrier).await?;
    let deadline = Instant::now() + SYNC_WITHIN;
    while Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
        leading.check()?;
        let found = barriers.get(department, &barrier.id).await?;
        if let Some(receipt) = found.and_then(|barrier| barrier.receipt) {
            return Ok(receipt);
        }
    }
    let message = format!(
        "The history of {department} was not brought up to date within a minute, so the newest hashes and locks of its \
         deleted users are not known. GET /departments/{department} shows its leader and its lag. Try again, or ask for \
         `credentials: restore` and `locked: restore`."
    );
    Err(Halt::Failed(Cause::new("source_not_synced", message), Vec::new()))
}
