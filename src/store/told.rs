//! What targets have heard of holds, releases and deletions of backups.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use super::StoreError;
use super::documents::backups::{backup_key, read_backup};
use super::documents::{Fields, date};
use super::error::{read, write};
use super::fences::{fenced_or_stale, not_above};
use super::kept::Kept;
use crate::domain::backup::Backup;
use crate::domain::clock::Timestamp;
use crate::domain::epoch::Leadership;
use crate::domain::ids::{BackupId, DepartmentName, TargetName};

impl Kept {
    /// Backups of whose hold, release or deletion a target has not heard, oldest first.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn untold(
        &self,
        department: &DepartmentName,
        target: &TargetName,
        limit: i64,
    ) -> Result<Vec<Backup>, StoreError> {
        let filter = doc! { "_id.department": department.as_str(), "untold": target.as_str() };
        let find = self.backups.find(filter).sort(doc! { "requested_at": 1 }).limit(limit);
        let found: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        found.iter().map(read_backup).collect()
    }

    /// Records that a target has heard of a revision of a backup. A deleted one of which all have heard is forgotten at
    /// `expires_at`.
    ///
    /// # Errors
    /// `Fenced`; a backup that was held or released meanwhile is told of again.
    pub async fn told(
        &self,
        leadership: &Leadership,
        backup: &Backup,
        target: &TargetName,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let filter = doc! {
            "_id": backup_key(&leadership.department, &backup.id),
            "revision": i64::from(backup.revision),
        };
        let left = doc! { "$setDifference": ["$untold", [target.as_str()]] };
        let all = doc! { "$eq": ["$untold", []] };
        let over = doc! { "$and": [&all, { "$eq": ["$state", "deleted"] }] };
        let update = vec![
            doc! { "$set": { "untold": left } },
            doc! { "$set": {
                "expires_at": { "$cond": [over, date(expires_at), "$$REMOVE"] },
                "untold": { "$cond": [all, "$$REMOVE", "$untold"] },
            } },
        ];
        let done = write(self.backups.update_one(not_above(filter, leadership), update)).await?;
        if done.matched_count > 0 {
            return Ok(());
        }
        match fenced_or_stale(&self.database, leadership).await {
            StoreError::Stale => Ok(()),
            other => Err(other),
        }
    }

    /// Which of these ids are of backups that the catalogue knows, and whether they are deleted and a target has heard of
    /// that; with the number of the newest word on each.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn known(
        &self,
        department: &DepartmentName,
        target: &TargetName,
        ids: &[BackupId],
    ) -> Result<HashMap<BackupId, (bool, u32)>, StoreError> {
        let keys: Vec<Document> = ids.iter().map(|id| backup_key(department, id)).collect();
        let fields = doc! { "state": 1, "attempt": 1, "revision": 1, "untold": 1 };
        let find = self.backups.find(doc! { "_id": { "$in": keys } }).projection(fields);
        let found: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        let each = |document: &Document| {
            let fields = Fields::of("backups", document);
            let id = fields.sub("_id")?.parsed("id")?;
            let word = fields.count("attempt")? + fields.opt("revision", Fields::count)?.unwrap_or(0);
            let untold = document.get_array("untold").is_ok_and(|left| left.contains(&target.as_str().into()));
            let over = fields.text("state")? == "deleted" && !untold;
            Ok((id, (over, u32::try_from(word).unwrap_or(u32::MAX))))
        };
        found.iter().map(each).collect()
    }
}
