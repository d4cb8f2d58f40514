//! What can go wrong with MongoDB, by situation.

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
