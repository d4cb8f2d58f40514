//! What is left of a deleted department in MongoDB, and its end.
//!
//! Rule: the department itself goes last, in a fenced transaction that sees it deleted, without users, backups and jobs; what
//! a PUT makes of it in the same moment conflicts with that. Head and fence stay.

use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};

use super::StoreError;
use super::documents::names::Named as _;
use super::documents::users::rev_bits;
use super::error::read;
use super::pins::OPEN;
use super::txn::Txn;
use crate::domain::department::DepartmentState;
use crate::domain::epoch::Leadership;
use crate::domain::ids::DepartmentName;
use crate::domain::user::Rev;

/// Documents that are deleted in one transaction.
const AT_ONCE: i64 = 500;

/// Departments that end.
#[derive(Debug, Clone)]
pub struct Retired {
    database: Database,
}

/// Backups that are not over: not deleted, or some target has not heard that they are.
fn unsettled(department: &DepartmentName) -> Document {
    doc! {
        "_id.department": department.as_str(),
        "$or": [{ "state": { "$ne": "deleted" } }, { "untold": { "$exists": true } }],
    }
}

fn open_restores(department: &DepartmentName) -> Document {
    doc! { "_id.department": department.as_str(), "state": { "$in": OPEN.as_slice() } }
}

impl Retired {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Whether every backup of a department is deleted and every target has heard of it, and no job is open.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn is_settled(&self, department: &DepartmentName) -> Result<bool, StoreError> {
        for (collection, filter) in [("backups", unsettled(department)), ("restores", open_restores(department))] {
            let found = self.database.collection::<Document>(collection);
            if read(found.find_one(filter)).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Forgets everything of a deleted department but its head and its fence. Tells whether it did: not when somebody has
    /// made it again, or something of it is there.
    ///
    /// # Errors
    /// `Fenced`; when MongoDB does not answer.
    pub async fn forget(&self, leadership: &Leadership, rev: Rev) -> Result<bool, StoreError> {
        let department = leadership.department.as_str();
        let restores = self.database.collection::<Document>("restores");
        while let Some(restore) = read(restores.find_one(doc! { "_id.department": department })).await? {
            let id = restore.get_document("_id").and_then(|key| key.get_str("id")).unwrap_or_default();
            // Its batches hold records; it goes after them.
            self.forget_all(leadership, rev, "restore_batches", doc! { "_id.restore": id }).await?;
            if self.forget_some(leadership, rev, "restores", doc! { "_id.id": id }).await?.0 == 0 {
                return Ok(false);
            }
        }
        self.forget_all(leadership, rev, "backups", doc! { "_id.department": department }).await?;
        self.forget_all(leadership, rev, "barriers", doc! { "_id.department": department }).await?;
        let mut txn = Txn::fenced(&self.database, leadership).await?;
        loop {
            let outcome = forget_department(&mut txn, leadership, rev).await;
            if let Some(done) = txn.finish(outcome).await? {
                return Ok(done);
            }
        }
    }

    async fn forget_all(
        &self,
        leadership: &Leadership,
        rev: Rev,
        collection: &str,
        filter: Document,
    ) -> Result<(), StoreError> {
        while let (1.., true) = self.forget_some(leadership, rev, collection, filter.clone()).await? {}
        Ok(())
    }

    /// Deletes some documents that match; tells how many, and whether the department is still deleted.
    async fn forget_some(
        &self,
        leadership: &Leadership,
        rev: Rev,
        collection: &str,
        filter: Document,
    ) -> Result<(usize, bool), StoreError> {
        let mut txn = Txn::fenced(&self.database, leadership).await?;
        loop {
            let outcome = delete_some(&mut txn, leadership, rev, (collection, filter.clone())).await;
            if let Some(deleted) = txn.finish(outcome).await? {
                return Ok(deleted);
            }
        }
    }
}

async fn delete_some(
    txn: &mut Txn,
    leadership: &Leadership,
    rev: Rev,
    (collection, filter): (&str, Document),
) -> Result<(usize, bool), StoreError> {
    if !still_deleted(txn, leadership, rev).await? {
        return Ok((0, false));
    }
    let find = doc! { "find": collection, "filter": filter, "projection": { "_id": 1 }, "limit": AT_ONCE, "singleBatch": true };
    let found = first_batch(&txn.run(find).await?);
    if found.is_empty() {
        return Ok((0, true));
    }
    let ids: Vec<Bson> = found.iter().filter_map(|document| document.get("_id").cloned()).collect();
    let count = ids.len();
    let delete = doc! { "q": { "_id": { "$in": ids } }, "limit": 0 };
    txn.run(doc! { "delete": collection, "deletes": [delete] }).await?;
    Ok((count, true))
}

async fn forget_department(txn: &mut Txn, leadership: &Leadership, rev: Rev) -> Result<bool, StoreError> {
    let name = leadership.department.as_str();
    if !still_deleted(txn, leadership, rev).await? {
        return Ok(false);
    }
    for collection in ["users", "backups", "restores"] {
        let find = doc! { "find": collection, "filter": { "_id.department": name }, "limit": 1, "singleBatch": true };
        if !first_batch(&txn.run(find).await?).is_empty() {
            return Ok(false);
        }
    }
    let delete = doc! { "q": { "_id": name }, "limit": 1 };
    txn.run(doc! { "delete": "departments", "deletes": [delete] }).await?;
    Ok(true)
}

async fn still_deleted(txn: &mut Txn, leadership: &Leadership, rev: Rev) -> Result<bool, StoreError> {
    let deleted = doc! {
        "_id": leadership.department.as_str(),
        "state": DepartmentState::Deleted.name(),
        "rev": rev_bits(rev),
    };
    Ok(!txn.find("departments", deleted).await?.is_empty())
}

fn first_batch(reply: &Document) -> Vec<Document> {
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    batch.map(|batch| batch.iter().filter_map(Bson::as_document).cloned().collect()).unwrap_or_default()
}
