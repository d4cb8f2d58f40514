//! What one raw event says.
//!
//! Rule: nothing is looked up; a foreign update is told by its own description.

use mongodb::bson::{Document, RawDocument, RawDocumentBuf};

use super::{TailKind, corrupt};
use crate::domain::history::Change;
use crate::domain::ids::{BarrierId, DepartmentName};
use crate::store::StoreError;
use crate::store::documents::extjson::canonical;
use crate::store::documents::users::{read_key, read_user};
use crate::store::step_downs;

/// The reason of an event after which nothing is as it was.
pub(super) fn gone(operation: &str) -> Option<&'static str> {
    match operation {
        "drop" => Some("collection_dropped"),
        "rename" => Some("collection_renamed"),
        "dropDatabase" => Some("database_dropped"),
        "invalidate" => Some("invalidated"),
        _ => None,
    }
}

/// The department that an event belongs to.
pub(super) fn department_of(event: &RawDocumentBuf) -> Option<DepartmentName> {
    let key = event.get_document("documentKey").ok()?;
    let own = || key.get_document("_id").ok()?.get_str("department").ok();
    key.get_str("_id").ok().or_else(own)?.parse().ok()
}

/// Whether an event is one of the users.
pub(super) fn is_of_users(event: &RawDocumentBuf) -> bool {
    event.get_document("ns").and_then(|ns| ns.get_str("coll")).is_ok_and(|collection| collection == "users")
}

pub(super) fn kind_of(operation: &str, event: &RawDocumentBuf) -> Result<TailKind, StoreError> {
    let collection = event.get_document("ns").and_then(|ns| ns.get_str("coll")).map_err(|_| corrupt("no namespace"))?;
    match collection {
        "users" => change_of(operation, event).map(TailKind::User),
        "backups" => Ok(TailKind::Backup { marker: marker_of(event) }),
        "restores" => Ok(TailKind::Restore),
        "barriers" if id_of(event) == Some(step_downs::ID) => Ok(TailKind::StepDown),
        "barriers" if is_asked(operation, event) => {
            // A tick lies among the barriers, and nobody waits for it.
            Ok(barrier_of(event).map_or(TailKind::Other, TailKind::Barrier))
        }
        "barriers" => Ok(TailKind::Other),
        _ => Ok(TailKind::Department),
    }
}

fn marker_of(event: &RawDocumentBuf) -> Option<String> {
    let updated = event.get_document("updateDescription").ok()?.get_document("updatedFields").ok()?;
    updated.get_str("marker").ok().map(str::to_owned)
}

/// A barrier is asked for when it is made, and again by each new leader; its receipt asks for nothing.
fn is_asked(operation: &str, event: &RawDocumentBuf) -> bool {
    let updated = || event.get_document("updateDescription").ok()?.get_document("updatedFields").ok();
    operation == "insert" || updated().is_some_and(|fields| fields.get("asked").is_ok_and(|asked| asked.is_some()))
}

fn barrier_of(event: &RawDocumentBuf) -> Option<BarrierId> {
    id_of(event)?.parse().ok()
}

fn id_of(event: &RawDocumentBuf) -> Option<&str> {
    event.get_document("documentKey").ok()?.get_document("_id").ok()?.get_str("id").ok()
}

/// Session and number of the transaction of an event; only events of transactions have them.
pub(super) fn transaction_of(event: &RawDocumentBuf) -> Option<Vec<u8>> {
    let number = event.get_i64("txnNumber").ok()?;
    let mut id = event.get_document("lsid").ok()?.as_bytes().to_vec();
    id.extend_from_slice(&number.to_le_bytes());
    Some(id)
}

fn change_of(operation: &str, event: &RawDocumentBuf) -> Result<Change, StoreError> {
    let key = event.get_document("documentKey").and_then(|key| key.get_document("_id"));
    let (_, id) = read_key(key.map_err(|_| corrupt("it has no document key"))?)?;
    match operation {
        "insert" | "replace" => {
            let document = event.get_document("fullDocument").map_err(|_| corrupt("it has no document"))?;
            match read_user(document) {
                Ok(user) => Ok(Change::Put(user)),
                // Written past the validator by somebody else: kept as it is, never left out.
                Err(_) => Ok(Change::Patch(id, text_of(document, "fullDocument")?)),
            }
        }
        "delete" => Ok(Change::Delete(id)),
        _ => {
            let update = event.get_document("updateDescription").map_err(|_| corrupt("it has no description"))?;
            Ok(Change::Patch(id, text_of(update, "updateDescription")?))
        }
    }
}

fn text_of(raw: &RawDocument, name: &str) -> Result<String, StoreError> {
    let document = Document::try_from(raw).map_err(|_| corrupt("it is not valid BSON"))?;
    Ok(serde_json::json!({ name: canonical(&document) }).to_string())
}
