//! The `heads` collection: how far the history of each department goes, moved by compare-and-set.

use super::StoreError;
use crate::domain::clock::Timestamp;
use crate::domain::epoch::Leadership;
use crate::domain::history::{Chain, Head, Position, Source};
use crate::domain::ids::DepartmentName;

/// The `heads` collection.
#[derive(Debug, Clone)]
pub struct Heads {}

impl Heads {
    /// The head of a department.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self, department: &DepartmentName) -> Result<Option<Head>, StoreError> {
        todo!()
    }

    /// Raises the head's epoch and reads it, in one command. Makes the head (timeline 1, sequence 0, at the present
    /// cluster time) where there is none.
    ///
    /// # Errors
    /// `Fenced` when the head carries a higher epoch.
    pub async fn take(&self, leadership: &Leadership, source: &Source) -> Result<Head, StoreError> {
        todo!()
    }

    /// Moves the head to a position if it still has this epoch and chain.
    ///
    /// # Errors
    /// `Fenced` when it has not.
    pub async fn advance(&self, leadership: &Leadership, from: &Chain, to: &Position) -> Result<(), StoreError> {
        todo!()
    }

    /// Starts a new timeline at the present cluster time after a break of the stream; records the gap with its cause.
    /// Sequence and chain go on. Returns the new head.
    ///
    /// # Errors
    /// `Fenced` when the head carries another epoch.
    pub async fn rebase(
        &self,
        leadership: &Leadership,
        source: &Source,
        cause: &str,
        now: Timestamp,
    ) -> Result<Head, StoreError> {
        todo!()
    }
}
