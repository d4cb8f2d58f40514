//! The `repository` collection: one document, which decides once and for all what repository this database writes to.

use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;
use mongodb::{Collection, Database};

use super::StoreError;
use super::documents::{Fields, binary};
use super::error::{read, write};

/// The `repository` collection.
#[derive(Debug, Clone)]
pub struct RepositoryRecord {
    repository: Collection<Document>,
}

/// Identity of the repository of backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRepository {
    /// Its id, a UUID.
    pub id: String,
    /// The repository secret, sealed to all recipients (the bytes of `rollkeeper.key`).
    pub sealed_secret: Vec<u8>,
}

fn read_repository(document: &Document) -> Result<StoredRepository, StoreError> {
    let fields = Fields::of("repository", document);
    Ok(StoredRepository { id: fields.owned("id")?, sealed_secret: fields.bytes("sealed_secret")? })
}

impl RepositoryRecord {
    pub(super) fn new(database: &Database) -> Self {
        Self { repository: database.collection("repository") }
    }

    /// The repository of this database.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self) -> Result<Option<StoredRepository>, StoreError> {
        let found = read(self.repository.find_one(doc! { "_id": "repository" })).await?;
        found.as_ref().map(read_repository).transpose()
    }

    /// Records the repository unless there is one; returns the one that counts.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get_or_insert(&self, repository: &StoredRepository) -> Result<StoredRepository, StoreError> {
        let fresh = doc! { "id": &repository.id, "sealed_secret": binary(&repository.sealed_secret) };
        let update = doc! { "$setOnInsert": fresh };
        let upsert = self.repository.find_one_and_update(doc! { "_id": "repository" }, update);
        match write(upsert.upsert(true).return_document(ReturnDocument::After)).await {
            Ok(Some(found)) => read_repository(&found),
            // Two replicas at the same time: the other one's counts.
            Ok(None) | Err(StoreError::Taken(_)) => self.get().await?.ok_or(StoreError::Stale),
            Err(error) => Err(error),
        }
    }
}
