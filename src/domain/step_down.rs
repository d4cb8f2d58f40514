//! The wish that a leadership goes to another replica.
//!
//! Rule: a wish names the epoch that it is about, so it is void as soon as anybody else has led.

use super::clock::Timestamp;
use super::epoch::Epoch;
use super::ids::{DepartmentName, ReplicaId};

/// How long a wish holds. What could not be done by then is not wanted any more.
const HOLDS_MILLIS: i64 = 10_000;

/// Why a leadership should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepDownReason {
    /// Somebody asked: at once; a restore goes on under the next leader.
    Asked,
    /// So that every replica leads its share: only while no backup or restore is under way.
    Balance,
}

/// A wish that the leadership of a department goes to another replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepDown {
    /// The department.
    pub department: DepartmentName,
    /// The leadership that should end.
    pub epoch: Epoch,
    /// Who leads next.
    pub to: ReplicaId,
    /// Why.
    pub reason: StepDownReason,
    /// When it was asked for.
    pub requested_at: Timestamp,
}

impl StepDown {
    /// Whether a leader of this epoch should still follow it.
    pub fn concerns(&self, epoch: Epoch, now: Timestamp) -> bool {
        self.epoch == epoch && now < self.void_at()
    }

    /// When it is void.
    pub fn void_at(&self) -> Timestamp {
        Timestamp::from_millis(self.requested_at.as_millis() + HOLDS_MILLIS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_void_for_another_epoch_and_after_ten_seconds() {
        let wish = StepDown {
            department: DepartmentName::default_department(),
            epoch: Epoch(4),
            to: "r2".parse().unwrap(),
            reason: StepDownReason::Asked,
            requested_at: Timestamp::from_millis(1_000),
        };
        assert!(wish.concerns(Epoch(4), Timestamp::from_millis(10_999)));
        assert!(!wish.concerns(Epoch(4), Timestamp::from_millis(11_000)));
        assert!(!wish.concerns(Epoch(5), Timestamp::from_millis(1_000)));
    }
}
