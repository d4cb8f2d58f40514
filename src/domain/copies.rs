//! Targets and the copies that lie on them, as values to show and to decide on.

use super::cause::Cause;
use super::clock::Timestamp;
use super::ids::TargetName;

/// State of what one target holds of one backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// All objects are there and were read back.
    Present,
    /// Not there yet; caught up when the target is back.
    Owed,
    /// At least one object differs from what was written.
    Damaged,
    /// At least one object that was there is gone.
    Missing,
}

/// What one target holds of one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The target.
    pub target: TargetName,
    /// What it holds.
    pub state: CopyState,
    /// When the copy was last read back and found good.
    pub verified_at: Option<Timestamp>,
    /// Why it is not present.
    pub cause: Option<Cause>,
}

/// Whether a target works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetState {
    /// The last operation worked.
    Ok,
    /// The last operation failed; the cause says how.
    Down,
    /// An operation has not ended within its time.
    Slow,
    /// It refuses writes.
    ReadOnly,
    /// It has no space left.
    Full,
    /// It holds another repository, and is neither read nor written.
    Foreign,
}

/// What is known of a target now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetStatus {
    /// The target.
    pub name: TargetName,
    /// Whether it works.
    pub state: TargetState,
    /// Why not, when it does not.
    pub cause: Option<Cause>,
    /// Since when it is in this state.
    pub since: Timestamp,
}
