//! The `backups` collection: jobs, and the catalogue of what they made.

use super::StoreError;
use crate::domain::backup::{Backup, BackupContent, BackupProgress, BackupState};
use crate::domain::cause::Cause;
use crate::domain::clock::Timestamp;
use crate::domain::copies::Copy;
use crate::domain::epoch::Leadership;
use crate::domain::ids::{BackupId, DepartmentName};

/// The `backups` collection.
#[derive(Debug, Clone)]
pub struct Backups {}

/// Which backups a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupFilter {
    /// Only this department.
    pub department: Option<DepartmentName>,
    /// Only these states; empty means all.
    pub states: Vec<BackupState>,
}

impl Backups {
    /// One backup, in any department and state.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self, id: &BackupId) -> Result<Option<Backup>, StoreError> {
        todo!()
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
        todo!()
    }

    /// Records the wish for a backup (state `queued`). No leader write: any replica may.
    ///
    /// # Errors
    /// `Taken(Id)` when it was recorded before.
    pub async fn insert(&self, backup: &Backup) -> Result<(), StoreError> {
        todo!()
    }

    /// Same as `insert`, by the leader, in a fenced transaction.
    ///
    /// # Errors
    /// `Fenced`; `Taken(Id)` when it was recorded before.
    pub async fn insert_fenced(&self, leadership: &Leadership, backup: &Backup) -> Result<(), StoreError> {
        todo!()
    }

    /// Queued and running backups of a department, oldest first.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn open(&self, department: &DepartmentName) -> Result<Vec<Backup>, StoreError> {
        todo!()
    }

    /// Takes up a queued or running backup in a fenced transaction: state `running`, attempt + 1, `executed_by`,
    /// `started_at`, `fence`, and a fresh `marker` that the change stream will show. Returns the marker.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it is no longer open.
    pub async fn take(&self, leadership: &Leadership, id: &BackupId, now: Timestamp) -> Result<String, StoreError> {
        todo!()
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
        todo!()
    }

    /// Makes a running backup complete, in a fenced transaction. No outcome but this one lists it.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it is no longer running.
    pub async fn complete(
        &self,
        leadership: &Leadership,
        id: &BackupId,
        content: &BackupContent,
        copies: &[Copy],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        todo!()
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
        todo!()
    }

    /// Writes the copies of a complete backup (after catching up), fenced in its filter.
    ///
    /// # Errors
    /// `Fenced` when nothing matched.
    pub async fn set_copies(&self, leadership: &Leadership, id: &BackupId, copies: &[Copy]) -> Result<(), StoreError> {
        todo!()
    }

    /// Complete backups of a department with a copy that is not present, oldest first.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn owing(&self, department: &DepartmentName, limit: usize) -> Result<Vec<Backup>, StoreError> {
        todo!()
    }

    /// The newest complete backup of a department by sequence.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn newest_complete(&self, department: &DepartmentName) -> Result<Option<Backup>, StoreError> {
        todo!()
    }
}
