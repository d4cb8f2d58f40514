//! The test harness: stacks of replicas, a client, parts of a test's own, a proxy.
//!
//! Rule: `eventually` is the only way to wait; no test sleeps.

pub(crate) mod archived;
pub(crate) mod buckets;
pub(crate) mod certificates;
pub(crate) mod changes;
pub(crate) mod cli;
pub(crate) mod client;
pub(crate) mod copies;
pub(crate) mod effects;
pub(crate) mod ensemble;
pub(crate) mod events;
pub(crate) mod faulty;
pub(crate) mod hanging;
pub(crate) mod members;
pub(crate) mod network;
pub(crate) mod objects;
pub(crate) mod parts;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod records;
pub(crate) mod replica;
pub(crate) mod restoring;
pub(crate) mod scraped;
pub(crate) mod settings;
pub(crate) mod stack;
pub(crate) mod tokens;
pub(crate) mod vault;

use std::time::{Duration, Instant};

pub(crate) use stack::Stack;

/// Asks `probe` again and again until it has an answer.
///
/// # Panics
/// When there is none in time, with what was waited for.
pub(crate) async fn eventually<T>(what: &str, timeout: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        let left = timeout.saturating_sub(begun.elapsed());
        // A probe that hangs must not keep the test from saying what it waits for.
        let value = tokio::time::timeout(left.max(Duration::from_secs(1)), probe()).await;
        if let Ok(Some(value)) = value {
            return value;
        }
        assert!(begun.elapsed() < timeout, "not within {timeout:?}: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// A variable of the environment, set by `make test`.
pub(crate) fn variable(name: &str) -> String {
    std::env::var_os(name)
        .and_then(|value| value.into_string().ok())
        .unwrap_or_else(|| panic!("{name} is not set; run `make test`, or `set -a; . .run/parts/env`"))
}

/// A number from the environment; none where it is not set or empty.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?.into_string().ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name} is no number: {error}")))
}

/// A name that no other test has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}
