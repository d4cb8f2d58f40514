//! The lease of the session: how long this replica may believe what ZooKeeper last told it.
//!
//! Rule: a lease is extended only by a quorum write that was begun while it counted, and judged by `CLOCK_BOOTTIME`,
//! which goes on while the process or the machine sleeps. A lease that lapsed never holds again; the next one is new.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

/// Time since boot, sleep included.
pub(super) fn boottime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

// The only place that decides whether a lease has lapsed. The feature `unleased` lets it hold for as long as the client
// believes in its session; only the test that proves the lease (it must fail then) is built so.

/// Whether a lease that holds until `until` has lapsed.
fn lapsed(now: Duration, until: Duration) -> bool {
    // Before the first renewal there is no lease in any build.
    now >= until && (until.is_zero() || !cfg!(feature = "unleased"))
}

/// Whether the session's lease holds, judged by `CLOCK_BOOTTIME`. Cheap; clones share one value.
#[derive(Debug, Clone)]
pub struct Lease {
    term: Arc<Mutex<Term>>,
    ended: CancellationToken,
}

impl Lease {
    /// Whether the lease holds now.
    pub fn holds(&self) -> bool {
        let term = lock(&self.term);
        // Under the lock, because a renewal after a lapse first cancels and then extends.
        !lapsed(boottime(), term.until) && !self.ended.is_cancelled()
    }

    /// Microseconds until the lease lapses without another renewal; negative when its time is over. For the log.
    pub fn left_us(&self) -> i64 {
        let (until, now) = (lock(&self.term).until, boottime());
        let (left, over) = (until.saturating_sub(now).as_micros(), now.saturating_sub(until).as_micros());
        i64::try_from(left).unwrap_or(i64::MAX) - i64::try_from(over).unwrap_or(i64::MAX)
    }

    /// A lease that holds for `span` from now and is not renewed; cancelling `ended` ends it. For tests of its users.
    #[cfg(test)]
    pub(crate) fn for_test(span: Duration, ended: CancellationToken) -> Self {
        let term = Term { until: boottime() + span, token: CancellationToken::new() };
        Self { term: Arc::new(Mutex::new(term)), ended }
    }
}

/// One unbroken row of renewals.
#[derive(Debug)]
struct Term {
    /// Boot time at which it lapses.
    until: Duration,
    /// Parent of the `ended` of every leadership of this term.
    token: CancellationToken,
}

/// The keeper's side of the lease: renews it, and ends it.
#[derive(Debug, Clone)]
pub(super) struct LeaseKeeper(Arc<Mutex<Term>>);

impl LeaseKeeper {
    /// A lease that does not hold yet.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Term { until: Duration::ZERO, token: CancellationToken::new() })))
    }

    /// Extends the lease to `span` after `begun`, the moment before the quorum write was sent.
    pub(super) fn renew(&self, begun: Duration, span: Duration) {
        let mut term = lock(&self.0);
        let now = boottime();
        if now >= begun + span {
            return;
        }
        if lapsed(now, term.until) {
            // It lapsed, though perhaps nobody looked: whoever led under it must not wake up leading.
            term.token.cancel();
            term.token = CancellationToken::new();
        }
        term.until = term.until.max(begun + span);
    }

    /// Ends the term if its time is over; tells whether the lease holds.
    pub(super) fn check(&self) -> bool {
        let term = lock(&self.0);
        let holds = !lapsed(boottime(), term.until);
        if !holds {
            term.token.cancel();
        }
        holds
    }

    /// How long the term still holds without a renewal.
    pub(super) fn left(&self) -> Duration {
        lock(&self.0).until.saturating_sub(boottime())
    }

    /// Ends the term: the session is gone.
    pub(super) fn lose(&self) {
        let mut term = lock(&self.0);
        term.until = Duration::ZERO;
        term.token.cancel();
    }

    /// A lease for one leadership and the token that its end cancels; none while the lease does not hold.
    pub(super) fn issue(&self) -> Option<(Lease, CancellationToken)> {
        let term = lock(&self.0);
        if lapsed(boottime(), term.until) || term.token.is_cancelled() {
            return None;
        }
        let ended = term.token.child_token();
        Some((Lease { term: Arc::clone(&self.0), ended: ended.clone() }, ended))
    }
}

fn lock(term: &Mutex<Term>) -> MutexGuard<'_, Term> {
    term.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_lease_is_negative_when_its_time_is_over() {
        let keeper = LeaseKeeper::new();
        keeper.renew(boottime(), Duration::from_mins(1));
        let (lease, _) = keeper.issue().unwrap();
        assert!((59_000_000..=60_000_000).contains(&lease.left_us()), "{}", lease.left_us());
        lock(&keeper.0).until = boottime().saturating_sub(Duration::from_secs(1));
        assert!((-2_000_000..=-1_000_000).contains(&lease.left_us()), "{}", lease.left_us());
    }

    #[cfg(not(feature = "unleased"))]
    #[test]
    fn a_lapsed_lease_never_holds_again_though_the_next_one_does() {
        let keeper = LeaseKeeper::new();
        assert!(keeper.issue().is_none());
        keeper.renew(boottime(), Duration::from_mins(1));
        let (first, ended) = keeper.issue().unwrap();
        assert!(first.holds());

        lock(&keeper.0).until = boottime();
        assert!(!first.holds(), "its time is over though nobody has checked");
        keeper.renew(boottime(), Duration::from_mins(1));

        assert!(ended.is_cancelled());
        assert!(!first.holds());
        assert!(keeper.issue().unwrap().0.holds());
    }

    #[test]
    fn a_renewal_that_took_too_long_extends_nothing() {
        let keeper = LeaseKeeper::new();
        keeper.renew(boottime().saturating_sub(Duration::from_secs(2)), Duration::from_secs(1));
        assert!(!keeper.check());
    }

    #[test]
    fn a_lease_ends_with_its_leadership() {
        let ended = CancellationToken::new();
        let lease = Lease::for_test(Duration::from_mins(1), ended.clone());
        assert!(lease.holds());
        ended.cancel();
        assert!(!lease.holds());
    }

    #[test]
    fn losing_the_session_ends_every_leadership() {
        let keeper = LeaseKeeper::new();
        keeper.renew(boottime(), Duration::from_mins(1));
        let (lease, ended) = keeper.issue().unwrap();
        keeper.lose();
        assert!(ended.is_cancelled() && !lease.holds());
    }
}
