//! Which moments open restores still read: retention leaves them alone.

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use super::StoreError;
use super::documents::Fields;
use super::error::read;
use super::kept::{Kept, OPEN};
use crate::domain::history::Sequence;
use crate::domain::ids::{DepartmentName, RestoreId};
use crate::domain::window::Moment;

impl Kept {
    /// The moments of a department that restores read which have not ended, into whichever department.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn moments(&self, department: &DepartmentName) -> Result<Vec<(Moment, RestoreId)>, StoreError> {
        let filter = doc! { "state": { "$in": OPEN.as_slice() }, "request.from_department": department.as_str() };
        let find = self.restores.find(filter).projection(doc! { "request.at": 1, "request.sequence": 1 });
        let found: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        let each = |document: &Document| {
            let fields = Fields::of("restores", document);
            let request = fields.sub("request")?;
            let moment = match request.opt("at", Fields::time)? {
                Some(at) => Moment::Time(at),
                None => Moment::Sequence(Sequence(request.int("sequence")?)),
            };
            Ok((moment, fields.sub("_id")?.parsed("id")?))
        };
        found.iter().map(each).collect()
    }
}
