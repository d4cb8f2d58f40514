//! Counts what each client does against a rate.
//!
//! Rule: a meter knows at most so many clients at a time. When there are more, it forgets those who have done the least
//! lately, so what nobody can exhaust is memory, and whoever is at a limit stays there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::limits::RateConfig;
use crate::domain::rate::Rate;

/// Most clients that a meter knows; some 4 MiB.
const CLIENTS_MAX: usize = 65_536;

/// A bucket for each client.
pub(in crate::api) struct Meter {
    rate: Option<Rate>,
    began: Instant,
    /// Names of clients may be secrets, or as long as they like.
    key: [u8; 32],
    buckets: Mutex<HashMap<[u8; 16], Duration>>,
    clients_max: usize,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Meter {
    pub(in crate::api) fn new(config: RateConfig) -> Self {
        Self {
            rate: Rate::new(config.burst, config.per_minute),
            began: Instant::now(),
            key: rand::random(),
            buckets: Mutex::default(),
            clients_max: CLIENTS_MAX,
        }
    }

    /// Counts one for a client.
    ///
    /// # Errors
    /// How long the client has to wait; nothing is counted then.
    pub(in crate::api) fn take(&self, client: &str) -> Result<(), Duration> {
        self.take_at(client, self.began.elapsed())
    }

    fn take_at(&self, client: &str, now: Duration) -> Result<(), Duration> {
        let Some(rate) = self.rate else { return Ok(()) };
        let name = self.name(client);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = rate.take(buckets.get(&name).copied().unwrap_or_default(), now)?;
        if buckets.len() >= self.clients_max && !buckets.contains_key(&name) {
            make_room(&mut buckets, now, self.clients_max);
        }
        buckets.insert(name, full_at);
        Ok(())
    }

    /// Takes back one that was counted for a client.
    pub(in crate::api) fn give_back(&self, client: &str) {
        let Some(rate) = self.rate else { return };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = buckets.get_mut(&self.name(client)) {
            *full_at = rate.give_back(*full_at);
        }
    }

    fn name(&self, client: &str) -> [u8; 16] {
        let mut name = [0; 16];
        blake3::Hasher::new_keyed(&self.key).update(client.as_bytes()).finalize_xof().fill(&mut name);
        name
    }
}

/// Forgets the full buckets, and as many of the fullest others as it takes to have half of the room.
fn make_room(buckets: &mut HashMap<[u8; 16], Duration>, now: Duration, clients_max: usize) {
    buckets.retain(|_, full_at| *full_at > now);
    let half = clients_max / 2;
    if buckets.len() > half {
        let mut moments: Vec<Duration> = buckets.values().copied().collect();
        let (_, bar, _) = moments.select_nth_unstable(buckets.len() - half);
        let bar = *bar;
        buckets.retain(|_, full_at| *full_at > bar);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(burst: u32, clients_max: usize) -> Meter {
        Meter { clients_max, ..Meter::new(RateConfig { burst, per_minute: 60 }) }
    }

    #[test]
    fn each_client_has_a_bucket_of_its_own() {
        let (meter, now) = (meter(2, 10), Duration::from_secs(100));
        assert!(meter.take_at("a", now).is_ok() && meter.take_at("a", now).is_ok());
        assert_eq!(meter.take_at("a", now), Err(Duration::from_secs(1)));
        assert!(meter.take_at("b", now).is_ok());
        meter.give_back("a");
        assert!(meter.take_at("a", now).is_ok());
        assert!(meter.take_at("a", now).is_err());
    }

    #[test]
    fn more_clients_than_there_is_room_for_cost_no_memory_and_free_nobody_who_is_at_the_limit() {
        let (meter, now) = (meter(3, 100), Duration::from_secs(100));
        for _ in 0..3 {
            meter.take_at("busy", now).unwrap();
        }
        for n in 0..10_000 {
            meter.take_at(&n.to_string(), now).unwrap();
            assert!(meter.buckets.lock().unwrap().len() <= 100);
        }
        assert!(meter.take_at("busy", now).is_err());
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        let meter = meter(0, 10);
        assert!((0..1000).all(|_| meter.take("a").is_ok()));
        assert!(meter.buckets.lock().unwrap().is_empty());
    }
}
