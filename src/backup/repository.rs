//! The repository: its id, its secret, and the keys that objects are sealed to.
//!
//! Rule: the repository secret is made once, decided by one document in MongoDB, and never changes; it lies sealed on
//! every target.

use crate::config::keys::KeysConfig;
use crate::store::repository::RepositoryRecord;
use crate::targets::Targets;

use super::BackupError;

/// The repository, opened. Clones share one value. `Debug` shows the id only.
#[derive(Debug, Clone)]
pub struct Repository {}

impl Repository {
    /// Opens the repository of this database, making it where there is none, and marks every target that holds another
    /// one as `Foreign`. Targets that lack `rollkeeper.json` or `rollkeeper.key` and answer get them.
    ///
    /// # Errors
    /// `Keys` when the identity or a recipient is not valid; `WrongKey` when the identity cannot open the secret;
    /// `OtherRepository` when MongoDB knows none and the targets disagree; `Store` when MongoDB does not answer.
    pub async fn open(keys: &KeysConfig, targets: &Targets, record: &RepositoryRecord) -> Result<Self, BackupError> {
        todo!()
    }

    /// Writes `rollkeeper.json` and `rollkeeper.key` to a target that lacks them, and checks them where they are: a
    /// target that holds another repository becomes `Foreign`. Called before a target is written to after an outage.
    ///
    /// # Errors
    /// When the target does not answer or is foreign.
    pub async fn admit(&self, target: &crate::targets::Target) -> Result<(), BackupError> {
        todo!()
    }

    /// The id of the repository.
    pub fn id(&self) -> &str {
        todo!()
    }
}
