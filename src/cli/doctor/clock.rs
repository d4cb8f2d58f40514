//! The clock: ours beside those of MongoDB, ZooKeeper and the targets.

use crate::domain::clock::Timestamp;
use crate::domain::exam::{Exam, Notes};

/// What a network and a busy machine explain.
const GOOD_MILLIS: i64 = 2_000;
/// Beyond this, schedules and grace periods are not what they say.
const BAD_MILLIS: i64 = 60_000;

/// Compares each part's moment with the one at which it was asked.
pub(super) fn examine(seen: &[(String, Option<(Timestamp, Timestamp)>)]) -> Vec<Exam> {
    let mut notes = Notes::of("clock");
    let remedy = "Let a time service (chrony, NTP) set the clocks of all machines.";
    for (place, moments) in seen {
        let Some((theirs, ours)) = moments else { continue };
        let ahead = theirs.as_millis() - ours.as_millis();
        #[expect(clippy::cast_precision_loss, reason = "a difference to show")]
        let found = format!(
            "{place} is {:.1} s {} this machine",
            ahead.abs() as f64 / 1000.0,
            if ahead < 0 { "behind" } else { "ahead of" }
        );
        if ahead.abs() <= GOOD_MILLIS {
            notes.ok("skew", found);
        } else if ahead.abs() <= BAD_MILLIS {
            notes.warning("skew", found, remedy);
        } else {
            notes.failed("skew", found, remedy);
        }
    }
    notes.done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exam::Grade;

    #[test]
    fn clocks_that_differ_are_named_in_both_directions() {
        let ours = Timestamp::from_millis(1_000_000_000);
        let skewed = |millis: i64| {
            let theirs = Timestamp::from_millis(ours.as_millis() + millis);
            examine(&[("MongoDB".to_owned(), Some((theirs, ours)))]).remove(0)
        };
        assert_eq!(skewed(-1_500).grade, Grade::Ok);
        assert_eq!(skewed(30_000).grade, Grade::Warning);
        let behind = skewed(-90_000);
        assert_eq!(behind.grade, Grade::Failed);
        assert_eq!(behind.found, "MongoDB is 90.0 s behind this machine");
    }
}
