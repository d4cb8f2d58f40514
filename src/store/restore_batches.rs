//! The `restore_batches` collection: what each range of a restore did, and the transaction that does it.

use super::StoreError;
use crate::domain::ids::RestoreId;
use crate::domain::restore::Conflict;

/// The `restore_batches` collection.
#[derive(Debug, Clone)]
pub struct RestoreBatches {}

impl RestoreBatches {
    /// Conflicts of a restore after the `skip`-th, in the order in which they were met.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn conflicts(&self, restore: &RestoreId, skip: u64, limit: usize) -> Result<Vec<Conflict>, StoreError> {
        todo!()
    }
}
