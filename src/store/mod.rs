//! MongoDB: the only module that names `mongodb` or `bson`. One file per collection.
//!
//! Rules: every user write is a whole-document insert, guarded replace or guarded delete; every leader write takes a
//! `Leadership` and compares its epoch inside the write; absence is `Option`.

pub mod backups;
pub mod departments;
pub mod documents;
pub mod error;
pub mod fences;
pub mod heads;
pub mod migrate;
pub mod repository;
pub mod restore_batches;
pub mod restores;
pub mod tail;
pub mod users;

use crate::config::mongodb::MongodbConfig;
use crate::domain::history::Source;
use crate::domain::ids::ReplicaId;

pub use error::StoreError;

/// All collections of one database.
#[derive(Debug, Clone)]
pub struct Store {
    /// User records.
    pub users: users::Users,
    /// Departments and their policies.
    pub departments: departments::Departments,
    /// Backup jobs and the catalogue of backups.
    pub backups: backups::Backups,
    /// Restore jobs.
    pub restores: restores::Restores,
    /// What each range of a restore did.
    pub restore_batches: restore_batches::RestoreBatches,
    /// The epoch of each department.
    pub fences: fences::Fences,
    /// How far the history of each department goes.
    pub heads: heads::Heads,
    /// The identity of the repository of backups.
    pub repository: repository::RepositoryRecord,
    /// Change streams of departments.
    pub tail: tail::Tail,
}

impl Store {
    /// Connects lazily: works while MongoDB is down. The replica id becomes the driver's application name.
    ///
    /// # Errors
    /// When the connection string is not valid.
    pub async fn connect(config: &MongodbConfig, uri: &str, replica: &ReplicaId) -> Result<Self, StoreError> {
        todo!()
    }

    /// Refuses what rollkeeper cannot run on: a standalone server, mongos, a version before 6.0.
    ///
    /// # Errors
    /// `StoreError::Unsupported` with a full sentence; `Unavailable` when MongoDB does not answer.
    pub async fn check(&self) -> Result<(), StoreError> {
        todo!()
    }

    /// One round trip, for readyz; at most one second.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        todo!()
    }

    /// What the change streams of this database come from.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn source(&self) -> Result<Source, StoreError> {
        todo!()
    }
}
