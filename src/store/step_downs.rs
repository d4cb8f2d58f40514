//! Wishes that a leadership goes to another replica: one document a department, among the barriers, whose events every
//! leader hears.

use mongodb::Database;
use mongodb::bson::{Document, doc};

use super::StoreError;
use super::documents::{Fields, date};
use super::error::{read, write};
use super::txn::Txn;
use crate::domain::epoch::{Epoch, Leadership};
use crate::domain::ids::DepartmentName;
use crate::domain::step_down::{StepDown, StepDownReason};

/// The id of the document, which is no barrier.
pub(super) const ID: &str = "step_down";

/// The wishes among the barriers.
#[derive(Debug, Clone)]
pub struct StepDowns {
    database: Database,
}

fn key(department: &DepartmentName) -> Document {
    doc! { "department": department.as_str(), "id": ID }
}

/// The wish in place of the one before: only the last one counts.
fn update_of(wish: &StepDown) -> Document {
    doc! { "$set": {
        "state": "asked",
        "epoch": wish.epoch.0,
        "to": wish.to.as_str(),
        "balance": wish.reason == StepDownReason::Balance,
        "requested_at": date(wish.requested_at),
        "expires_at": date(wish.void_at()),
    } }
}

fn read_wish(document: &Document) -> Result<StepDown, StoreError> {
    let fields = Fields::of("barriers", document);
    let balance = fields.flag("balance")?;
    Ok(StepDown {
        department: fields.sub("_id")?.parsed("department")?,
        epoch: Epoch(fields.int("epoch")?),
        to: fields.parsed("to")?,
        reason: if balance { StepDownReason::Balance } else { StepDownReason::Asked },
        requested_at: fields.time("requested_at")?,
    })
}

impl StepDowns {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Records a wish. No leader write: any replica may, and it is void for every epoch but the one that it names.
    ///
    /// # Errors
    /// When MongoDB does not answer; it may be asked again.
    pub async fn ask(&self, wish: &StepDown) -> Result<(), StoreError> {
        let barriers = self.database.collection::<Document>("barriers");
        let filter = doc! { "_id": key(&wish.department) };
        write(barriers.update_one(filter, update_of(wish)).upsert(true)).await.map(drop)
    }

    /// Records a wish of whoever balances, which is the leader of another department.
    ///
    /// # Errors
    /// `Fenced` when it leads that one no more.
    pub async fn ask_as(&self, balancer: &Leadership, wish: &StepDown) -> Result<(), StoreError> {
        let update = doc! { "q": { "_id": key(&wish.department) }, "u": update_of(wish), "upsert": true };
        let mut txn = Txn::fenced(&self.database, balancer).await?;
        loop {
            let outcome = txn.run(doc! { "update": "barriers", "updates": [update.clone()] }).await.map(drop);
            if let Some(()) = txn.finish(outcome).await? {
                return Ok(());
            }
        }
    }

    /// The last wish of a department, void or not.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self, department: &DepartmentName) -> Result<Option<StepDown>, StoreError> {
        let barriers = self.database.collection::<Document>("barriers");
        let found = read(barriers.find_one(doc! { "_id": key(department) })).await?;
        found.as_ref().map(read_wish).transpose()
    }

    /// Whether a backup or a restore of the department is under way.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn is_busy(&self, department: &DepartmentName) -> Result<bool, StoreError> {
        for (jobs, states) in
            [("backups", vec!["queued", "running"]), ("restores", vec!["queued", "planning", "applying"])]
        {
            let open = doc! { "_id.department": department.as_str(), "state": { "$in": states } };
            if read(self.database.collection::<Document>(jobs).find_one(open)).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
