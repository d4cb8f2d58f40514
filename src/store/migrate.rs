//! Applies the migrations that are embedded in the binary: once each, checksummed, one runner at a time.

use super::{Store, StoreError};

impl Store {
    /// Applies every migration that is not applied yet; returns the names of those it applied.
    ///
    /// # Errors
    /// `StoreError::Migration` when an applied migration differs from the embedded one or is newer than this binary.
    pub async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        todo!()
    }
}
