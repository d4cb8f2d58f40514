//! Which ids of a restore into another department live outside it: found once, at planning, and kept, so that every leader
//! gives the same records new ids.

use futures::TryStreamExt as _;
use mongodb::bson::{Document, RawDocumentBuf, doc};

use super::StoreError;
use super::documents::Fields;
use super::documents::users::read_key;
use super::error::read;
use super::restore_batches::RestoreBatches;
use super::txn::Txn;
use super::users::{Users, range_of};
use crate::domain::epoch::Leadership;
use crate::domain::ids::{DepartmentName, RestoreId, UserId};

const COLLECTION: &str = "restore_batches";

fn page_key(department: &DepartmentName, restore: &RestoreId, page: u64) -> Document {
    let page = i64::try_from(page).unwrap_or(i64::MAX);
    doc! { "department": department.as_str(), "restore": restore.as_str(), "elsewhere": page }
}

impl RestoreBatches {
    /// Keeps one page of ids that live elsewhere, sorted, in a fenced transaction; the same page again replaces it.
    ///
    /// # Errors
    /// `Fenced`; when MongoDB does not answer.
    pub async fn put_elsewhere(
        &self,
        leadership: &Leadership,
        restore: &RestoreId,
        page: u64,
        ids: &[UserId],
    ) -> Result<(), StoreError> {
        let key = page_key(&leadership.department, restore, page);
        let ids: Vec<&str> = ids.iter().map(UserId::as_str).collect();
        let with = doc! { "_id": key.clone(), "epoch": leadership.epoch.0, "ids": ids };
        let update = doc! { "q": { "_id": key }, "u": with, "upsert": true };
        let command = doc! { "update": COLLECTION, "updates": [update] };
        let mut txn = Txn::fenced(self.database(), leadership).await?;
        loop {
            let outcome = txn.run(command.clone()).await.map(drop);
            if let Some(()) = txn.finish(outcome).await? {
                return Ok(());
            }
        }
    }

    /// One page of ids that live elsewhere; none where there is no such page.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn elsewhere(
        &self,
        department: &DepartmentName,
        restore: &RestoreId,
        page: u64,
    ) -> Result<Option<Vec<UserId>>, StoreError> {
        let found = read(self.batches.find_one(doc! { "_id": page_key(department, restore, page) })).await?;
        let ids = |found: Document| Fields::of(COLLECTION, &found).texts("ids", |text| text.parse().ok());
        found.map(ids).transpose()
    }
}

impl Users {
    /// Those of these ids that live outside a department.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn elsewhere(&self, department: &DepartmentName, ids: &[UserId]) -> Result<Vec<UserId>, StoreError> {
        let ids: Vec<&str> = ids.iter().map(UserId::as_str).collect();
        let filter = doc! { "_id.id": { "$in": ids }, "_id.department": { "$ne": department.as_str() } };
        let find = self.raw().find(filter).projection(doc! { "_id": 1 });
        let found: Vec<RawDocumentBuf> = read(async { find.await?.try_collect().await }).await?;
        let id = |document: &RawDocumentBuf| {
            let corrupt = |_| StoreError::Corrupt { collection: "users", reason: "no `_id`".to_owned() };
            read_key(document.get_document("_id").map_err(corrupt)?).map(|(_, id)| id)
        };
        found.iter().map(id).collect()
    }

    /// Whether anybody lives outside a department.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn any_outside(&self, department: &DepartmentName) -> Result<bool, StoreError> {
        let mut range = range_of(department);
        let (before, after) = (range.remove("$gt"), range.remove("$lt"));
        for outside in [doc! { "$lt": before }, doc! { "$gt": after }] {
            let find = self.raw().find_one(doc! { "_id": outside }).projection(doc! { "_id": 1 });
            if read(find).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
