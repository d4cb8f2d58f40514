//! The `users` collection.

use futures::Stream;

use super::StoreError;
use crate::domain::clock::Timestamp;
use crate::domain::history::ClusterTime;
use crate::domain::ids::{DepartmentName, UserId};
use crate::domain::user::{Rev, User};

/// The `users` collection.
#[derive(Debug, Clone)]
pub struct Users {}

/// Which users a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// Only this department.
    pub department: Option<DepartmentName>,
    /// Only names that begin so.
    pub name_prefix: Option<String>,
    /// Only locked, or only unlocked ones.
    pub locked: Option<bool>,
    /// Only records written at or after this moment.
    pub updated_since: Option<Timestamp>,
    /// Only these ids.
    pub ids: Option<Vec<UserId>>,
}

impl Users {
    /// The user with an id, in any department.
    ///
    /// # Errors
    /// When MongoDB does not answer or the document cannot be read.
    pub async fn get(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        todo!()
    }

    /// Inserts a new record, majority-committed and journaled.
    ///
    /// # Errors
    /// `Taken` when the id or the name is in use.
    pub async fn insert(&self, user: &User) -> Result<(), StoreError> {
        todo!()
    }

    /// Inserts many records in one unordered command; the result of each stands at its place.
    ///
    /// # Errors
    /// The outer error when the command as a whole failed.
    pub async fn insert_many(&self, users: &[User]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        todo!()
    }

    /// Replaces the whole record if its rev is still `guard`.
    ///
    /// # Errors
    /// `Stale` when it is not, `Taken` when the new name is in use.
    pub async fn replace(&self, user: &User, guard: Rev) -> Result<(), StoreError> {
        todo!()
    }

    /// Deletes the record if its rev is still `guard`.
    ///
    /// # Errors
    /// `Stale` when it is not.
    pub async fn delete(&self, department: &DepartmentName, id: &UserId, guard: Rev) -> Result<(), StoreError> {
        todo!()
    }

    /// Up to `limit` users after a key, in the order of (department, id). `after` is the last key of the page before.
    ///
    /// # Errors
    /// When MongoDB does not answer or a document cannot be read.
    pub async fn list(
        &self,
        filter: &UserFilter,
        after: Option<&(DepartmentName, UserId)>,
        limit: usize,
    ) -> Result<Vec<User>, StoreError> {
        todo!()
    }

    /// Whether a department has any user.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn any_in(&self, department: &DepartmentName) -> Result<bool, StoreError> {
        todo!()
    }

    /// The users that hold any of these names in a department, as (name, id).
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn holders_of(
        &self,
        department: &DepartmentName,
        names: &[String],
    ) -> Result<Vec<(String, UserId)>, StoreError> {
        todo!()
    }

    /// Number of users of a department now; an estimate for progress.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn count(&self, department: &DepartmentName) -> Result<u64, StoreError> {
        todo!()
    }

    /// All users of a department as of a cluster time, sorted by id, in batches.
    ///
    /// Reads with `find` and read concern `{level: snapshot, atClusterTime}`, never in a transaction, with up to
    /// `cursors` cursors at the same cluster time: the department is cut into pieces of about 16,384 records (the
    /// start of the next piece is a covered index skip from the start of this one), pieces are read ahead and told in
    /// order. Memory: at most `cursors` pieces.
    pub fn scan_at(
        &self,
        department: &DepartmentName,
        at: ClusterTime,
        cursors: usize,
    ) -> impl Stream<Item = Result<Vec<User>, StoreError>> + Send + use<> {
        futures::stream::empty()
    }
}
