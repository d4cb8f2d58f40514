//! The `departments` collection.

use super::StoreError;
use crate::domain::clock::Timestamp;
use crate::domain::department::{Department, Policy};
use crate::domain::epoch::Leadership;
use crate::domain::ids::DepartmentName;
use crate::domain::user::Rev;

/// The `departments` collection.
#[derive(Debug, Clone)]
pub struct Departments {}

impl Departments {
    /// One department, deleted ones included.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self, name: &DepartmentName) -> Result<Option<Department>, StoreError> {
        todo!()
    }

    /// Active departments after a name, in the order of names.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn list(&self, after: Option<&DepartmentName>, limit: usize) -> Result<Vec<Department>, StoreError> {
        todo!()
    }

    /// Names of all departments that need a leader, deleted ones included (their history goes on).
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn names(&self) -> Result<Vec<DepartmentName>, StoreError> {
        todo!()
    }

    /// Resolves when the set of departments may have changed, at the latest after `within`.
    /// Watches with a change stream; a broken stream also resolves.
    pub async fn changed(&self, within: std::time::Duration) {
        todo!()
    }

    /// Makes a department, or makes a deleted one active again, and its head where there is none: one transaction
    /// that records where the history begins (sequence 0 at the present cluster time).
    ///
    /// # Errors
    /// `Stale` when an active one exists.
    pub async fn insert(&self, department: &Department) -> Result<(), StoreError> {
        todo!()
    }

    /// Writes the policy if the rev is still `guard`; sets the rev and `updated_at` of `department`.
    ///
    /// # Errors
    /// `Stale` when the rev differs.
    pub async fn replace_policy(&self, department: &Department, guard: Rev) -> Result<(), StoreError> {
        todo!()
    }

    /// Sets the state to deleted if the rev is still `guard`, or back to active.
    ///
    /// # Errors
    /// `Stale` when the rev differs.
    pub async fn set_deleted(
        &self,
        name: &DepartmentName,
        guard: Rev,
        deleted: bool,
        rev: Rev,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        todo!()
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
        todo!()
    }

    /// Reads a policy for the leader.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn policy(&self, name: &DepartmentName) -> Result<Option<Policy>, StoreError> {
        Ok(self.get(name).await?.map(|department| department.policy))
    }
}
