//! How often something may be done: a bucket of tokens that fills again with time.
//!
//! Rule: a bucket is one number, the moment at which it is full again; one that is full is the same as none.

use std::time::Duration;

/// A bucket's size, and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    burst: u32,
    every: Duration,
}

impl Rate {
    /// So many at once, and so many a minute in the long run. `None` when either is 0: no limit.
    pub fn new(burst: u32, per_minute: u32) -> Option<Self> {
        let every = Duration::from_mins(1).checked_div(per_minute)?;
        (burst > 0).then_some(Self { burst, every })
    }

    /// Takes one out of a bucket.
    ///
    /// # Errors
    /// How long to wait for the next when it is empty; nothing is taken then.
    pub fn take(self, full_at: Duration, now: Duration) -> Result<Duration, Duration> {
        let after = full_at.max(now) + self.every;
        let empty_at = now + self.every * self.burst;
        match after.saturating_sub(empty_at) {
            Duration::ZERO => Ok(after),
            wait => Err(wait),
        }
    }

    /// Puts one back.
    pub const fn give_back(self, full_at: Duration) -> Duration {
        full_at.saturating_sub(self.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_hours(1);

    #[test]
    fn a_burst_is_taken_at_once_and_then_one_at_a_time() {
        let rate = Rate::new(3, 60).unwrap();
        let mut full_at = Duration::ZERO;
        for _ in 0..3 {
            full_at = rate.take(full_at, NOW).unwrap();
        }
        assert_eq!(rate.take(full_at, NOW), Err(Duration::from_secs(1)));
        let half = NOW + Duration::from_millis(500);
        assert_eq!(rate.take(full_at, half), Err(Duration::from_millis(500)));
        full_at = rate.take(full_at, NOW + Duration::from_secs(1)).unwrap();
        assert!(rate.take(full_at, NOW + Duration::from_secs(1)).is_err());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_a_pause_fills_no_more_than_the_burst() {
        let rate = Rate::new(1, 60).unwrap();
        let full_at = rate.take(Duration::ZERO, NOW).unwrap();
        assert!(rate.take(full_at, NOW).is_err());
        assert!(rate.take(rate.give_back(full_at), NOW).is_ok());
        let later = rate.take(full_at, 2 * NOW).unwrap();
        assert!(rate.take(later, 2 * NOW).is_err());
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(Rate::new(0, 60), None);
        assert_eq!(Rate::new(1, 0), None);
    }
}
