//! A sync barrier: a mark in the change stream behind every write that was acknowledged before it.

use super::clock::Timestamp;
use super::epoch::Executor;
use super::history::{Chain, JournalCopy, Sequence, Timeline};
use super::ids::{BarrierId, DepartmentName};

/// A barrier, and its receipt once everything before it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barrier {
    /// Its id.
    pub id: BarrierId,
    /// The department.
    pub department: DepartmentName,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// Absent while it is open.
    pub receipt: Option<Receipt>,
}

/// Says what is durable: the history up to a sequence, on the write quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The line of history.
    pub timeline: Timeline,
    /// Every change up to and including this one is durable.
    pub sequence: Sequence,
    /// The chain at that sequence.
    pub chain: Chain,
    /// A moment that has everything acknowledged before the barrier. Later changes may be up to the sequence and after it.
    pub time: Timestamp,
    /// How far each target holds the journal.
    pub copies: Vec<JournalCopy>,
    /// Who gave it.
    pub executed_by: Executor,
}
