//! What a restore into another department notes of its users: whose id lives outside it, and what hash and lock were newest.
//! Found once, at planning, and kept, so that every leader plans the same.

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};

use super::StoreError;
use super::documents::Fields;
use super::documents::users::{read_key, read_user};
use super::error::{LONG_READ_WITHIN, read, read_within};
use super::restore_batches::RestoreBatches;
use super::txn::Txn;
use super::users::{Users, range_of};
use crate::domain::epoch::Leadership;
use crate::domain::ids::{DepartmentName, RestoreId, UserId};
use crate::domain::plan::{Noted, Security};
use crate::domain::user::{PasswordHash, User};

const COLLECTION: &str = "restore_batches";

fn page_key(department: &DepartmentName, restore: &RestoreId, page: u64) -> Document {
    let page = i64::try_from(page).unwrap_or(i64::MAX);
    doc! { "department": department.as_str(), "restore": restore.as_str(), "elsewhere": page }
}

fn noted_document(noted: &Noted) -> Document {
    let security = noted.security.as_ref().map(|security| {
        doc! {
            "password_hash": security.password_hash.expose(),
            "locked": security.locked,
            "version": security.version,
        }
    });
    doc! {
        "id": noted.user_id.as_str(),
        "elsewhere": noted.elsewhere,
        "security": security.map_or(Bson::Null, Bson::Document),
    }
}

fn read_noted(fields: &Fields<'_>) -> Result<Noted, StoreError> {
    let security = |fields: &Fields<'_>, field: &str| {
        let inner = fields.sub(field)?;
        Ok(Security {
            password_hash: PasswordHash::from_checked(inner.owned("password_hash")?),
            locked: inner.flag("locked")?,
            version: inner.int("version")?,
        })
    };
    Ok(Noted {
        user_id: fields.parsed("id")?,
        elsewhere: fields.flag("elsewhere")?,
        security: fields.opt("security", security)?,
    })
}

impl RestoreBatches {
    /// Keeps one page of notes, sorted by id, in a fenced transaction; the same page again replaces it.
    ///
    /// # Errors
    /// `Fenced`; when MongoDB does not answer.
    pub async fn put_noted(
        &self,
        leadership: &Leadership,
        restore: &RestoreId,
        page: u64,
        noted: &[Noted],
    ) -> Result<(), StoreError> {
        let key = page_key(&leadership.department, restore, page);
        let users: Vec<Document> = noted.iter().map(noted_document).collect();
        let with = doc! { "_id": key.clone(), "epoch": leadership.epoch.0, "users": users };
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

    /// One page of notes; none where there is no such page.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn noted(
        &self,
        department: &DepartmentName,
        restore: &RestoreId,
        page: u64,
    ) -> Result<Option<Vec<Noted>>, StoreError> {
        let found = read(self.batches.find_one(doc! { "_id": page_key(department, restore, page) })).await?;
        let users = |found: Document| Fields::of(COLLECTION, &found).list("users", read_noted);
        found.map(users).transpose()
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
        let found = async { find.await?.try_collect().await };
        let found: Vec<RawDocumentBuf> = read_within(LONG_READ_WITHIN, found).await?;
        let id = |document: &RawDocumentBuf| {
            let corrupt = |_| StoreError::Corrupt { collection: "users", reason: "no `_id`".to_owned() };
            read_key(document.get_document("_id").map_err(corrupt)?).map(|(_, id)| id)
        };
        found.iter().map(id).collect()
    }

    /// The records of those of these ids that live outside a department.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn records_elsewhere(
        &self,
        department: &DepartmentName,
        ids: &[&UserId],
    ) -> Result<Vec<User>, StoreError> {
        let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        let filter = doc! { "_id.id": { "$in": ids }, "_id.department": { "$ne": department.as_str() } };
        let found: Vec<RawDocumentBuf> = read(async { self.raw().find(filter).await?.try_collect().await }).await?;
        found.iter().map(|document| read_user(document)).collect()
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
