//! The `audit` collection, and the writes that bring their record along.
//!
//! Rule: the record is in the transaction that has the effect. A process that dies before the commit leaves neither, one that
//! dies after it leaves both, and a caller that got no answer finds in `audit` whether it was done.

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::{Collection, Database};

use super::StoreError;
use super::documents::audit::{audit_document, read_audit};
use super::documents::date;
use super::documents::names::Named as _;
use super::error::{read, write};
use super::txn::Txn;
use crate::domain::audit::{AuditFilter, AuditOutcome, AuditRecord};
use crate::domain::clock::Timestamp;
use crate::domain::ids::AuditId;

const COLLECTION: &str = "audit";

/// The `audit` collection.
#[derive(Debug, Clone)]
pub struct Audit {
    records: Collection<Document>,
}

impl Audit {
    pub(super) fn new(database: &Database) -> Self {
        Self { records: database.collection(COLLECTION) }
    }

    /// Records, newest first by (`at`, id); `before` is the last key of the page before.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn list(
        &self,
        filter: &AuditFilter,
        before: Option<&(Timestamp, AuditId)>,
        limit: usize,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let find = self.records.find(matching(filter, before)).sort(doc! { "at": -1, "_id": -1 }).limit(limit);
        let found: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        found.iter().map(read_audit).collect()
    }

    /// Writes a record before its effect, where that cannot be in one transaction with it.
    ///
    /// # Errors
    /// When MongoDB does not answer; then the effect must not be.
    pub async fn begin(&self, record: &AuditRecord) -> Result<(), StoreError> {
        write(self.records.insert_one(audit_document(record))).await.map(drop)
    }

    /// Says how what a record began has ended.
    ///
    /// # Errors
    /// When MongoDB does not answer; then the record still says that it was begun.
    pub async fn settle(&self, id: &AuditId, outcome: AuditOutcome) -> Result<(), StoreError> {
        let set = doc! { "$set": { "outcome": outcome.name() } };
        write(self.records.update_one(doc! { "_id": id.as_str() }, set)).await.map(drop)
    }
}

fn matching(filter: &AuditFilter, before: Option<&(Timestamp, AuditId)>) -> Document {
    let AuditFilter { department, caller, actions, since, until } = filter;
    let mut query = Document::new();
    if let Some(department) = department {
        query.insert("department", department.as_str());
    }
    if let Some(caller) = caller {
        query.insert("caller", caller);
    }
    if !actions.is_empty() {
        query.insert("action", doc! { "$in": actions.iter().map(|action| action.name()).collect::<Vec<_>>() });
    }
    let mut at = Document::new();
    if let Some(since) = since {
        at.insert("$gte", date(*since));
    }
    if let Some(until) = until {
        at.insert("$lt", date(*until));
    }
    if let Some((last, id)) = before {
        let same = doc! { "at": date(*last), "_id": { "$lt": id.as_str() } };
        query.insert("$or", vec![doc! { "at": { "$lt": date(*last) } }, same]);
    }
    if !at.is_empty() {
        query.insert("at", at);
    }
    query
}

/// Writes a record within the transaction of its effect.
pub(super) async fn put(txn: &mut Txn, record: &AuditRecord) -> Result<(), StoreError> {
    txn.insert(COLLECTION, audit_document(record)).await
}

/// Changes one document that matches, and writes the record of that.
///
/// # Errors
/// `Stale` when none matches; then there is no record either.
pub(super) async fn update_recorded(
    database: &Database,
    collection: &str,
    filter: Document,
    update: impl Into<Bson>,
    record: &AuditRecord,
) -> Result<(), StoreError> {
    let command =
        doc! { "findAndModify": collection, "query": filter, "update": update.into(), "fields": { "_id": 1 } };
    let mut txn = Txn::plain(database).await?;
    loop {
        let outcome = match txn.run(command.clone()).await {
            Ok(reply) if reply.get_document("value").is_ok() => put(&mut txn, record).await,
            Ok(_) => Err(StoreError::Stale),
            Err(error) => Err(error),
        };
        if let Some(()) = txn.finish(outcome).await? {
            return Ok(());
        }
    }
}

/// Inserts a document, and writes the record of that.
pub(super) async fn insert_recorded(
    database: &Database,
    collection: &str,
    document: Document,
    record: &AuditRecord,
) -> Result<(), StoreError> {
    let mut txn = Txn::plain(database).await?;
    loop {
        let outcome = match txn.insert(collection, document.clone()).await {
            Ok(()) => put(&mut txn, record).await,
            Err(error) => Err(error),
        };
        if let Some(()) = txn.finish(outcome).await? {
            return Ok(());
        }
    }
}
