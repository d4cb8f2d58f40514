//! The `backups` collection: jobs, and the catalogue of what they made.

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};

use super::StoreError;
use super::condemned::refuse;
use super::documents::backups::{
    backup_document, backup_key, content_document, copies_array, progress_document, read_backup,
};
use super::documents::names::Named as _;
use super::documents::{cause as cause_document, date, executor};
use super::error::{read, write};
use super::fences::{fenced_or_stale, not_above};
use super::txn::Txn;
use crate::domain::backup::{Backup, BackupContent, BackupProgress, BackupState};
use crate::domain::cause::Cause;
use crate::domain::clock::Timestamp;
use crate::domain::copies::{Copy, CopyState};
use crate::domain::epoch::{Epoch, Executor, Leadership};
use crate::domain::ids::{BackupId, DepartmentName, TargetName};

/// The `backups` collection.
#[derive(Debug, Clone)]
pub struct Backups {
    database: Database,
    backups: Collection<Document>,
}

/// The filter for one page of jobs, newest first by (`requested_at`, id), and its order.
pub(super) fn page_filter(
    department: Option<&DepartmentName>,
    states: &[&str],
    before: Option<(Timestamp, &str)>,
) -> Document {
    let mut query = Document::new();
    if let Some(department) = department {
        query.insert("_id.department", department.as_str());
    }
    if !states.is_empty() {
        query.insert("state", doc! { "$in": states });
    }
    if let Some((at, id)) = before {
        let same = doc! { "requested_at": date(at), "_id.id": { "$lt": id } };
        query.insert("$or", vec![doc! { "requested_at": { "$lt": date(at) } }, same]);
    }
    query
}

/// Which backups a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupFilter {
    /// Only this department.
    pub department: Option<DepartmentName>,
    /// Only these states; empty means all.
    pub states: Vec<BackupState>,
}

/// What a complete backup consists of.
#[derive(Debug, Clone)]
pub struct Made {
    /// What it holds.
    pub content: BackupContent,
    /// What each target holds of it.
    pub copies: Vec<Copy>,
    /// Paths of the chunks that its snapshot refers to; none for a snapshot of an earlier backup.
    pub chunks: Vec<String>,
}

const OPEN: [&str; 2] = ["queued", "running"];

fn owing_filter(department: &DepartmentName) -> Document {
    doc! {
        "_id.department": department.as_str(),
        "state": BackupState::Complete.name(),
        // Every state but `present`, spelled so that the partial index over them serves it.
        "copies.state": { "$in": [CopyState::Owed.name(), CopyState::Damaged.name(), CopyState::Missing.name()] },
    }
}

impl Backups {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), backups: database.collection("backups") }
    }

    async fn find(&self, filter: Document, sort: Document, limit: usize) -> Result<Vec<Backup>, StoreError> {
        let find = self.backups.find(filter).sort(sort).limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        found.iter().map(read_backup).collect()
    }

    /// Sets fields of one backup in one of these states, in a fenced transaction.
    async fn move_on(
        &self,
        leadership: &Leadership,
        id: &BackupId,
        states: &[&str],
        update: Document,
    ) -> Result<(), StoreError> {
        let filter = doc! { "_id": backup_key(&leadership.department, id), "state": { "$in": states } };
        let mut txn = Txn::fenced(&self.database, leadership).await?;
        loop {
            let outcome = txn.set("backups", filter.clone(), update.clone()).await.map(drop);
            if let Some(()) = txn.finish(outcome).await? {
                return Ok(());
            }
        }
    }

    /// Sets fields of one backup in a state, fenced in the filter.
    async fn set_fenced(
        &self,
        leadership: &Leadership,
        id: &BackupId,
        state: BackupState,
        mut set: Document,
    ) -> Result<(), StoreError> {
        let filter = doc! { "_id": backup_key(&leadership.department, id), "state": state.name() };
        set.insert("fence", leadership.epoch.0);
        let update = self.backups.update_one(not_above(filter, leadership), doc! { "$set": set });
        match write(update).await?.matched_count {
            0 => Err(fenced_or_stale(&self.database, leadership).await),
            _ => Ok(()),
        }
    }

    /// One backup, in any department and state.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self, id: &BackupId) -> Result<Option<Backup>, StoreError> {
        let found = read(self.backups.find_one(doc! { "_id.id": id.as_str() })).await?;
        found.as_ref().map(read_backup).transpose()
    }

    /// Backups, newest first by (`requested_at`, id); `before` is the last key of the page before.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn list(
        &self,
        filter: &BackupFilter,
        before: Option<&(Timestamp, BackupId)>,
        limit: usize,
    ) -> Result<Vec<Backup>, StoreError> {
        let states: Vec<&str> = filter.states.iter().map(|state| state.name()).collect();
        let before = before.map(|(at, id)| (*at, id.as_str()));
        let query = page_filter(filter.department.as_ref(), &states, before);
        self.find(query, doc! { "requested_at": -1, "_id.id": -1 }, limit).await
    }

    /// Records the wish for a backup (state `queued`). No leader write: any replica may.
    ///
    /// # Errors
    /// `Taken(Id)` when it was recorded before.
    pub async fn insert(&self, backup: &Backup) -> Result<(), StoreError> {
        write(self.backups.insert_one(backup_document(backup, Epoch(0)))).await.map(drop)
    }

    /// Same as `insert`, by the leader, in a fenced transaction.
    ///
    /// # Errors
    /// `Fenced`; `Taken(Id)` when it was recorded before.
    pub async fn insert_fenced(&self, leadership: &Leadership, backup: &Backup) -> Result<(), StoreError> {
        let mut txn = Txn::fenced(&self.database, leadership).await?;
        loop {
            let outcome = txn.insert("backups", backup_document(backup, leadership.epoch)).await;
            if let Some(()) = txn.finish(outcome).await? {
                return Ok(());
            }
        }
    }

    /// Queued and running backups of a department, oldest first.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn open(&self, department: &DepartmentName) -> Result<Vec<Backup>, StoreError> {
        let filter = doc! { "_id.department": department.as_str(), "state": { "$in": OPEN.as_slice() } };
        self.find(filter, doc! { "requested_at": 1, "_id.id": 1 }, usize::MAX).await
    }

    /// Takes up a queued or running backup in a fenced transaction: state `running`, attempt + 1, `executed_by`,
    /// `started_at`, `fence`, and a fresh `marker` that the change stream will show. Returns the marker.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it is no longer open.
    pub async fn take(&self, leadership: &Leadership, id: &BackupId, now: Timestamp) -> Result<String, StoreError> {
        let marker = format!("{:032x}", rand::random::<u128>());
        let set = doc! {
            "state": BackupState::Running.name(),
            "executed_by": executor(&Executor::from(leadership)),
            "started_at": date(now),
            "fence": leadership.epoch.0,
            "marker": &marker,
        };
        let update = doc! { "$set": set, "$inc": { "attempt": 1_i64 } };
        self.move_on(leadership, id, &OPEN, update).await?;
        Ok(marker)
    }

    /// Writes progress of the running backup, fenced in its filter.
    ///
    /// # Errors
    /// `Fenced` when nothing matched.
    pub async fn set_progress(
        &self,
        leadership: &Leadership,
        id: &BackupId,
        progress: BackupProgress,
    ) -> Result<(), StoreError> {
        let set = doc! { "progress": progress_document(progress) };
        self.set_fenced(leadership, id, BackupState::Running, set).await
    }

    /// Makes a running backup complete, in a fenced transaction. No outcome but this one lists it. `chunks` are the paths
    /// of those that its snapshot refers to, where that is new.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it is no longer running; `Condemned` when it refers to what is being deleted.
    pub async fn complete(
        &self,
        leadership: &Leadership,
        id: &BackupId,
        made: &Made,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let set = doc! {
            "state": BackupState::Complete.name(),
            "cause": mongodb::bson::Bson::Null,
            "content": content_document(&made.content),
            "copies": copies_array(&made.copies),
            "finished_at": date(now),
            "fence": leadership.epoch.0,
        };
        let filter = doc! { "_id": backup_key(&leadership.department, id), "state": "running" };
        let mut txn = Txn::fenced(&self.database, leadership).await?;
        loop {
            let outcome = match refuse(&mut txn, &leadership.department, &made.content, &made.chunks).await {
                Ok(()) => txn.set("backups", filter.clone(), doc! { "$set": set.clone() }).await.map(drop),
                Err(error) => Err(error),
            };
            if let Some(()) = txn.finish(outcome).await? {
                return Ok(());
            }
        }
    }

    /// Ends an open backup as failed, in a fenced transaction.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it is no longer open.
    pub async fn fail(
        &self,
        leadership: &Leadership,
        id: &BackupId,
        cause: &Cause,
        copies: &[Copy],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let set = doc! {
            "state": BackupState::Failed.name(),
            "cause": cause_document(Some(cause)),
            "copies": copies_array(copies),
            "finished_at": date(now),
            "fence": leadership.epoch.0,
        };
        self.move_on(leadership, id, &OPEN, doc! { "$set": set }).await
    }

    /// Writes the copies of a complete backup (after catching up), fenced in its filter.
    ///
    /// # Errors
    /// `Fenced` when nothing matched.
    pub async fn set_copies(&self, leadership: &Leadership, id: &BackupId, copies: &[Copy]) -> Result<(), StoreError> {
        let set = doc! { "copies": copies_array(copies) };
        self.set_fenced(leadership, id, BackupState::Complete, set).await
    }

    /// Complete backups of a department that one of these targets has not, or owes, or has lost, oldest first. What is
    /// damaged is the business of the scrub: nobody can bring it now.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn owing(
        &self,
        department: &DepartmentName,
        targets: &[TargetName],
        limit: usize,
    ) -> Result<Vec<Backup>, StoreError> {
        let names: Vec<&str> = targets.iter().map(TargetName::as_str).collect();
        let lacking = [CopyState::Owed.name(), CopyState::Missing.name()];
        let filter = doc! {
            "_id.department": department.as_str(),
            "state": BackupState::Complete.name(),
            "$or": [
                { "copies": { "$elemMatch": { "target": { "$in": &names }, "state": { "$in": &lacking[..] } } } },
                { "copies.target": { "$not": { "$all": &names } } },
            ],
        };
        self.find(filter, doc! { "requested_at": 1, "_id.id": 1 }, limit).await
    }

    /// How many complete backups of a department have a copy that is not present.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn count_owing(&self, department: &DepartmentName) -> Result<u64, StoreError> {
        read(self.backups.count_documents(owing_filter(department))).await
    }

    /// The newest complete backup of a department by sequence.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn newest_complete(&self, department: &DepartmentName) -> Result<Option<Backup>, StoreError> {
        let filter = doc! { "_id.department": department.as_str(), "state": BackupState::Complete.name() };
        let order = doc! { "content.timeline": -1, "content.sequence": -1, "finished_at": -1 };
        Ok(self.find(filter, order, 1).await?.pop())
    }
}
