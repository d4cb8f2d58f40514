//! The `idempotency` collection: what became of requests that came with a key, for all replicas.
//!
//! Rule: a record is there before its request has any effect, and one execution at a time holds it. The server's clock
//! alone judges leases.

use std::time::Duration;

use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::ReturnDocument;
use mongodb::{Collection, Database};

use super::StoreError;
use super::documents::users::{rev_bits, rev_of};
use super::documents::{Fields, binary};
use super::error::write;
use crate::domain::idempotency::{Answer, Found, Hold, KeyedRequest, LEASE, REMEMBERED_FOR, Seed};

const COLLECTION: &str = "idempotency";

/// The `idempotency` collection.
#[derive(Debug, Clone)]
pub struct Idempotency {
    records: Collection<Document>,
}

/// A moment after the present one of the server.
fn from_now(duration: Duration) -> Document {
    doc! { "$add": ["$$NOW", i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)] }
}

impl Idempotency {
    pub(super) fn new(database: &Database) -> Self {
        Self { records: database.collection(COLLECTION) }
    }

    /// Takes a request, where nobody has it: one that is new, or whose execution broke off. `seed` is for a new one.
    ///
    /// # Errors
    /// When MongoDB does not answer; nothing has had an effect then.
    pub async fn take(&self, request: &KeyedRequest, holder: &str, seed: &Seed) -> Result<Found, StoreError> {
        let record = match self.record(request, holder, seed).await {
            // Two of them made the record at the same time: now there is one.
            Err(StoreError::Taken(_)) => self.record(request, holder, seed).await?,
            record => record?,
        };
        read_found(&record, request, holder)
    }

    async fn record(&self, request: &KeyedRequest, holder: &str, seed: &Seed) -> Result<Document, StoreError> {
        let new = doc! {
            "_id": "$_id",
            "fingerprint": &request.fingerprint,
            "state": "running",
            "holder": holder,
            "lease_until": from_now(LEASE),
            "executions": 1_i64,
            "id": seed.id.to_string(),
            "rev": rev_bits(seed.rev),
            "created_at": "$$NOW",
            "expires_at": from_now(REMEMBERED_FOR),
        };
        let again = doc! {
            "state": "running",
            "holder": holder,
            "lease_until": from_now(LEASE),
            "executions": { "$add": ["$executions", 1_i64] },
        };
        let left = doc! { "$and": [
            { "$eq": ["$fingerprint", &request.fingerprint] },
            { "$eq": ["$state", "running"] },
            { "$lte": ["$lease_until", "$$NOW"] },
        ] };
        let taken = doc! { "$cond": [left, { "$mergeObjects": ["$$ROOT", again] }, "$$ROOT"] };
        let is_new = doc! { "$eq": [{ "$type": "$fingerprint" }, "missing"] };
        let update = vec![doc! { "$replaceWith": { "$cond": [is_new, new, taken] } }];
        let take = self.records.find_one_and_update(doc! { "_id": &request.name }, update);
        let record = write(take.upsert(true).return_document(ReturnDocument::After)).await?;
        record.ok_or_else(|| StoreError::Corrupt {
            collection: COLLECTION,
            reason: "a record that was just written is absent".to_owned(),
        })
    }

    /// Says that the execution goes on; whether it still holds the request.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn renew(&self, hold: &Hold) -> Result<bool, StoreError> {
        let update = vec![doc! { "$set": { "lease_until": from_now(LEASE) } }];
        Ok(write(self.records.update_one(held(hold), update)).await?.matched_count == 1)
    }

    /// Keeps the answer, if the execution still holds the request.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn finish(&self, hold: &Hold, answer: &Answer) -> Result<(), StoreError> {
        let headers: Vec<Bson> =
            answer.headers.iter().map(|(name, value)| doc! { "name": name, "value": value }.into()).collect();
        let answer = doc! { "status": i64::from(answer.status), "headers": headers, "body": binary(&answer.body) };
        let update =
            doc! { "$set": { "state": "done", "answer": answer }, "$unset": { "holder": "", "lease_until": "" } };
        write(self.records.update_one(held(hold), update)).await.map(drop)
    }

    /// Gives the request back unanswered: whoever repeats it carries it out.
    ///
    /// # Errors
    /// When MongoDB does not answer; the lease ends by itself.
    pub async fn give_back(&self, hold: &Hold) -> Result<(), StoreError> {
        let update = doc! { "$set": { "lease_until": DateTime::from_millis(0) } };
        write(self.records.update_one(held(hold), update)).await.map(drop)
    }
}

fn held(hold: &Hold) -> Document {
    doc! { "_id": &hold.name, "state": "running", "holder": &hold.holder }
}

fn read_found(record: &Document, request: &KeyedRequest, holder: &str) -> Result<Found, StoreError> {
    let fields = Fields::of(COLLECTION, record);
    if fields.text("fingerprint")? != request.fingerprint {
        return Ok(Found::Another);
    }
    if fields.text("state")? == "done" {
        return read_answer(&fields.sub("answer")?).map(Found::Done);
    }
    if fields.text("holder")? != holder {
        return Ok(Found::Running);
    }
    let seed = Seed { id: fields.parsed("id")?, rev: rev_of(fields.int("rev")?) };
    let repeated = fields.int("executions")? > 1;
    Ok(Found::Free(Hold { name: request.name.clone(), holder: holder.to_owned(), seed, repeated }))
}

fn read_answer(fields: &Fields<'_>) -> Result<Answer, StoreError> {
    let status = u16::try_from(fields.int("status")?).unwrap_or(500);
    let headers = fields.list("headers", |header| Ok((header.owned("name")?, header.owned("value")?)))?;
    Ok(Answer { status, headers, body: fields.bytes("body")? })
}
