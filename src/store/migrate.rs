//! Applies the migrations that are embedded in the binary: once each, checksummed, one runner at a time.

use super::{Store, StoreError};
use crate::domain::clock::Timestamp;
use crate::domain::department::Policy;

impl Store {
    /// Applies every migration that is not applied yet; returns the names of those it applied.
    ///
    /// # Errors
    /// `StoreError::Migration` when an applied migration differs from the embedded one or is newer than this binary.
    pub async fn migrate(&self, default_policy: &Policy, now: Timestamp) -> Result<Vec<String>, StoreError> {
        todo!()
    }
}
