//! One target: an object store with a name, a time limit for each operation, and a status.

use bytes::Bytes;

use super::error::TargetError;
use super::layout::ObjectPath;
use crate::domain::cause::Cause;
use crate::domain::copies::{TargetState, TargetStatus};
use crate::domain::ids::TargetName;

/// One target.
#[derive(Debug)]
pub struct Target {
    name: TargetName,
}

impl Target {
    /// Its name.
    pub fn name(&self) -> &TargetName {
        &self.name
    }

    /// Whether it works, as of the last operation.
    pub fn status(&self) -> TargetStatus {
        todo!()
    }

    /// Sets a state that outlives operations: `Foreign` when it holds another repository, `Ok` to lift that.
    pub fn set_state(&self, state: TargetState, cause: Option<Cause>) {
        todo!()
    }

    /// Writes an object once, durably. Writing the same bytes again is no error.
    ///
    /// # Errors
    /// `Differs` when other bytes are there; `Failed` or `Timeout` when it did not work (the outcome may be unknown).
    pub async fn put(&self, path: &ObjectPath, bytes: Bytes) -> Result<(), TargetError> {
        todo!()
    }

    /// Reads a whole object.
    ///
    /// # Errors
    /// `NotFound`, `Failed` or `Timeout`.
    pub async fn get(&self, path: &ObjectPath) -> Result<Bytes, TargetError> {
        todo!()
    }

    /// Size of an object in bytes, if it is there.
    ///
    /// # Errors
    /// `Failed` or `Timeout`.
    pub async fn size(&self, path: &ObjectPath) -> Result<Option<u64>, TargetError> {
        todo!()
    }

    /// Paths of all objects below a prefix, in no particular order.
    ///
    /// # Errors
    /// `Failed` or `Timeout`.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectPath>, TargetError> {
        todo!()
    }
}
