//! The audit document.

use mongodb::bson::{Document, doc};

use super::names::Named as _;
use super::{Fields, date};
use crate::domain::audit::AuditRecord;
use crate::domain::ids::{DepartmentName, TokenId};
use crate::store::StoreError;

/// A record as stored.
pub(in crate::store) fn audit_document(record: &AuditRecord) -> Document {
    doc! {
        "_id": record.id.as_str(),
        "at": date(record.at),
        "caller": &record.caller,
        "token_id": record.token_id.as_ref().map(TokenId::as_str),
        "action": record.action.name(),
        "department": record.department.as_ref().map(DepartmentName::as_str),
        "subject": &record.subject,
        "request_id": record.request_id.as_deref(),
        "replica": record.replica.as_str(),
        "outcome": record.outcome.name(),
        "expires_at": date(record.expires_at),
    }
}

/// Reads a record.
pub(in crate::store) fn read_audit(document: &Document) -> Result<AuditRecord, StoreError> {
    let fields = Fields::of("audit", document);
    Ok(AuditRecord {
        id: fields.parsed("_id")?,
        at: fields.time("at")?,
        caller: fields.owned("caller")?,
        token_id: fields.opt("token_id", Fields::parsed)?,
        action: fields.named("action")?,
        department: fields.opt("department", Fields::parsed)?,
        subject: fields.owned("subject")?,
        request_id: fields.opt("request_id", Fields::owned)?,
        replica: fields.parsed("replica")?,
        outcome: fields.named("outcome")?,
        expires_at: fields.time("expires_at")?,
    })
}
