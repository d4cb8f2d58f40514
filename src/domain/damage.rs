//! What is missing from the journal on a target, and no other target could give.

use super::clock::Timestamp;
use super::history::{Sequence, Timeline};
use super::ids::TargetName;

/// A place where the journal on a target breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalDamage {
    /// The target.
    pub target: TargetName,
    /// The line of history.
    pub timeline: Timeline,
    /// The last change that is whole.
    pub after: Sequence,
    /// The next change that is whole; absent when there is none.
    pub until: Option<Sequence>,
    /// When it was found.
    pub found_at: Timestamp,
}
