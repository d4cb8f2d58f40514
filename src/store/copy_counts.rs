//! How many copies of a department's complete backups are not present, by target and state.

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use super::StoreError;
use super::copies::Copies;
use super::documents::names::Named as _;
use super::error::read;
use crate::domain::backup::BackupState;
use crate::domain::copies::CopyState;
use crate::domain::ids::{DepartmentName, TargetName};

/// Copies on one target in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyCount {
    /// The target.
    pub target: TargetName,
    /// `owed`, `damaged` or `missing`.
    pub state: &'static str,
    /// How many.
    pub copies: u64,
}

impl Copies {
    /// Counts the copies that are not present; a target and state without any is absent.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn count_lacking(&self, department: &DepartmentName) -> Result<Vec<CopyCount>, StoreError> {
        let lacking: Vec<&str> =
            [CopyState::Owed, CopyState::Damaged, CopyState::Missing].into_iter().map(CopyState::name).collect();
        let of_department = doc! {
            "_id.department": department.as_str(),
            "state": BackupState::Complete.name(),
            "copies.state": { "$in": &lacking },
        };
        let pipeline = [
            doc! { "$match": of_department },
            doc! { "$project": { "copies.target": 1, "copies.state": 1 } },
            doc! { "$unwind": "$copies" },
            doc! { "$match": { "copies.state": { "$in": &lacking } } },
            doc! { "$group": { "_id": "$copies", "copies": { "$sum": 1_i64 } } },
        ];
        let found: Vec<Document> = read(async { self.backups.aggregate(pipeline).await?.try_collect().await }).await?;
        Ok(found.iter().filter_map(counted).collect())
    }
}

/// A count of a target that was never a valid name is nobody's.
fn counted(document: &Document) -> Option<CopyCount> {
    let of = document.get_document("_id").ok()?;
    let state = CopyState::from_name(of.get_str("state").ok()?)?.name();
    let copies = document.get_i64("copies").ok().and_then(|copies| u64::try_from(copies).ok())?;
    Some(CopyCount { target: of.get_str("target").ok()?.parse().ok()?, state, copies })
}
