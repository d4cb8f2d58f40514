//! The `fences` collection: the epoch of each department, compared by every leader write.

use super::StoreError;
use crate::domain::epoch::{Epoch, Leadership};
use crate::domain::ids::DepartmentName;

/// The `fences` collection.
#[derive(Debug, Clone)]
pub struct Fences {}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The fence now carries this leadership.
    Mine,
    /// The fence carries this higher or equal epoch of somebody else.
    Stale(Epoch),
}

impl Fences {
    /// Claims the fence for a leadership (COORDINATION.md 6.4): raises the epoch, resolves a lost reply by reading.
    ///
    /// # Errors
    /// When MongoDB does not answer; then the outcome is unknown and the claim may be repeated.
    pub async fn claim(&self, leadership: &Leadership, zxid: i64) -> Result<Claimed, StoreError> {
        todo!()
    }

    /// Raises `fence` of every open job of the department to the leadership's epoch.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn adopt_jobs(&self, leadership: &Leadership) -> Result<(), StoreError> {
        todo!()
    }

    /// The epoch that the fence of a department carries.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn epoch(&self, department: &DepartmentName) -> Result<Option<Epoch>, StoreError> {
        todo!()
    }
}
