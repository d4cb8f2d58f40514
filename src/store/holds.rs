//! Holds on backups, and wishes to delete them. No leader writes: any replica may, and they count at once.

use mongodb::bson::{Document, doc};

use super::StoreError;
use super::audit::update_recorded;
use super::documents::backups::wish_document;
use super::error::read;
use super::kept::{Kept, names};
use crate::domain::audit::AuditRecord;
use crate::domain::backup::Wish;
use crate::domain::ids::{BackupId, DepartmentName, TargetName};

impl Kept {
    /// Holds a complete backup against retention. No leader write: it counts at once.
    ///
    /// # Errors
    /// `Stale` when it is not complete, is held already, or somebody asked to delete it.
    pub async fn hold(
        &self,
        id: &BackupId,
        wish: &Wish,
        targets: &[TargetName],
        record: &AuditRecord,
    ) -> Result<(), StoreError> {
        let absent = doc! { "$exists": false };
        let filter = doc! { "_id.id": id.as_str(), "state": "complete", "held": &absent, "unwanted": &absent };
        let set = doc! { "held": wish_document(wish), "untold": names(targets) };
        self.change(filter, doc! { "$set": set, "$inc": { "revision": 1_i64 } }, record).await
    }

    /// Releases a held backup. No leader write.
    ///
    /// # Errors
    /// `Stale` when nobody holds it.
    pub async fn release(&self, id: &BackupId, targets: &[TargetName], record: &AuditRecord) -> Result<(), StoreError> {
        let filter = doc! { "_id.id": id.as_str(), "state": "complete", "held": { "$exists": true } };
        let update = doc! {
            "$unset": { "held": "" },
            "$set": { "untold": names(targets) },
            "$inc": { "revision": 1_i64 },
        };
        self.change(filter, update, record).await
    }

    /// Records the wish to delete an ended backup. No leader write.
    ///
    /// # Errors
    /// `Stale` when it is held, or has not ended.
    pub async fn request_delete(&self, id: &BackupId, wish: &Wish, record: &AuditRecord) -> Result<(), StoreError> {
        let ended = doc! { "$in": ["complete", "failed", "cancelled"] };
        let filter = doc! { "_id.id": id.as_str(), "state": ended, "held": { "$exists": false } };
        self.change(filter, doc! { "$set": { "unwanted": wish_document(wish) } }, record).await
    }

    async fn change(&self, filter: Document, update: Document, record: &AuditRecord) -> Result<(), StoreError> {
        update_recorded(&self.database, "backups", filter, update, record).await
    }

    /// Whether somebody asked to delete a backup of the department that is not deleted yet.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn any_unwanted(&self, department: &DepartmentName) -> Result<bool, StoreError> {
        let filter = doc! {
            "_id.department": department.as_str(),
            "unwanted.at": { "$exists": true },
            "state": { "$ne": "deleted" },
        };
        Ok(read(self.backups.find_one(filter)).await?.is_some())
    }
}
