//! A department, its policy, and the slots of its schedule.

use std::time::Duration;

use super::clock::Timestamp;
use super::ids::DepartmentName;
use super::retention::Retention;
use super::text::Invalid;
use super::user::Rev;

/// Shortest time between two scheduled backups.
pub const BACKUP_EVERY_MIN: Duration = Duration::from_secs(10);
/// Longest time between two scheduled backups.
pub const BACKUP_EVERY_MAX: Duration = Duration::from_hours(31 * 24);

/// A partition of the users with its own leader, policy and history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Department {
    /// Its name.
    pub name: DepartmentName,
    /// What its leader keeps to.
    pub policy: Policy,
    /// Whether it takes users.
    pub state: DepartmentState,
    /// Guard of a policy write, and the `ETag`.
    pub rev: Rev,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its policy was last written.
    pub updated_at: Timestamp,
    /// How far its schedule has come.
    pub schedule: Schedule,
}

impl Department {
    /// From when on what is left of a deleted department goes as its policy drops it: until then, which is `least` after the
    /// deletion or later, all of it stays. None for one that is not deleted.
    pub fn ends_from(&self, least: Duration) -> Option<Timestamp> {
        // Nothing writes it after its deletion.
        let deleted_at = Some(self.updated_at).filter(|_| self.state == DepartmentState::Deleted);
        deleted_at.map(|at| at.later_by(self.policy.retention.keep_within.max(least)))
    }
}

/// Whether a department takes users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepartmentState {
    /// It is listed and takes users.
    Active,
    /// It was deleted: hidden, refuses new users, still led until its history has ended and it is forgotten.
    Deleted,
}

/// What the leader of a department keeps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Time between two scheduled backups, 10 s to 31 d.
    pub backup_every: Duration,
    /// What is kept of backups and history.
    pub retention: Retention,
}

impl Policy {
    /// Checks the limits of a policy, which keeps what is kept by default.
    ///
    /// # Errors
    /// When `backup_every` is outside 10 s to 31 d, or not in whole seconds.
    pub fn checked(backup_every: Duration) -> Result<Self, Invalid> {
        let in_range = (BACKUP_EVERY_MIN..=BACKUP_EVERY_MAX).contains(&backup_every);
        if !in_range || backup_every.subsec_nanos() != 0 {
            return Err(Invalid::new(
                "invalid_backup_every",
                "backup_every is a whole number of seconds from 10s to 31d, for example \"10s\", \"1h\" or \"7d\".",
            ));
        }
        Ok(Self { backup_every, retention: Retention::default() })
    }

    /// The same policy with another retention.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// The slot that a moment lies in: the last multiple of `backup_every` since the Unix epoch.
    pub fn slot_at(&self, now: Timestamp) -> Timestamp {
        let every = i64::try_from(self.backup_every.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(now.as_millis() - now.as_millis().rem_euclid(every))
    }

    /// How many slots passed between the last one that was taken and `next`. Before `since`, when the policy was
    /// written, there were no slots of it that anybody could have taken.
    pub fn slots_missed(&self, last: Timestamp, since: Timestamp, next: Timestamp) -> u64 {
        let every = i64::try_from(self.backup_every.as_millis()).unwrap_or(i64::MAX);
        let steps = (next.as_millis() - self.slot_at(last.max(since)).as_millis()) / every;
        u64::try_from(steps - 1).unwrap_or(0)
    }
}

/// How far the schedule of a department has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The newest slot that was taken.
    pub last_slot: Option<Timestamp>,
    /// Slots that passed without a backup.
    pub missed_slots: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(seconds: u64) -> Policy {
        Policy::checked(Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn a_policy_keeps_to_its_limits() {
        for bad in [0, 9, 31 * 86_400 + 1] {
            assert!(Policy::checked(Duration::from_secs(bad)).is_err(), "{bad}");
        }
        assert!(Policy::checked(Duration::from_millis(10_500)).is_err());
    }

    #[test]
    fn a_moment_lies_in_the_slot_that_began_last() {
        let slot = policy(10).slot_at(Timestamp::from_millis(25_999));
        assert_eq!(slot, Timestamp::from_millis(20_000));
    }

    #[test]
    fn skipped_slots_are_counted() {
        let p = policy(10);
        let at = |s: i64| Timestamp::from_millis(s * 1000);
        assert_eq!(p.slots_missed(at(10), at(0), at(20)), 0);
        assert_eq!(p.slots_missed(at(10), at(0), at(50)), 3);
    }

    #[test]
    fn slots_before_the_policy_was_written_were_not_missed() {
        let at = |s: i64| Timestamp::from_millis(s * 1000);
        assert_eq!(policy(10).slots_missed(at(0), at(3601), at(3610)), 0);
        assert_eq!(policy(10).slots_missed(at(0), at(3601), at(3630)), 2);
        // The last slot was one of a shorter policy: 60 and 80 passed, 40 lies before it.
        assert_eq!(policy(20).slots_missed(at(50), at(55), at(100)), 2);
    }
}
