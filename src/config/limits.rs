//! `[limits]`: how much one client may ask for, and how much all of them together.
//!
//! Rule: every limit is one of a replica; a client that asks three replicas has three times as much.

use std::time::Duration;

use serde::Deserialize;

use super::durations::duration;

/// How much clients may ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Requests that are answered at the same time before 503; probes and metrics are not counted. Default 512.
    pub in_flight: usize,
    /// The same for requests that wait for a job, a receipt or a verification. Default 256.
    pub waiting: usize,
    /// Open connections before 503. Default 4096.
    pub connections: usize,
    /// Longest time for the headers of a request, and between two requests of a connection. Default 75s, more than proxies
    /// and load balancers keep an idle connection.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// Longest time until the next piece of a body; fifteen times that for an import. Default 20s.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// Longest time until a client takes the next piece of an answer. Default 60s.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// Requests of one token. Default: no limit.
    pub requests: RateConfig,
    /// Wrong passwords for one user id. Default: 20 at once, 10 a minute.
    pub verify_user: RateConfig,
    /// Wrong passwords of one caller. Default: 300 at once, 300 a minute.
    pub verify_caller: RateConfig,
}

/// How often something may be done; 0 for either is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// How often at once.
    pub burst: u32,
    /// How often in the long run.
    pub per_minute: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            in_flight: 512,
            waiting: 256,
            connections: 4096,
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(20),
            write_timeout: Duration::from_mins(1),
            requests: RateConfig { burst: 0, per_minute: 0 },
            verify_user: RateConfig { burst: 20, per_minute: 10 },
            verify_caller: RateConfig { burst: 300, per_minute: 300 },
        }
    }
}
