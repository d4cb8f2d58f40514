//! The `departments` collection.

use std::sync::Arc;

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::change_stream::event::ResumeToken;
use mongodb::{Collection, Database};

use super::StoreError;
use super::audit::{put, update_recorded};
use super::barriers::Barriers;
use super::documents::departments::{department_document, policy_document, read_department};
use super::documents::heads::{empty_beginning, fresh_head};
use super::documents::names::Named as _;
use super::documents::users::rev_bits;
use super::documents::{date, long, opt_date};
use super::error::read;
use super::fences::COLLECTION as FENCES;
use super::heads::cluster_time_now;
use super::txn::Txn;
use crate::domain::audit::AuditRecord;
use crate::domain::clock::Timestamp;
use crate::domain::department::{Department, DepartmentState, Policy};
use crate::domain::epoch::Leadership;
use crate::domain::ids::DepartmentName;
use crate::domain::user::Rev;

/// The `departments` collection.
#[derive(Debug, Clone)]
pub struct Departments {
    database: Database,
    collection: Collection<Document>,
    /// Where the watch of `changed` goes on, so that nothing is missed between two calls.
    watched: Arc<tokio::sync::Mutex<Option<ResumeToken>>>,
}

impl Departments {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), collection: database.collection("departments"), watched: Arc::default() }
    }

    /// One department, deleted ones included.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self, name: &DepartmentName) -> Result<Option<Department>, StoreError> {
        let found = read(self.collection.find_one(doc! { "_id": name.as_str() })).await?;
        found.as_ref().map(read_department).transpose()
    }

    /// Active departments after a name, in the order of names.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn list(&self, after: Option<&DepartmentName>, limit: usize) -> Result<Vec<Department>, StoreError> {
        let mut filter = doc! { "state": DepartmentState::Active.name() };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": after.as_str() });
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let find = self.collection.find(filter).sort(doc! { "_id": 1 }).limit(limit);
        let found: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        found.iter().map(read_department).collect()
    }

    /// Names of all departments that need a leader, deleted ones included (their history goes on).
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn names(&self) -> Result<Vec<DepartmentName>, StoreError> {
        let find = self.collection.find(doc! {}).projection(doc! { "_id": 1 }).sort(doc! { "_id": 1 });
        let found: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        let name = |document: &Document| {
            document.get_str("_id").ok().and_then(|name| name.parse().ok()).ok_or_else(|| StoreError::Corrupt {
                collection: "departments",
                reason: "the `_id` is not a department name".to_owned(),
            })
        };
        found.iter().map(name).collect()
    }

    /// Resolves when the set of departments may have changed, at the latest after `within`.
    /// Watches with a change stream; a broken stream also resolves.
    pub async fn changed(&self, within: std::time::Duration) {
        // Whoever waits again after an outage should not spin.
        let pause = std::time::Duration::from_millis(500).min(within);
        match tokio::time::timeout(within, self.wait_for_change()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "watch departments");
                *self.watched.lock().await = None;
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Makes a department, or makes a deleted one active again, and its head where there is none: one transaction
    /// that records where the history begins (sequence 0 at the present cluster time), and who did it, if a caller did.
    ///
    /// # Errors
    /// `Stale` when an active one exists.
    pub async fn insert(&self, department: &Department, record: Option<&AuditRecord>) -> Result<(), StoreError> {
        let at = cluster_time_now(&self.database).await?;
        let source = super::source_of(&self.database).await?;
        let mut head = fresh_head(&source, at);
        head.insert("epoch", 0_i64);
        if self.had_no_users(&department.name).await? {
            head.insert("begin", empty_beginning(at));
        }
        let mut txn = Txn::plain(&self.database).await?;
        loop {
            let outcome = match (put_department(&mut txn, department, &head).await, record) {
                (Ok(()), Some(record)) => put(&mut txn, record).await,
                (outcome, _) => outcome,
            };
            if let Some(()) = txn.finish(outcome).await? {
                return Ok(());
            }
        }
    }

    /// Whether a department has no users, of those made before now. Later ones come by in the change stream.
    ///
    /// A write that a majority has makes sure that a majority has whatever came before it too. (A read after the cluster
    /// time would do the same, but waits until somebody writes: an aborted write moves that time, and not the oplog.)
    async fn had_no_users(&self, name: &DepartmentName) -> Result<bool, StoreError> {
        Barriers::new(&self.database).tick(name).await?;
        let users = self.database.collection::<Document>("users");
        let found = read(users.find_one(doc! { "_id.department": name.as_str() })).await?;
        Ok(found.is_none())
    }

    /// Writes the policy if the rev is still `guard`; sets the rev and `updated_at` of `department`.
    ///
    /// # Errors
    /// `Stale` when the rev differs.
    pub async fn replace_policy(
        &self,
        department: &Department,
        guard: Rev,
        record: &AuditRecord,
    ) -> Result<(), StoreError> {
        let filter = doc! {
            "_id": department.name.as_str(),
            "rev": rev_bits(guard),
            "state": DepartmentState::Active.name(),
        };
        let set = doc! {
            "policy": policy_document(&department.policy),
            "rev": rev_bits(department.rev),
            "updated_at": date(department.updated_at),
        };
        update_recorded(&self.database, "departments", filter, doc! { "$set": set }, record).await
    }

    /// Sets the state to deleted if the rev is still `guard`, or back to active, at the time of the record.
    ///
    /// # Errors
    /// `Stale` when the rev differs.
    pub async fn set_deleted(
        &self,
        name: &DepartmentName,
        guard: Rev,
        deleted: bool,
        rev: Rev,
        record: &AuditRecord,
    ) -> Result<(), StoreError> {
        let state = if deleted { DepartmentState::Deleted } else { DepartmentState::Active };
        let filter = doc! { "_id": name.as_str(), "rev": rev_bits(guard) };
        let set = doc! { "state": state.name(), "rev": rev_bits(rev), "updated_at": date(record.at) };
        let touch = doc! { "q": { "_id": name.as_str() }, "u": { "$inc": { "ops": 1_i64 } } };
        let mut txn = Txn::plain(&self.database).await?;
        loop {
            let outcome = async {
                txn.set("departments", filter.clone(), doc! { "$set": set.clone() }).await?;
                // Every range of a restore modifies the fence, so one that saw the old state does not commit after this.
                txn.run(doc! { "update": FENCES, "updates": [touch.clone()] }).await?;
                put(&mut txn, record).await
            };
            let outcome = outcome.await;
            if let Some(()) = txn.finish(outcome).await? {
                return Ok(());
            }
        }
    }

    /// Takes a slot of the schedule, exactly once over all leaders: one fenced transaction that moves
    /// `schedule.last_slot` from `last` to `slot`, adds `missed`, and inserts the queued backup. The slot's backup is
    /// absent when the slot is only counted as missed.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when another leader took the slot.
    pub async fn take_slot(
        &self,
        leadership: &Leadership,
        last: Option<Timestamp>,
        slot: Timestamp,
        missed: u64,
        backup: Option<&crate::domain::backup::Backup>,
    ) -> Result<(), StoreError> {
        let mut txn = Txn::fenced(&self.database, leadership).await?;
        loop {
            let outcome = move_slot(&mut txn, leadership, (last, slot), missed, backup).await;
            if let Some(()) = txn.finish(outcome).await? {
                return Ok(());
            }
        }
    }

    /// Reads a policy for the leader.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn policy(&self, name: &DepartmentName) -> Result<Option<Policy>, StoreError> {
        Ok(self.get(name).await?.map(|department| department.policy))
    }

    /// Waits for an event after the last one that was told. The first call tells at once that it has begun to watch.
    async fn wait_for_change(&self) -> mongodb::error::Result<()> {
        let mut watched = self.watched.lock().await;
        let pipeline = [doc! { "$match": { "operationType": { "$ne": "update" } } }];
        let mut watch = self.collection.watch().pipeline(pipeline).max_await_time(std::time::Duration::from_secs(1));
        let first = watched.is_none();
        if let Some(token) = watched.clone() {
            watch = watch.resume_after(token);
        }
        let mut stream = watch.await?.with_type::<mongodb::bson::RawDocumentBuf>();
        loop {
            let event = stream.next_if_any().await?;
            watched.clone_from(&stream.resume_token());
            if first || event.is_some() || !stream.is_alive() {
                return Ok(());
            }
        }
    }
}

/// Makes the department or revives a deleted one, and its head where there is none.
async fn put_department(txn: &mut Txn, department: &Department, head: &Document) -> Result<(), StoreError> {
    let name = department.name.as_str();
    let found = txn.find("departments", doc! { "_id": name }).await?;
    match found.first().map(read_department).transpose()? {
        None => txn.insert("departments", department_document(department)).await?,
        Some(old) if old.state == DepartmentState::Deleted => {
            let set = doc! {
                "state": DepartmentState::Active.name(),
                "policy": policy_document(&department.policy),
                "rev": rev_bits(department.rev),
                "updated_at": date(department.updated_at),
            };
            txn.set("departments", doc! { "_id": name, "rev": rev_bits(old.rev) }, doc! { "$set": set }).await?;
        }
        Some(_) => return Err(StoreError::Stale),
    }
    let update = doc! { "q": { "_id": name }, "u": { "$setOnInsert": head.clone() }, "upsert": true };
    txn.run(doc! { "update": "heads", "updates": [update] }).await.map(drop)
}

/// Moves the schedule from one slot to the next and records the backup of the new one.
async fn move_slot(
    txn: &mut Txn,
    leadership: &Leadership,
    (last, slot): (Option<Timestamp>, Timestamp),
    missed: u64,
    backup: Option<&crate::domain::backup::Backup>,
) -> Result<(), StoreError> {
    let filter = doc! { "_id": leadership.department.as_str(), "schedule.last_slot": opt_date(last) };
    let update = doc! {
        "$set": { "schedule.last_slot": date(slot) },
        "$max": { "fence": leadership.epoch.0 },
        "$inc": { "schedule.missed_slots": long(missed) },
    };
    txn.set("departments", filter, update).await?;
    match backup {
        Some(backup) => {
            let document = super::documents::backups::backup_document(backup, leadership.epoch);
            txn.insert("backups", document).await
        }
        None => Ok(()),
    }
}
