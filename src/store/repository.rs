//! The `repository` collection: one document, which decides once and for all what repository this database writes to.

use super::StoreError;

/// The `repository` collection.
#[derive(Debug, Clone)]
pub struct RepositoryRecord {}

/// Identity of the repository of backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRepository {
    /// Its id, a UUID.
    pub id: String,
    /// The repository secret, sealed to all recipients (the bytes of `rollkeeper.key`).
    pub sealed_secret: Vec<u8>,
}

impl RepositoryRecord {
    /// The repository of this database.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self) -> Result<Option<StoredRepository>, StoreError> {
        todo!()
    }

    /// Records the repository unless there is one; returns the one that counts.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get_or_insert(&self, repository: &StoredRepository) -> Result<StoredRepository, StoreError> {
        todo!()
    }
}
