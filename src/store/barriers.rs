//! The `barriers` collection: marks that the change stream shows in their place, and the receipts that answer them.

use mongodb::bson::{Bson, Document, doc};
use mongodb::{Collection, Database};

use super::StoreError;
use super::documents::heads::{journal_array, read_journal};
use super::documents::{Fields, binary, date, executor, executor_of};
use super::error::{read, write};
use super::fences::not_above;
use crate::domain::barrier::{Barrier, Receipt};
use crate::domain::clock::Timestamp;
use crate::domain::epoch::Leadership;
use crate::domain::history::{Chain, Sequence, Timeline};
use crate::domain::ids::{BarrierId, DepartmentName};

/// How long a barrier is kept; nobody asks for it after its request has been answered.
const KEPT_MILLIS: i64 = 3_600_000;

/// The id of what lets time pass in a department; no barrier has it.
pub(super) const TICK: &str = "tick";

/// The `barriers` collection.
#[derive(Debug, Clone)]
pub struct Barriers {
    barriers: Collection<Document>,
}

fn key(department: &DepartmentName, id: &BarrierId) -> Document {
    doc! { "department": department.as_str(), "id": id.as_str() }
}

fn receipt_document(receipt: &Receipt) -> Document {
    doc! {
        "timeline": receipt.timeline.0,
        "sequence": receipt.sequence.0,
        "chain": binary(&receipt.chain.0),
        "time": date(receipt.time),
        "copies": journal_array(&receipt.copies),
        "executed_by": executor(&receipt.executed_by),
    }
}

fn read_receipt(fields: &Fields<'_>, field: &str) -> Result<Receipt, StoreError> {
    let receipt = fields.sub(field)?;
    Ok(Receipt {
        timeline: Timeline(receipt.int("timeline")?),
        sequence: Sequence(receipt.int("sequence")?),
        chain: Chain(receipt.hash("chain")?),
        time: receipt.time("time")?,
        copies: read_journal(&receipt, "copies")?,
        executed_by: executor_of(&receipt, "executed_by")?,
    })
}

fn read_barrier(document: &Document) -> Result<Barrier, StoreError> {
    let fields = Fields::of("barriers", document);
    let key = fields.sub("_id")?;
    Ok(Barrier {
        id: key.parsed("id")?,
        department: key.parsed("department")?,
        requested_at: fields.time("requested_at")?,
        receipt: fields.opt("receipt", read_receipt)?,
    })
}

impl Barriers {
    pub(super) fn new(database: &Database) -> Self {
        Self { barriers: database.collection("barriers") }
    }

    /// Puts a barrier into the change stream, behind everything acknowledged before. No leader write: any replica may.
    ///
    /// # Errors
    /// When MongoDB does not answer; a barrier whose outcome is not known harms nobody.
    pub async fn insert(&self, barrier: &Barrier) -> Result<(), StoreError> {
        let document = doc! {
            "_id": key(&barrier.department, &barrier.id),
            "state": "open",
            "fence": 0_i64,
            "asked": 1_i64,
            "requested_at": date(barrier.requested_at),
            "expires_at": date(Timestamp::from_millis(barrier.requested_at.as_millis() + KEPT_MILLIS)),
            "receipt": Bson::Null,
        };
        write(self.barriers.insert_one(document)).await.map(drop)
    }

    /// One barrier.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self, department: &DepartmentName, id: &BarrierId) -> Result<Option<Barrier>, StoreError> {
        let found = read(self.barriers.find_one(doc! { "_id": key(department, id) })).await?;
        found.as_ref().map(read_barrier).transpose()
    }

    /// Asks for every open barrier again, so that a change stream that was opened after it shows it too.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn ask_again(&self, leadership: &Leadership) -> Result<(), StoreError> {
        let open = doc! { "_id.department": leadership.department.as_str(), "state": "open" };
        let again = doc! { "$inc": { "asked": 1_i64 } };
        write(self.barriers.update_many(not_above(open, leadership), again)).await.map(drop)
    }

    /// Puts a tick into the change stream of a department: what comes by there has a time, so time passes in a department in
    /// which nobody writes. It is not fenced: whoever ticks, it says nothing but the time.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn tick(&self, department: &DepartmentName) -> Result<(), StoreError> {
        let tick = doc! { "_id": { "department": department.as_str(), "id": TICK } };
        write(self.barriers.update_one(tick, doc! { "$inc": { "ticks": 1_i64 } }).upsert(true)).await.map(drop)
    }

    /// Gives open barriers their receipt, fenced in the filter.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn resolve(
        &self,
        leadership: &Leadership,
        ids: &[BarrierId],
        receipt: &Receipt,
    ) -> Result<(), StoreError> {
        let keys: Vec<Document> = ids.iter().map(|id| key(&leadership.department, id)).collect();
        let open = doc! { "_id": { "$in": keys }, "state": "open" };
        let set = doc! { "state": "passed", "fence": leadership.epoch.0, "receipt": receipt_document(receipt) };
        write(self.barriers.update_many(not_above(open, leadership), doc! { "$set": set })).await.map(drop)
    }
}
