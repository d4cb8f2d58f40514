//! The users document, read by hand from raw BSON: a scan reads a million of them.

use mongodb::bson::raw::RawBsonRef;
use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc, rawdoc};

use super::date;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{DepartmentName, UserId};
use crate::domain::user::{PasswordHash, Rev, User, UserName};
use crate::store::StoreError;

/// The rev as stored: the same 64 bits as a signed number.
pub(in crate::store) fn rev_bits(rev: Rev) -> i64 {
    rev.bits().cast_signed()
}

/// The rev of stored bits.
pub(in crate::store) fn rev_of(bits: i64) -> Rev {
    Rev::from_bits(bits.cast_unsigned())
}

/// The `_id` of a user, in the field order that its index compares.
pub(in crate::store) fn user_key(department: &DepartmentName, id: &UserId) -> Document {
    doc! { "department": department.as_str(), "id": id.as_str() }
}

/// A user as the whole document that is stored.
pub(in crate::store) fn user_document(user: &User) -> RawDocumentBuf {
    rawdoc! {
        "_id": { "department": user.department.as_str(), "id": user.id.as_str() },
        "name": user.name.as_str(),
        "password_hash": user.password_hash.expose(),
        "locked": user.locked,
        "rev": rev_bits(user.rev),
        "version": user.version,
        "created_at": date(user.created_at),
        "updated_at": date(user.updated_at),
    }
}

fn corrupt(reason: &str) -> StoreError {
    StoreError::Corrupt { collection: "users", reason: reason.to_owned() }
}

/// Reads the `_id` of a user.
pub(in crate::store) fn read_key(key: &RawDocument) -> Result<(DepartmentName, UserId), StoreError> {
    let mut department = None;
    let mut id = None;
    for element in key.iter_elements() {
        let element = element.map_err(|_| corrupt("the `_id` is not valid BSON"))?;
        let value = element.value().map_err(|_| corrupt("the `_id` is not valid BSON"))?;
        match (element.key().as_str(), value) {
            ("department", RawBsonRef::String(text)) => department = text.parse().ok(),
            ("id", RawBsonRef::String(text)) => id = text.parse().ok(),
            _ => return Err(corrupt("the `_id` has a field that is unknown or not a text")),
        }
    }
    match (department, id) {
        (Some(department), Some(id)) => Ok((department, id)),
        _ => Err(corrupt("the `_id` is not a department and an id")),
    }
}

/// The fields of a users document while it is read.
#[derive(Default)]
struct Parts {
    key: Option<(DepartmentName, UserId)>,
    name: Option<UserName>,
    password_hash: Option<PasswordHash>,
    locked: Option<bool>,
    rev: Option<Rev>,
    version: Option<i64>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
}

impl Parts {
    fn take(&mut self, field: &str, value: RawBsonRef<'_>) -> Result<(), StoreError> {
        match (field, value) {
            ("_id", RawBsonRef::Document(key)) => self.key = Some(read_key(key)?),
            ("name", RawBsonRef::String(text)) => self.name = Some(UserName::from_stored(text.to_owned())),
            ("password_hash", RawBsonRef::String(text)) => {
                self.password_hash = Some(PasswordHash::from_checked(text.to_owned()));
            }
            ("locked", RawBsonRef::Boolean(flag)) => self.locked = Some(flag),
            ("rev", RawBsonRef::Int64(bits)) => self.rev = Some(rev_of(bits)),
            ("version", RawBsonRef::Int64(version)) => self.version = Some(version),
            ("created_at", RawBsonRef::DateTime(at)) => {
                self.created_at = Some(Timestamp::from_millis(at.timestamp_millis()));
            }
            ("updated_at", RawBsonRef::DateTime(at)) => {
                self.updated_at = Some(Timestamp::from_millis(at.timestamp_millis()));
            }
            _ => return Err(corrupt("it has a field that is unknown or not of its type")),
        }
        Ok(())
    }

    fn whole(self) -> Option<User> {
        let (department, id) = self.key?;
        Some(User {
            id,
            department,
            name: self.name?,
            password_hash: self.password_hash?,
            locked: self.locked?,
            rev: self.rev?,
            version: self.version?,
            created_at: self.created_at?,
            updated_at: self.updated_at?,
        })
    }
}

/// Reads a users document.
pub(in crate::store) fn read_user(document: &RawDocument) -> Result<User, StoreError> {
    let mut parts = Parts::default();
    for element in document.iter_elements() {
        let element = element.map_err(|_| corrupt("it is not valid BSON"))?;
        let value = element.value().map_err(|_| corrupt("it is not valid BSON"))?;
        parts.take(element.key().as_str(), value)?;
    }
    parts.whole().ok_or_else(|| corrupt("a field is absent"))
}
