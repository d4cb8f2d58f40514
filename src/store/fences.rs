//! The `fences` collection: the epoch of each department, compared by every leader write.

use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};

use super::StoreError;
use super::error::{read, write};
use crate::domain::epoch::{Epoch, Leadership};
use crate::domain::ids::DepartmentName;

/// Name of the collection.
pub(super) const COLLECTION: &str = "fences";

/// The `fences` collection.
#[derive(Debug, Clone)]
pub struct Fences {
    database: Database,
    fences: Collection<Document>,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The fence now carries this leadership.
    Mine,
    /// The fence carries this higher or equal epoch of somebody else.
    Stale(Epoch),
}

// The only place that decides whether an epoch is compared. The feature `unfenced` takes the comparison out; only the
// test that proves the fence (it must fail then) is built so.

/// Narrows a filter to a document that no higher epoch has written: `fence: {$lte: epoch}`.
pub(super) fn not_above(mut filter: Document, leadership: &Leadership) -> Document {
    if !cfg!(feature = "unfenced") {
        filter.insert("fence", doc! { "$lte": leadership.epoch.0 });
    }
    filter
}

/// Narrows a filter to a document that carries exactly this epoch: `epoch: epoch`.
pub(super) fn exact_epoch(mut filter: Document, leadership: &Leadership) -> Document {
    if !cfg!(feature = "unfenced") {
        filter.insert("epoch", leadership.epoch.0);
    }
    filter
}

/// Whether the fence of the department carries another epoch than the leadership's.
pub(super) async fn is_fenced(database: &Database, leadership: &Leadership) -> Result<bool, StoreError> {
    if cfg!(feature = "unfenced") {
        return Ok(false);
    }
    let fences = database.collection::<Document>(COLLECTION);
    let found = read(fences.find_one(doc! { "_id": leadership.department.as_str() })).await?;
    Ok(found.and_then(|fence| fence.get_i64("epoch").ok()) != Some(leadership.epoch.0))
}

/// What a single-document leader write that matched nothing means.
pub(super) async fn fenced_or_stale(database: &Database, leadership: &Leadership) -> StoreError {
    match is_fenced(database, leadership).await {
        Ok(true) => StoreError::Fenced(leadership.epoch),
        Ok(false) => StoreError::Stale,
        Err(error) => error,
    }
}

impl Fences {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), fences: database.collection(COLLECTION) }
    }

    /// Claims the fence for a leadership: raises the epoch, resolves a lost reply by reading.
    ///
    /// # Errors
    /// When MongoDB does not answer; then the outcome is unknown and the claim may be repeated.
    pub async fn claim(&self, leadership: &Leadership, zxid: i64) -> Result<Claimed, StoreError> {
        let department = leadership.department.as_str();
        let filter = doc! { "_id": department, "epoch": { "$lt": leadership.epoch.0 } };
        let update = doc! {
            "$set": {
                "epoch": leadership.epoch.0,
                "zxid": zxid,
                "owner": leadership.replica.as_str(),
                "claim": &leadership.claim,
            },
            "$setOnInsert": { "ops": 0_i64 },
        };
        match write(self.fences.update_one(filter, update).upsert(true)).await {
            Ok(_) => return Ok(Claimed::Mine),
            // The fence has this epoch or a higher one: somebody else's claim, or our own whose reply was lost.
            Err(StoreError::Taken(_)) => {}
            Err(error) => return Err(error),
        }
        let found = read(self.fences.find_one(doc! { "_id": department })).await?.unwrap_or_default();
        let epoch = found.get_i64("epoch").unwrap_or(0);
        let mine = epoch == leadership.epoch.0 && found.get_str("claim").is_ok_and(|claim| claim == leadership.claim);
        Ok(if mine { Claimed::Mine } else { Claimed::Stale(Epoch(epoch)) })
    }

    /// Raises the fence to an epoch that the targets carry, so that the next claim is above it. Ends the leadership.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn raise(&self, leadership: &Leadership, to: Epoch) -> Result<(), StoreError> {
        let filter = exact_epoch(doc! { "_id": leadership.department.as_str() }, leadership);
        let set = doc! { "epoch": to.0, "owner": "", "claim": "" };
        write(self.fences.update_one(filter, doc! { "$set": set })).await.map(drop)
    }

    /// Raises `fence` of every open job of the department to the leadership's epoch.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn adopt_jobs(&self, leadership: &Leadership) -> Result<(), StoreError> {
        let department = leadership.department.as_str();
        let raise = doc! { "$max": { "fence": leadership.epoch.0 } };
        let adopt = async |collection: &str, open: Vec<&str>| {
            let filter = doc! { "_id.department": department, "state": { "$in": open } };
            let jobs = self.database.collection::<Document>(collection);
            write(jobs.update_many(filter, raise.clone())).await
        };
        // All at once, since one may wait for a transaction that somebody left open.
        let (backups, restores, barriers) = tokio::join!(
            adopt("backups", vec!["queued", "running"]),
            adopt("restores", vec!["queued", "planning", "planned", "applying"]),
            adopt("barriers", vec!["open"]),
        );
        backups.and(restores).and(barriers).map(drop)
    }

    /// The epoch that the fence of a department carries.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn epoch(&self, department: &DepartmentName) -> Result<Option<Epoch>, StoreError> {
        let found = read(self.fences.find_one(doc! { "_id": department.as_str() })).await?;
        Ok(found.and_then(|fence| fence.get_i64("epoch").ok()).map(Epoch))
    }
}
