//! The `restores` collection: restore jobs.

use super::StoreError;
use crate::domain::cause::Cause;
use crate::domain::clock::Timestamp;
use crate::domain::epoch::Leadership;
use crate::domain::ids::{BackupId, DepartmentName, RestoreId};
use crate::domain::restore::{Plan, Restore, RestoreState};

/// The `restores` collection.
#[derive(Debug, Clone)]
pub struct Restores {}

/// Which restores a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreFilter {
    /// Only this department.
    pub department: Option<DepartmentName>,
    /// Only these states; empty means all.
    pub states: Vec<RestoreState>,
}

impl Restores {
    /// One restore, in any department.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self, id: &RestoreId) -> Result<Option<Restore>, StoreError> {
        todo!()
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
        todo!()
    }

    /// Records the wish for a restore (state `queued`). No leader write.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn insert(&self, restore: &Restore) -> Result<(), StoreError> {
        todo!()
    }

    /// Records the wish to apply a planned restore whose plan has this hash. No leader write.
    ///
    /// # Errors
    /// `Stale` when it is not `planned` or its plan has another hash.
    pub async fn request_apply(&self, id: &RestoreId, plan_hash: &str) -> Result<(), StoreError> {
        todo!()
    }

    /// Records the wish to stop a restore that has not ended. No leader write.
    ///
    /// # Errors
    /// `Stale` when it has ended.
    pub async fn request_cancel(&self, id: &RestoreId) -> Result<(), StoreError> {
        todo!()
    }

    /// Restores of a department that have not ended, oldest first.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn open(&self, department: &DepartmentName) -> Result<Vec<Restore>, StoreError> {
        todo!()
    }

    /// Takes up a restore that has not ended in a fenced transaction: `executed_by`, `fence`; `queued` becomes
    /// `planning`. Returns it as it is after that, with the newest checkpoint.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it has ended.
    pub async fn take(&self, leadership: &Leadership, id: &RestoreId, now: Timestamp) -> Result<Restore, StoreError> {
        todo!()
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
        todo!()
    }

    /// Writes the plan of a `planning` restore, which becomes `planned`, in a fenced transaction.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it is not `planning`.
    pub async fn set_plan(&self, leadership: &Leadership, id: &RestoreId, plan: &Plan) -> Result<(), StoreError> {
        todo!()
    }

    /// Makes a `planned` restore `applying`, in a fenced transaction.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when it is not `planned`.
    pub async fn start_applying(&self, leadership: &Leadership, id: &RestoreId) -> Result<(), StoreError> {
        todo!()
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
        todo!()
    }
}
