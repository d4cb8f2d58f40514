//! The change stream of one department: its users, its jobs, and every event without a document key.
//!
//! Rule: the order of events is the truth. Nothing is looked up; a foreign update is told by its own description.

use super::StoreError;
use crate::domain::clock::Timestamp;
use crate::domain::history::{Change, ClusterTime, StreamToken};
use crate::domain::ids::DepartmentName;

/// Opens change streams.
#[derive(Debug, Clone)]
pub struct Tail {}

/// Where a stream begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailStart {
    /// After the event of this token.
    After(StreamToken),
    /// At this cluster time, its own events included.
    At(ClusterTime),
}

/// An open change stream of one department.
#[derive(Debug)]
pub struct TailStream {}

/// One event, or the news that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailEvent {
    /// What happened.
    pub kind: TailKind,
    /// The oplog moment; absent for `Idle`.
    pub cluster_time: Option<ClusterTime>,
    /// The server's wall clock at the event; absent for `Idle`.
    pub wall_time: Option<Timestamp>,
    /// Where the stream goes on after it.
    pub token: StreamToken,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailKind {
    /// A user of the department changed.
    User(Change),
    /// A backup job of the department changed; the marker of its last take, where the event carries one.
    Backup {
        /// Marker written by `Backups::take`.
        marker: Option<String>,
    },
    /// A restore job of the department changed.
    Restore,
    /// The department's own document changed (policy, state, schedule).
    Department,
    /// Nothing more for now: everything up to the token has been told.
    Idle,
    /// The stream is over, for this reason: `collection_dropped`, `collection_renamed`, `database_dropped`,
    /// `invalidated`, `stream_ended`, `history_lost` (286), `token_of_another_stream` (280),
    /// `stream_too_old` (136).
    Broken(&'static str),
}

impl Tail {
    /// Opens the stream of a department.
    ///
    /// # Errors
    /// When MongoDB does not answer. A start that the oplog no longer has is told by a `Broken` event instead.
    pub async fn open(&self, department: &DepartmentName, start: &TailStart) -> Result<TailStream, StoreError> {
        todo!()
    }
}

impl TailStream {
    /// The next event; waits up to about half a second and then tells `Idle`.
    /// Cancel-safe: dropping the future loses no event.
    ///
    /// # Errors
    /// `Unavailable` when MongoDB does not answer: open a new stream after the last token.
    pub async fn next(&mut self) -> Result<TailEvent, StoreError> {
        todo!()
    }
}
