//! The `restores` collection: restore jobs.

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};

use super::StoreError;
use super::audit::{insert_recorded, update_recorded};
use super::backups::page_filter;
use super::documents::names::Named as _;
use super::documents::restores::{plan_document, point_document, read_restore, restore_document, restore_key};
use super::documents::{cause as cause_document, date, executor, long};
use super::error::{read, write};
use super::fences::{fenced_or_stale, not_above};
use super::txn::Txn;
use crate::domain::audit::AuditRecord;
use crate::domain::cause::Cause;
use crate::domain::clock::Timestamp;
use crate::domain::epoch::{Executor, Leadership};
use crate::domain::ids::{BackupId, DepartmentName, RestoreId};
use crate::domain::restore::{Plan, Restore, RestorePoint, RestoreState};

/// The `restores` collection.
#[derive(Debug, Clone)]
pub struct Restores {
    database: Database,
    restores: Collection<Document>,
}

/// Which restores a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreFilter {
    /// Only this department.
    pub department: Option<DepartmentName>,
    /// Only these states; empty means all.
    pub states: Vec<RestoreState>,
}

const OPEN: [&str; 4] = ["queued", "planning", "planned", "applying"];

impl Restores {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), restores: database.collection("restores") }
    }

    pub(super) const fn database(&self) -> &Database {
        &self.database
    }

    async fn find(&self, filter: Document, sort: Document, limit: usize) -> Result<Vec<Restore>, StoreError> {
        let find = self.restores.find(filter).sort(sort).limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        found.iter().map(read_restore).collect()
    }

    /// Records a wish about a restore that still matches.
    async fn wish(&self, filter: Document, set: Document, record: &AuditRecord) -> Result<(), StoreError> {
        update_recorded(&self.database, "restores", filter, doc! { "$set": set }, record).await
    }

    /// Sets fields of one restore in one of these states, in a fenced transaction; returns it as it is after that.
    async fn move_on(
        &self,
        leadership: &Leadership,
        id: &RestoreId,
        states: &[&str],
        update: impl Into<mongodb::bson::Bson>,
    ) -> Result<Restore, StoreError> {
        self.move_where(leadership, id, doc! { "state": { "$in": states } }, update).await
    }

    /// The same, for one that matches.
    async fn move_where(
        &self,
        leadership: &Leadership,
        id: &RestoreId,
        mut filter: Document,
        update: impl Into<mongodb::bson::Bson>,
    ) -> Result<Restore, StoreError> {
        filter.insert("_id", restore_key(&leadership.department, id));
        let command = doc! { "findAndModify": "restores", "query": filter, "update": update.into(), "new": true };
        let mut txn = Txn::fenced(&self.database, leadership).await?;
        loop {
            let outcome = txn.run(command.clone()).await.and_then(|reply| match reply.get_document("value") {
                Ok(restore) => read_restore(restore),
                Err(_) => Err(StoreError::Stale),
            });
            if let Some(restore) = txn.finish(outcome).await? {
                return Ok(restore);
            }
        }
    }

    /// One restore, in any department.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self, id: &RestoreId) -> Result<Option<Restore>, StoreError> {
        let found = read(self.restores.find_one(doc! { "_id.id": id.as_str() })).await?;
        found.as_ref().map(read_restore).transpose()
    }

    /// Restores, newest first by (`requested_at`, id).
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn list(
        &self,
        filter: &RestoreFilter,
        before: Option<&(Timestamp, RestoreId)>,
        limit: usize,
    ) -> Result<Vec<Restore>, StoreError> {
        let states: Vec<&str> = filter.states.iter().map(|state| state.name()).collect();
        let before = before.map(|(at, id)| (*at, id.as_str()));
        let query = page_filter(filter.department.as_ref(), &states, before);
        self.find(query, doc! { "requested_at": -1, "_id.id": -1 }, limit).await
    }

    /// Records the wish for a restore (state `queued`). No leader write.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn insert(&self, restore: &Restore, record: &AuditRecord) -> Result<(), StoreError> {
        insert_recorded(&self.database, "restores", restore_document(restore), record).await
    }

    /// Records the wish to apply a planned restore whose plan has this hash. No leader write.
    ///
    /// # Errors
    /// `Stale` when it is not `planned`, its plan has another hash, or somebody asked to stop it.
    pub async fn request_apply(&self, id: &RestoreId, plan_hash: &str, record: &AuditRecord) -> Result<(), StoreError> {
        let filter =
            doc! { "_id.id": id.as_str(), "state": "planned", "plan.hash": plan_hash, "cancel_requested": false };
        self.wish(filter, doc! { "apply": true }, record).await
    }

    /// Records the wish to stop a restore that has not ended. No leader write.
    ///
    /// # Errors
    /// `Stale` when it has ended.
    pub async fn request_cancel(&self, id: &RestoreId, record: &AuditRecord) -> Result<(), StoreError> {
        let filter = doc! { "_id.id": id.as_str(), "state": { "$in": OPEN.as_slice() } };
        self.wish(filter, doc! { "cancel_requested": true }, record).await
    }

    /// Restores of a department that have not ended, oldest first.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn open(&self, department: &DepartmentName) -> Result<Vec<Restore>, StoreError> {
        let filter = doc! { "_id.department": department.as_str(), "state": { "$in": OPEN.as_slice() } };
        self.find(filter, doc! { "requested_at": 1, "_id.id": 1 }, usize::MAX).await
    }

    /// Takes up a restore that has not ended in a fenced transaction: `executed_by`, `fence`; `queued` becomes
    /// `planning`. Returns it as it is after that, with the newest checkpoint.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it has ended.
    pub async fn take(&self, leadership: &Leadership, id: &RestoreId, now: Timestamp) -> Result<Restore, StoreError> {
        // A pipeline, because the next state and the start depend on what is there.
        let state = doc! { "$cond": [{ "$eq": ["$state", "queued"] }, "planning", "$state"] };
        let set = doc! {
            "state": state,
            "executed_by": { "$literal": executor(&Executor::from(leadership)) },
            "started_at": { "$ifNull": ["$started_at", date(now)] },
            "fence": leadership.epoch.0,
        };
        self.move_on(leadership, id, &OPEN, vec![doc! { "$set": set }]).await
    }

    /// Names the safety backup of a restore, fenced in its filter.
    ///
    /// # Errors
    /// `Fenced` when nothing matched.
    pub async fn set_safety_backup(
        &self,
        leadership: &Leadership,
        id: &RestoreId,
        backup: &BackupId,
    ) -> Result<(), StoreError> {
        let filter = doc! {
            "_id": restore_key(&leadership.department, id),
            "state": { "$in": OPEN.as_slice() },
        };
        let set = doc! { "safety_backup_id": backup.as_str(), "fence": leadership.epoch.0 };
        let update = self.restores.update_one(not_above(filter, leadership), doc! { "$set": set });
        match write(update).await?.matched_count {
            0 => Err(fenced_or_stale(&self.database, leadership).await),
            _ => Ok(()),
        }
    }

    /// Stores which point the moment of a `planning` restore is, in a fenced transaction. Returns it as it is after that.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it is not `planning`.
    pub async fn set_point(
        &self,
        leadership: &Leadership,
        id: &RestoreId,
        point: &RestorePoint,
    ) -> Result<Restore, StoreError> {
        let set = doc! { "point": point_document(point), "fence": leadership.epoch.0 };
        self.move_on(leadership, id, &["planning"], doc! { "$set": set }).await
    }

    /// Writes the plan of a `planning` restore, which becomes `planned`, in a fenced transaction. Returns it as it is
    /// after that.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it is not `planning`.
    pub async fn set_plan(&self, leadership: &Leadership, id: &RestoreId, plan: &Plan) -> Result<Restore, StoreError> {
        let set = doc! {
            "state": RestoreState::Planned.name(),
            "plan": plan_document(plan),
            "progress.changes_total": long(plan.changes()),
            "fence": leadership.epoch.0,
        };
        self.move_on(leadership, id, &["planning"], doc! { "$set": set }).await
    }

    /// Makes a `planned` restore `applying`, in a fenced transaction. Returns it as it is after that.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it is not `planned`.
    pub async fn start_applying(&self, leadership: &Leadership, id: &RestoreId) -> Result<Restore, StoreError> {
        let set = doc! { "state": RestoreState::Applying.name(), "fence": leadership.epoch.0 };
        self.move_on(leadership, id, &["planned"], doc! { "$set": set }).await
    }

    /// Gives up the plan of a restore that nobody asked to apply, in a fenced transaction.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it is no longer `planned`, or somebody asked to apply it.
    pub async fn expire(
        &self,
        leadership: &Leadership,
        id: &RestoreId,
        cause: &Cause,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let filter = doc! { "state": RestoreState::Planned.name(), "apply": false };
        let set = doc! {
            "state": RestoreState::Cancelled.name(),
            "cause": cause_document(Some(cause)),
            "finished_at": date(now),
            "fence": leadership.epoch.0,
        };
        self.move_where(leadership, id, filter, doc! { "$set": set }).await.map(drop)
    }

    /// Ends a restore as complete, failed or cancelled, in a fenced transaction.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it has ended.
    pub async fn finish(
        &self,
        leadership: &Leadership,
        id: &RestoreId,
        state: RestoreState,
        cause: Option<&Cause>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let set = doc! {
            "state": state.name(),
            "cause": cause_document(cause),
            "finished_at": date(now),
            "fence": leadership.epoch.0,
        };
        self.move_on(leadership, id, &OPEN, doc! { "$set": set }).await.map(drop)
    }
}
