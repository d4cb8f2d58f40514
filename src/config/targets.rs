//! `[targets]`: where the backups go.

use std::time::Duration;

use serde::Deserialize;

use super::durations::duration;

/// All targets and how many of them must hold a backup.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetsConfig {
    /// Copies that make a write durable. Default: a majority of the targets.
    #[serde(default)]
    pub write_quorum: Option<usize>,
    /// Longest time for one operation on one object. Default 30s.
    #[serde(with = "duration", default = "operation_timeout")]
    pub operation_timeout: Duration,
    /// The targets, at least one.
    pub list: Vec<TargetConfig>,
}

/// One target.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// Its name, unique.
    pub name: String,
    /// `file:///absolute/directory`, or `memory:///` in tests.
    pub url: String,
}

fn operation_timeout() -> Duration {
    Duration::from_secs(30)
}
