//! New ids for the records of a restore into another department whose own ids live outside it.
//!
//! Rule: a new id is a function of the restore and the old id, and which records get one is kept with the restore, so any
//! leader gives the same ones.

use std::cmp::Ordering;

use super::BackupError;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{DepartmentName, RestoreId, UserId};
use crate::store::restore_batches::RestoreBatches;

/// Ids of one page.
pub const PAGE: usize = 10_000;

/// Who gets a new id in a restore, and which. Clones share it.
#[derive(Debug, Clone)]
pub struct Renumber {
    /// Where the ids are kept.
    pub batches: RestoreBatches,
    /// The department that gets the records.
    pub department: DepartmentName,
    /// The restore.
    pub restore: RestoreId,
    /// When it was asked for: the time in the new ids.
    pub at: Timestamp,
    /// How many get a new id.
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

/// Goes through the ids that live elsewhere, a page in memory at a time.
#[derive(Debug)]
pub(super) struct Reader {
    renumber: Renumber,
    page: Vec<UserId>,
    next: usize,
    page_number: u64,
    /// Ids of the pages that are not read yet.
    left: u64,
}

impl Reader {
    /// The new id of an old one, if it gets one.
    pub(super) async fn new_id(&mut self, old: &UserId) -> Result<Option<UserId>, BackupError> {
        loop {
            while let Some(id) = self.page.get(self.next) {
                match id.cmp(old) {
                    Ordering::Less => self.next += 1,
                    Ordering::Equal => return Ok(Some(self.renumber.new_id(old))),
                    Ordering::Greater => return Ok(None),
                }
            }
            if self.left == 0 {
                return Ok(None);
            }
            let Renumber { batches, department, restore, .. } = &self.renumber;
            let page = batches.elsewhere(department, restore, self.page_number).await?.unwrap_or_default();
            // A page of a plan that was given up may be longer.
            let counted = usize::try_from(self.left).unwrap_or(PAGE).min(PAGE).min(page.len());
            self.left = if page.is_empty() { 0 } else { self.left - counted as u64 };
            self.page = page;
            self.page.truncate(counted);
            (self.next, self.page_number) = (0, self.page_number + 1);
        }
    }
}
