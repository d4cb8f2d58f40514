//! The copies of complete backups, many at a time: what is found of a target or of a snapshot is found of every backup that
//! needs it.

use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};

use super::StoreError;
use super::documents::names::Named as _;
use super::documents::{cause as cause_document, date};
use super::error::{read, write};
use super::fences::not_above;
use crate::domain::backup::BackupState;
use crate::domain::cause::Cause;
use crate::domain::clock::Timestamp;
use crate::domain::copies::CopyState;
use crate::domain::epoch::Leadership;
use crate::domain::ids::{DepartmentName, TargetName};

/// The copies in the `backups` collection.
#[derive(Debug, Clone)]
pub struct Copies {
    pub(super) backups: Collection<Document>,
}

/// What becomes of copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// Those in this state.
    pub from: CopyState,
    /// Their state from now on.
    pub to: CopyState,
    /// Why.
    pub cause: Option<Cause>,
    /// When they were read back; absent where they were not.
    pub verified_at: Option<Timestamp>,
}

impl Copies {
    pub(super) fn new(database: &Database) -> Self {
        Self { backups: database.collection("backups") }
    }

    /// Gives the copies of a target in one state another one, in every complete backup of the department, or of those that
    /// begin with a snapshot; fenced in the filter. Tells how many.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn mark(
        &self,
        leadership: &Leadership,
        target: &TargetName,
        snapshot: Option<&str>,
        marked: &Marked,
    ) -> Result<u64, StoreError> {
        let from = marked.from.name();
        let mut filter = doc! {
            "_id.department": leadership.department.as_str(),
            "state": BackupState::Complete.name(),
            "copies": { "$elemMatch": { "target": target.as_str(), "state": from } },
        };
        if let Some(snapshot) = snapshot {
            filter.insert("content.base.snapshot", snapshot);
        }
        let mut set = doc! {
            "copies.$[copy].state": marked.to.name(),
            "copies.$[copy].cause": cause_document(marked.cause.as_ref()),
        };
        if let Some(at) = marked.verified_at {
            set.insert("copies.$[copy].verified_at", date(at));
        }
        let copy = doc! { "copy.target": target.as_str(), "copy.state": from };
        let update = self.backups.update_many(not_above(filter, leadership), doc! { "$set": set });
        Ok(write(update.array_filters(vec![copy])).await?.modified_count)
    }

    /// Whether every backup that begins with a snapshot is still to be brought to a target.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn owes(
        &self,
        department: &DepartmentName,
        target: &TargetName,
        snapshot: &str,
    ) -> Result<bool, StoreError> {
        let states = [CopyState::Present.name(), CopyState::Damaged.name()];
        let filter = doc! {
            "_id.department": department.as_str(),
            "state": BackupState::Complete.name(),
            "content.base.snapshot": snapshot,
            "copies": { "$elemMatch": { "target": target.as_str(), "state": { "$in": &states[..] } } },
        };
        Ok(read(self.backups.find_one(filter).projection(doc! { "_id": 1 })).await?.is_none())
    }
}
