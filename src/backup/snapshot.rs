//! Reads a snapshot: verified manifest first, then chunk by chunk, with fallback to the next copy.

use std::sync::Arc;

use futures::Stream;

use crate::domain::ids::UserId;
use crate::domain::user::User;
use crate::targets::Targets;
use crate::targets::layout::ObjectPath;

use super::{BackupError, Repository};

/// A snapshot whose manifest has been read and verified. Clones share it.
#[derive(Debug, Clone)]
pub struct Snapshot {}

impl Snapshot {
    /// Reads and verifies a manifest.
    ///
    /// # Errors
    /// `Damaged` or `WrongKey` when no copy passes; `Target` when no target answers.
    pub async fn open(repository: &Repository, targets: &Targets, path: &ObjectPath) -> Result<Self, BackupError> {
        todo!()
    }

    /// The verified manifest.
    pub fn manifest(&self) -> &Arc<super::manifest::Manifest> {
        todo!()
    }

    /// The records after an id (exclusive), or all, sorted by id, a verified chunk at a time. Reads one chunk ahead.
    pub fn users(&self, after: Option<UserId>) -> impl Stream<Item = Result<Vec<User>, BackupError>> + Send + use<> {
        futures::stream::empty()
    }
}
