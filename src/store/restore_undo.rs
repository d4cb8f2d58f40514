//! What the undo of a restore needs: the wish, recorded once for each restore, and what the restore wrote, by id.
//!
//! Rule: the restore names its undo in the transaction that records the undo, so that two of them never run.

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use mongodb::bson::{Document, RawDocumentBuf, doc};

use super::StoreError;
use super::audit::put;
use super::documents::Fields;
use super::documents::restores::{read_restore, restore_document};
use super::documents::users::{read_user, rev_of};
use super::error::{LONG_READ_WITHIN, read_within};
use super::restore_batches::RestoreBatches;
use super::restores::Restores;
use super::txn::Txn;
use crate::domain::audit::AuditRecord;
use crate::domain::ids::{RestoreId, UserId};
use crate::domain::restore::{Restore, RestoreSource, RestoreState};
use crate::domain::undo::Written;

/// What became of the wish for an undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UndoRequested {
    /// It is recorded.
    Queued,
    /// The restore has not ended.
    Unfinished(RestoreState),
    /// Another undo of the restore waits, runs or is complete.
    Undone(RestoreId),
}

impl Restores {
    /// Records the wish to undo a restore that has ended. No leader write.
    ///
    /// # Errors
    /// `Stale` when there is no such restore; when MongoDB does not answer.
    pub async fn request_undo(&self, undo: &Restore, record: &AuditRecord) -> Result<UndoRequested, StoreError> {
        let RestoreSource::Undo(of) = &undo.request.source else { return Err(StoreError::Stale) };
        let mut txn = Txn::plain(self.database()).await?;
        loop {
            let outcome = request(&mut txn, (undo, of), record).await;
            if let Some(requested) = txn.finish(outcome).await? {
                return Ok(requested);
            }
        }
    }
}

async fn request(
    txn: &mut Txn,
    (undo, of): (&Restore, &RestoreId),
    record: &AuditRecord,
) -> Result<UndoRequested, StoreError> {
    let by_id = |id: &RestoreId| doc! { "_id.id": id.as_str() };
    let restore = one(txn, by_id(of)).await?.ok_or(StoreError::Stale)?;
    if !restore.state.is_final() {
        return Ok(UndoRequested::Unfinished(restore.state));
    }
    if let Some(other) = &restore.undone_by {
        let earlier = one(txn, by_id(other)).await?;
        // One that ended early left something: what it did take back is found to be so.
        let ended_early =
            earlier.is_none_or(|undo| matches!(undo.state, RestoreState::Failed | RestoreState::Cancelled));
        if !ended_early {
            return Ok(UndoRequested::Undone(other.clone()));
        }
    }
    txn.set("restores", by_id(of), doc! { "$set": { "undone_by": undo.id.as_str() } }).await?;
    txn.insert("restores", restore_document(undo)).await?;
    put(txn, record).await?;
    Ok(UndoRequested::Queued)
}

async fn one(txn: &mut Txn, filter: Document) -> Result<Option<Restore>, StoreError> {
    txn.find("restores", filter).await?.first().map(read_restore).transpose()
}

impl RestoreBatches {
    /// What a restore wrote after an id, or all of it, sorted by id, each record once.
    pub fn written(
        &self,
        restore: &RestoreId,
        after: Option<&UserId>,
    ) -> impl Stream<Item = Result<Written, StoreError>> + Send + use<> {
        let mut pipeline = vec![
            doc! { "$match": { "_id.restore": restore.as_str() } },
            doc! { "$project": { "records": 1 } },
            doc! { "$unwind": { "path": "$records", "includeArrayIndex": "at" } },
        ];
        if let Some(after) = after {
            pipeline.push(doc! { "$match": { "records.id": { "$gt": after.as_str() } } });
        }
        pipeline.push(doc! { "$sort": { "records.id": 1, "_id.batch": 1, "at": 1 } });
        pipeline.push(doc! { "$replaceWith": "$records" });
        // The server sorts a large restore on its disk.
        let batches = self.batches.clone();
        let opened = async move {
            let ask = batches.aggregate(pipeline).allow_disk_use(true).with_type::<RawDocumentBuf>();
            let cursor = read_within(LONG_READ_WITHIN, ask).await?;
            Ok::<_, StoreError>(cursor.map_err(StoreError::of_read))
        };
        let writes = futures::stream::once(opened).try_flatten();
        let writes = writes.map(|document| document.and_then(|document| read_written(&document)));
        joined(writes)
    }
}

/// Neighbours of one id as one.
fn joined(
    writes: impl Stream<Item = Result<Written, StoreError>> + Send,
) -> impl Stream<Item = Result<Written, StoreError>> + Send {
    let begin = (Box::pin(writes), None::<Written>);
    futures::stream::try_unfold(begin, |(mut writes, mut held)| async move {
        loop {
            match (writes.try_next().await?, held.take()) {
                (Some(next), Some(last)) if next.user_id == last.user_id => held = Some(last.then(next)),
                (Some(next), Some(last)) => return Ok(Some((last, (writes, Some(next))))),
                (Some(next), None) => held = Some(next),
                (None, Some(last)) => return Ok(Some((last, (writes, None)))),
                (None, None) => return Ok(None),
            }
        }
    })
}

fn read_written(raw: &RawDocumentBuf) -> Result<Written, StoreError> {
    let corrupt =
        |_| StoreError::Corrupt { collection: "restore_batches", reason: "a record is not valid BSON".to_owned() };
    let document = Document::try_from(raw.as_ref()).map_err(corrupt)?;
    let fields = Fields::of("restore_batches", &document);
    Ok(Written {
        user_id: fields.parsed("id")?,
        before: fields.opt("before", Fields::int)?.map(rev_of),
        after: fields.opt("after", Fields::int)?.map(rev_of),
        value: raw.get_document("value").ok().map(read_user).transpose()?,
    })
}
