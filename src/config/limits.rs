//! `[limits]`: how much one client may ask for, and how much all of them together.
//!
//! Rule: every limit is one of a replica; a client that asks three replicas has three times as much.

use serde::Deserialize;

/// How much clients may ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
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
            verify_user: RateConfig { burst: 20, per_minute: 10 },
            verify_caller: RateConfig { burst: 300, per_minute: 300 },
        }
    }
}
