//! What a restore wrote, record by record, as its undo needs it.
//!
//! Rule: an undo gives a record the value that it had just before the restore wrote it. A record that somebody changed
//! between two writes of the restore gets what was there before the second one.

use super::ids::UserId;
use super::plan::PlannedChange;
use super::restore::Action;
use super::user::{Rev, User};

/// One write of a restore, or several that follow each other without a stranger's in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The user.
    pub user_id: UserId,
    /// The rev before; absent where there was no record.
    pub before: Option<Rev>,
    /// The rev after; absent where the record was deleted.
    pub after: Option<Rev>,
    /// The record before, kept only where it was not the one that the plan expected.
    pub value: Option<User>,
}

impl Written {
    /// This write and a later one of the same record as one.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        // Otherwise somebody else wrote in between, and it is that value which the later write took away.
        if later.before == self.after { Self { after: later.after, ..self } } else { later }
    }
}

/// What takes one write back, given the record before it and the live one; absent where nothing is to be done.
pub fn taken_back(written: &Written, before: Option<User>, live: Option<User>) -> Option<PlannedChange> {
    let action = match (&before, written.after) {
        (Some(_), None) => Action::Create,
        (Some(_), Some(_)) => Action::Update,
        (None, Some(_)) => Action::Delete,
        (None, None) => return None,
    };
    let as_before = match (&before, &live) {
        (Some(before), Some(live)) => before.same_content(live),
        (None, None) => true,
        _ => false,
    };
    let user_id = written.user_id.clone();
    (!as_before).then_some(PlannedChange {
        user_id,
        action,
        wanted: before,
        base: live,
        guard: written.after,
        renumbered_from: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::user;
    use super::*;

    fn written(before: Option<u64>, after: Option<u64>) -> Written {
        Written {
            user_id: "a".parse().unwrap(),
            before: before.map(Rev::from_bits),
            after: after.map(Rev::from_bits),
            value: None,
        }
    }

    #[test]
    fn writes_that_follow_each_other_are_one_and_a_stranger_in_between_parts_them() {
        assert_eq!(written(Some(1), Some(2)).then(written(Some(2), Some(3))), written(Some(1), Some(3)));
        assert_eq!(written(Some(1), Some(2)).then(written(Some(7), Some(8))), written(Some(7), Some(8)));
        assert_eq!(written(None, Some(2)).then(written(Some(2), None)), written(None, None));
    }

    #[test]
    fn a_record_that_is_as_before_or_that_nobody_knew_is_left_alone() {
        let ada = user("a", "ada");
        assert_eq!(taken_back(&written(Some(1), Some(2)), Some(ada.clone()), Some(ada)), None);
        assert_eq!(taken_back(&written(None, Some(2)), None, None), None);
        assert_eq!(taken_back(&written(None, None), None, None), None);
    }

    #[test]
    fn a_record_that_changed_since_is_known_to_meet_a_conflict() {
        let (ada, mut live) = (user("a", "ada"), user("a", "other"));
        live.rev = Rev::from_bits(2);
        let back = taken_back(&written(Some(1), Some(2)), Some(ada.clone()), Some(live.clone())).unwrap();
        assert!(!back.meets_conflict() && back.expects(&live) && back.action == Action::Update);
        live.rev = Rev::from_bits(3);
        let late = taken_back(&written(Some(1), Some(2)), Some(ada), Some(live.clone())).unwrap();
        assert!(late.meets_conflict() && !late.expects(&live));
    }
}
