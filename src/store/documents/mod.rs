//! The BSON shape of every document, and its way to and from the domain.
//!
//! Rule: reading never panics and never repeats a value in an error; what this version did not write is `Corrupt`.

pub(super) mod audit;
pub(super) mod backups;
pub(super) mod damage;
pub(super) mod departments;
pub(super) mod divergence;
pub(super) mod extjson;
pub(super) mod heads;
pub(super) mod names;
pub(super) mod restores;
pub(super) mod tokens;
pub(super) mod users;

use std::str::FromStr;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};

use super::StoreError;
use crate::domain::cause::Cause;
use crate::domain::clock::Timestamp;
use crate::domain::epoch::{Epoch, Executor};
use crate::domain::history::ClusterTime;
use names::Named;

/// Reads the fields of one document; every failure names the collection and the field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    collection: &'static str,
    document: &'a Document,
}

impl<'a> Fields<'a> {
    pub(super) const fn of(collection: &'static str, document: &'a Document) -> Self {
        Self { collection, document }
    }

    fn corrupt(&self, field: &str) -> StoreError {
        StoreError::Corrupt {
            collection: self.collection,
            reason: format!("the field `{field}` is absent or not of its type"),
        }
    }

    fn need<T>(&self, field: &str, value: Option<T>) -> Result<T, StoreError> {
        value.ok_or_else(|| self.corrupt(field))
    }

    /// The field, where it is neither absent nor null.
    fn present(&self, field: &str) -> Option<&'a Bson> {
        self.document.get(field).filter(|value| !matches!(value, Bson::Null))
    }

    /// A field that may be absent or null, read by one of the other readers.
    pub(super) fn opt<T>(
        &self,
        field: &str,
        read: impl FnOnce(&Self, &str) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.present(field).map(|_| read(self, field)).transpose()
    }

    pub(super) fn text(&self, field: &str) -> Result<&'a str, StoreError> {
        self.need(field, self.present(field).and_then(Bson::as_str))
    }

    pub(super) fn owned(&self, field: &str) -> Result<String, StoreError> {
        self.text(field).map(str::to_owned)
    }

    pub(super) fn parsed<T: FromStr>(&self, field: &str) -> Result<T, StoreError> {
        self.need(field, self.text(field)?.parse().ok())
    }

    pub(super) fn named<T: Named>(&self, field: &str) -> Result<T, StoreError> {
        self.need(field, T::from_name(self.text(field)?))
    }

    pub(super) fn int(&self, field: &str) -> Result<i64, StoreError> {
        let value = match self.present(field) {
            Some(Bson::Int64(value)) => Some(*value),
            Some(Bson::Int32(value)) => Some(i64::from(*value)),
            _ => None,
        };
        self.need(field, value)
    }

    pub(super) fn count(&self, field: &str) -> Result<u64, StoreError> {
        self.need(field, u64::try_from(self.int(field)?).ok())
    }

    pub(super) fn flag(&self, field: &str) -> Result<bool, StoreError> {
        self.need(field, self.present(field).and_then(Bson::as_bool))
    }

    pub(super) fn time(&self, field: &str) -> Result<Timestamp, StoreError> {
        let date = self.need(field, self.present(field).and_then(Bson::as_datetime))?;
        Ok(Timestamp::from_millis(date.timestamp_millis()))
    }

    pub(super) fn cluster_time(&self, field: &str) -> Result<ClusterTime, StoreError> {
        let time = self.need(field, self.present(field).and_then(Bson::as_timestamp))?;
        Ok(cluster_time_of(time))
    }

    pub(super) fn bytes(&self, field: &str) -> Result<Vec<u8>, StoreError> {
        match self.present(field) {
            Some(Bson::Binary(binary)) => Ok(binary.bytes.clone()),
            _ => Err(self.corrupt(field)),
        }
    }

    pub(super) fn hash(&self, field: &str) -> Result<[u8; 32], StoreError> {
        self.need(field, self.bytes(field)?.try_into().ok())
    }

    pub(super) fn sub(&self, field: &str) -> Result<Self, StoreError> {
        let document = self.need(field, self.present(field).and_then(Bson::as_document))?;
        Ok(Self { collection: self.collection, document })
    }

    pub(super) fn list<T>(
        &self,
        field: &str,
        read: impl Fn(&Self) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let items = self.need(field, self.present(field).and_then(Bson::as_array))?;
        let each = |item: &'a Bson| {
            let document = self.need(field, item.as_document())?;
            read(&Self { collection: self.collection, document })
        };
        items.iter().map(each).collect()
    }

    pub(super) fn texts<T>(&self, field: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, StoreError> {
        let items = self.need(field, self.present(field).and_then(Bson::as_array))?;
        items.iter().map(|item| self.need(field, item.as_str().and_then(&parse))).collect()
    }
}

/// A moment as a BSON date.
pub(super) fn date(time: Timestamp) -> DateTime {
    DateTime::from_millis(time.as_millis())
}

/// A moment that may be absent.
pub(super) fn opt_date(time: Option<Timestamp>) -> Bson {
    time.map_or(Bson::Null, |time| Bson::DateTime(date(time)))
}

/// A count as int64; counts never come near its end.
pub(super) fn long(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Bytes as generic binary.
pub(super) fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() })
}

/// An oplog moment as a BSON timestamp.
pub(super) const fn timestamp(time: ClusterTime) -> mongodb::bson::Timestamp {
    mongodb::bson::Timestamp { time: time.seconds, increment: time.ordinal }
}

/// A BSON timestamp as an oplog moment.
pub(super) const fn cluster_time_of(time: mongodb::bson::Timestamp) -> ClusterTime {
    ClusterTime { seconds: time.time, ordinal: time.increment }
}

/// A cause that may be absent.
pub(super) fn cause(cause: Option<&Cause>) -> Bson {
    cause.map_or(Bson::Null, |cause| Bson::Document(doc! { "code": &cause.code, "message": &cause.message }))
}

/// Reads a cause.
pub(super) fn cause_of(fields: &Fields<'_>, field: &str) -> Result<Cause, StoreError> {
    let inner = fields.sub(field)?;
    Ok(Cause { code: inner.owned("code")?, message: inner.owned("message")? })
}

/// Who carries a job out.
pub(super) fn executor(executor: &Executor) -> Document {
    doc! { "replica": executor.replica.as_str(), "epoch": executor.epoch.0 }
}

/// Reads who carries a job out.
pub(super) fn executor_of(fields: &Fields<'_>, field: &str) -> Result<Executor, StoreError> {
    let inner = fields.sub(field)?;
    Ok(Executor { replica: inner.parsed("replica")?, epoch: Epoch(inner.int("epoch")?) })
}
