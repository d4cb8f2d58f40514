//! What can go wrong with MongoDB, by situation.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use mongodb::error::{Error, ErrorKind, WriteFailure};

use super::meter::{self, Operation};
use super::room;
use crate::domain::epoch::Epoch;

/// What can go wrong with MongoDB. The source is never part of the text; log it with its chain.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// MongoDB does not answer, has no primary, or a timeout passed before anything was sent.
    #[error("MongoDB does not answer")]
    Unavailable(#[source] mongodb::error::Error),
    /// A write was sent and its outcome is not known: read before writing again.
    #[error("the outcome of a write to MongoDB is not known")]
    OutcomeUnknown(#[source] mongodb::error::Error),
    /// A unique field is taken.
    #[error("the {} is taken", .0.name())]
    Taken(UniqueField),
    /// The guard of a write no longer holds: the document was changed or deleted since it was read.
    #[error("the document changed since it was read")]
    Stale,
    /// What would be written refers to an object that is being deleted.
    #[error("it refers to an object that is being deleted")]
    Condemned,
    /// A higher epoch has claimed the department: this replica no longer leads it.
    #[error("fenced: epoch {0} no longer leads the department")]
    Fenced(Epoch),
    /// A stored document is not what this version wrote.
    #[error("a document in `{collection}` cannot be read: {reason}")]
    Corrupt {
        /// The collection.
        collection: &'static str,
        /// What is wrong with it, without its values.
        reason: String,
    },
    /// The server is not one that rollkeeper runs on.
    #[error("{0}")]
    Unsupported(String),
    /// A migration file was changed after it was applied, or is unknown to this version.
    #[error("{0}")]
    Migration(String),
    /// Anything else that the server or driver says.
    #[error("MongoDB refused an operation")]
    Other(#[source] mongodb::error::Error),
}

/// A field that is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UniqueField {
    /// The id, over all departments.
    Id,
    /// The name, in the department.
    Name,
}

impl UniqueField {
    /// The field's name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Name => "name",
        }
    }
}

/// How long a read may take before the server counts as hanging.
pub(super) const READ_WITHIN: Duration = Duration::from_secs(5);
/// How long a write may take before its outcome counts as unknown.
pub(super) const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// How long a read over a whole department may take.
pub(super) const LONG_READ_WITHIN: Duration = Duration::from_mins(1);

/// Runs a read: whatever stops it before an answer means that MongoDB is not available.
pub(super) async fn read<T>(operation: impl IntoFuture<Output = mongodb::error::Result<T>>) -> Result<T, StoreError> {
    read_within(READ_WITHIN, operation).await
}

/// Same as `read`, with a bound of its own.
pub(super) async fn read_within<T>(
    within: Duration,
    operation: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<T, StoreError> {
    let began = Instant::now();
    let placed = async {
        let _place = room::place().await;
        operation.await
    };
    let outcome = match tokio::time::timeout(within, placed).await {
        Ok(answer) => answer.map_err(StoreError::of_read),
        Err(_) => Err(StoreError::Unavailable(timed_out())),
    };
    meter::done(Operation::Read, began, &outcome);
    outcome
}

/// Runs a write: a break after it was sent leaves its outcome unknown.
pub(super) async fn write<T>(operation: impl IntoFuture<Output = mongodb::error::Result<T>>) -> Result<T, StoreError> {
    let began = Instant::now();
    let outcome = answered(operation).await.and_then(|answer| answer.map_err(StoreError::of_write));
    meter::done(Operation::Write, began, &outcome);
    outcome
}

/// The answer to a write, if there is one in time.
pub(super) async fn answered<T>(
    operation: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<mongodb::error::Result<T>, StoreError> {
    let over = tokio::time::Instant::now() + WRITE_WITHIN;
    // Whoever finds no place has sent nothing.
    let place = tokio::time::timeout_at(over, room::place()).await;
    let _place = place.map_err(|_| StoreError::Unavailable(timed_out()))?;
    let answer = tokio::time::timeout_at(over, operation.into_future()).await;
    answer.map_err(|_| StoreError::OutcomeUnknown(timed_out()))
}

fn timed_out() -> Error {
    Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
}

/// Server codes that say that no primary took the command. The driver sends a write again by itself, so they may be about the
/// second time only.
const NOT_PRIMARY: [i32; 3] = [10107, 13435, 10058];
/// Server codes of a node that stops, recovers or cannot reach the others.
const INTERRUPTED: [i32; 12] = [11600, 11602, 13436, 189, 91, 6, 7, 50, 64, 89, 134, 262];

/// Server codes of a cluster time that the server no longer, or not yet, has a snapshot of: `SnapshotTooOld`,
/// `SnapshotUnavailable`.
const SNAPSHOT_GONE: [i32; 2] = [239, 246];

impl StoreError {
    /// The situation of a read that failed.
    pub(super) fn of_read(error: Error) -> Self {
        let unavailable = is_before_send(&error)
            || matches!(*error.kind, ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. })
            || command_code(&error).is_some_and(|code| NOT_PRIMARY.contains(&code) || INTERRUPTED.contains(&code));
        if unavailable { Self::Unavailable(error) } else { Self::Other(error) }
    }

    /// The situation of a write that failed.
    pub(super) fn of_write(error: Error) -> Self {
        if let Some(field) = duplicate_of(&error) {
            return Self::Taken(field);
        }
        let code = command_code(&error);
        // Nothing of a transaction is sent again but its commit.
        let in_transaction = error.contains_label(mongodb::error::TRANSIENT_TRANSACTION_ERROR);
        let not_primary = code.is_some_and(|code| NOT_PRIMARY.contains(&code));
        // Where the driver finds a server hanging it breaks off what is under way with the same kind of error.
        let cleared = matches!(*error.kind, ErrorKind::ConnectionPoolCleared { .. });
        if is_before_send(&error) || (not_primary || cleared) && in_transaction {
            return Self::Unavailable(error);
        }
        let unknown = matches!(
            *error.kind,
            ErrorKind::Io(_) | ErrorKind::Write(WriteFailure::WriteConcernError(_)) | ErrorKind::Shutdown
        ) || not_primary
            || cleared
            || code.is_some_and(|code| INTERRUPTED.contains(&code));
        if unknown { Self::OutcomeUnknown(error) } else { Self::Other(error) }
    }

    /// Whether what failed so, a transaction or a read at a cluster time, may simply be run again.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(error) | Self::OutcomeUnknown(error) | Self::Other(error) => {
                error.contains_label(mongodb::error::TRANSIENT_TRANSACTION_ERROR)
                    || command_code(error).is_some_and(|code| SNAPSHOT_GONE.contains(&code))
            }
            _ => false,
        }
    }

    /// Whether the server has no snapshot (any more) of the cluster time that was read at.
    pub(crate) fn is_snapshot_gone(&self) -> bool {
        match self {
            Self::Unavailable(error) | Self::Other(error) => {
                command_code(error).is_some_and(|code| SNAPSHOT_GONE.contains(&code))
            }
            _ => false,
        }
    }

    /// The unique field of a duplicate key error, from the name of the index in the server's message.
    pub(super) fn taken_from_message(message: &str) -> Self {
        Self::Taken(field_of(message))
    }
}

/// Whether an error came before anything was sent, so that a write surely did not happen.
fn is_before_send(error: &Error) -> bool {
    matches!(
        *error.kind,
        ErrorKind::ServerSelection { .. } | ErrorKind::DnsResolve { .. } | ErrorKind::Authentication { .. }
    ) || error.contains_label(mongodb::error::SYSTEM_OVERLOADED_ERROR)
        || error.contains_label(mongodb::error::NO_WRITES_PERFORMED)
}

/// The server's code of a refused command.
pub(super) fn command_code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// The server's code for a duplicate key.
pub(super) const DUPLICATE_KEY: i32 = 11000;

fn duplicate_of(error: &Error) -> Option<UniqueField> {
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(write)) if write.code == DUPLICATE_KEY => {
            Some(field_of(&write.message))
        }
        ErrorKind::Command(command) if command.code == DUPLICATE_KEY => Some(field_of(&command.message)),
        _ => None,
    }
}

/// "E11000 duplicate key error collection: db.users index: NAME dup key: …": the first "index: " names the index, since
/// neither a database nor a collection of ours has a space in its name.
fn field_of(message: &str) -> UniqueField {
    let index = message.split_once(" index: ").map_or("", |(_, rest)| rest);
    if index.starts_with("department_name ") { UniqueField::Name } else { UniqueField::Id }
}
