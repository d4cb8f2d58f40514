//! New ids for the records of a restore into another department whose own ids live outside it, and the hash and the lock that
//! their users had last.
//!
//! Rule: a new id is a function of the restore and the old id, and what was noted of each user is kept with the restore, so
//! any leader makes the same plan.

use std::cmp::Ordering;

use super::BackupError;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{DepartmentName, RestoreId, UserId};
use crate::domain::plan::Noted;
use crate::store::restore_batches::RestoreBatches;

/// Users of one page, which is one document.
pub const PAGE: usize = 10_000;

/// Who gets a new id in a restore and which, and what else was noted of users. Clones share it.
#[derive(Debug, Clone)]
pub struct Renumber {
    /// Where the notes are kept.
    pub batches: RestoreBatches,
    /// The department that gets the records.
    pub department: DepartmentName,
    /// The restore.
    pub restore: RestoreId,
    /// When it was asked for: the time in the new ids.
    pub at: Timestamp,
    /// Of how many users something was noted.
    pub total: u64,
}

impl Renumber {
    /// The new id of an old one: a `UUIDv7` of the restore's time whose other bits come from both.
    pub fn new_id(&self, old: &UserId) -> UserId {
        let mut hasher = blake3::Hasher::new_derive_key("rollkeeper 2026 renumbered user id");
        hasher.update(self.restore.as_str().as_bytes());
        hasher.update(old.as_str().as_bytes());
        let mut bits = [0; 10];
        bits.copy_from_slice(&hasher.finalize().as_bytes()[..10]);
        let millis = u64::try_from(self.at.as_millis()).unwrap_or(0);
        UserId::from(uuid::Builder::from_unix_timestamp_millis(millis, &bits).into_uuid())
    }

    /// Goes through the old ids, which have to be asked for in their order.
    pub(super) fn reader(&self) -> Reader {
        Reader { renumber: self.clone(), page: Vec::new(), next: 0, page_number: 0, left: self.total }
    }
}

/// Goes through the notes, a page in memory at a time.
#[derive(Debug)]
pub(super) struct Reader {
    renumber: Renumber,
    page: Vec<Noted>,
    next: usize,
    page_number: u64,
    /// Notes of the pages that are not read yet.
    left: u64,
}

impl Reader {
    /// What was noted of a user, if anything.
    pub(super) async fn of(&mut self, id: &UserId) -> Result<Option<&Noted>, BackupError> {
        loop {
            while let Some(noted) = self.page.get(self.next) {
                match noted.user_id.cmp(id) {
                    Ordering::Less => self.next += 1,
                    Ordering::Equal => return Ok(self.page.get(self.next)),
                    Ordering::Greater => return Ok(None),
                }
            }
            if self.left == 0 {
                return Ok(None);
            }
            let Renumber { batches, department, restore, .. } = &self.renumber;
            let page = batches.noted(department, restore, self.page_number).await?.unwrap_or_default();
            // A page of a plan that was given up may be longer.
            let counted = usize::try_from(self.left).unwrap_or(PAGE).min(PAGE).min(page.len());
            self.left = if page.is_empty() { 0 } else { self.left - counted as u64 };
            self.page = page;
            self.page.truncate(counted);
            (self.next, self.page_number) = (0, self.page_number + 1);
        }
    }

    /// The new id of an old one.
    pub(super) fn new_id(&self, old: &UserId) -> UserId {
        self.renumber.new_id(old)
    }
}
