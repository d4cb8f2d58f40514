//! What the last comparison of a department's history with its live records found.

use super::clock::Timestamp;
use super::history::{Sequence, Timeline};
use super::ids::UserId;

/// Ids that are named; the others are only counted.
pub const DRIFT_IDS_MAX: usize = 100;

/// The outcome of a comparison of history and live records at one point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// When it was made.
    pub checked_at: Timestamp,
    /// The line of history.
    pub timeline: Timeline,
    /// The history up to here was compared.
    pub sequence: Sequence,
    /// Live records that were compared.
    pub records: u64,
    /// Users that are not the same on both sides. None unless something wrote past the change stream, or we are wrong.
    pub differing: u64,
    /// The first of them.
    pub ids: Vec<UserId>,
}
