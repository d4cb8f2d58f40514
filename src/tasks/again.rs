//! Says that something failed and is tried again, without filling the log: every half second is a thousand lines an hour.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use super::halt::Halt;
use super::leader::Leading;

/// How often the log is told of the same failure.
const TOLD_EVERY: Duration = Duration::from_secs(15);

/// When the log was last told of what, and how often that was passed over since.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<HashMap<&'static str, (Instant, u32)>>);

impl Told {
    /// How many failures were passed over since the last time; none when this one is to be passed over too.
    fn due(&self, action: &'static str, now: Instant) -> Option<u32> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(action) {
            Some((at, passed)) if now.duration_since(*at) < TOLD_EVERY => {
                *passed += 1;
                None
            }
            other => {
                let passed = other.map_or(0, |(_, passed)| *passed);
                told.insert(action, (now, 0));
                Some(passed)
            }
        }
    }
}

impl Leading {
    /// Tells the log that an action stopped and is tried again, unless it was told so just now.
    pub(super) fn again(&self, action: &'static str, halt: &Halt) {
        if let Some(passed_over) = self.told.due(action, Instant::now()) {
            warn!(action, reason = halt.reason(), passed_over, "tried again until it works");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_is_told_at_first_and_then_now_and_again() {
        let (told, begun) = (Told::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(told.due("prune", at(0)), Some(0));
        assert_eq!((told.due("prune", at(1)), told.due("prune", at(14))), (None, None));
        assert_eq!(told.due("merge", at(14)), Some(0), "another one is told at once");
        assert_eq!(told.due("prune", at(15)), Some(2));
        assert_eq!(told.due("prune", at(16)), None);
    }
}
