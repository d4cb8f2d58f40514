//! How long, and how often, something is tried again.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause; each is twice the one before it.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause, where the service names none.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What is left of the time in which something is tried again.
#[derive(Debug)]
pub(in crate::cli) struct Patience {
    limit: Duration,
    ends: Instant,
    next: Duration,
}

impl Patience {
    pub(in crate::cli) fn new(limit: Duration) -> Self {
        Self { limit, ends: Instant::now() + limit, next: PAUSE_FIRST }
    }

    /// Begins anew: something went on.
    pub(in crate::cli) fn renew(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Pauses as the service asked, or a little longer each time; false where the time does not suffice for that.
    pub(in crate::cli) async fn pause(&mut self, asked: Option<Duration>) -> bool {
        let pause = asked.unwrap_or(self.next);
        self.next = (self.next * 2).min(PAUSE_MAX);
        if Instant::now() + pause >= self.ends {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }

    /// How long it was tried, in words; empty where it was tried once.
    pub(in crate::cli) fn told(&self) -> String {
        if self.limit.is_zero() {
            return String::new();
        }
        format!("; it was tried again for {} (--retry-for)", humantime::format_duration(self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pauses_grow_up_to_a_limit_and_end_with_the_time() {
        let mut patience = Patience::new(Duration::from_mins(1));
        for _ in 0..9 {
            assert!(patience.pause(Some(Duration::ZERO)).await);
        }
        assert_eq!(patience.next, PAUSE_MAX);
        assert!(!patience.pause(Some(Duration::from_mins(1))).await, "the time does not suffice");
        patience.renew();
        assert_eq!(patience.next, PAUSE_FIRST);
        assert!(!Patience::new(Duration::ZERO).pause(None).await);
        assert!(!Patience::new(PAUSE_FIRST).pause(None).await);
    }
}
