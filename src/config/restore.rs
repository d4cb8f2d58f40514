//! `[restore]`: how restores are applied.

use std::time::Duration;

use serde::Deserialize;

use super::durations::duration;

/// How restores are applied.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestoreConfig {
    /// Records of a range, which is one transaction, 1 to 1000. Default 1000.
    pub range_records: usize,
    /// Bytes of a range, at most. Default 8 MiB.
    pub range_bytes: usize,
    /// Most names that one restore may move between users, 1 to 1,000,000; bounds the memory of the leader. Default
    /// 100,000.
    pub moved_names_max: usize,
    /// How long a plan waits to be applied before it is given up; what it reads is kept so long. Default 24h.
    #[serde(with = "duration")]
    pub plan_lifetime: Duration,
    /// How long a restore can be undone, at least: its safety backup stays so long after its end. Default 7d.
    #[serde(with = "duration")]
    pub undo_lifetime: Duration,
}

impl Default for RestoreConfig {
    fn default() -> Self {
        Self {
            range_records: 1000,
            range_bytes: 8 * 1024 * 1024,
            moved_names_max: 100_000,
            plan_lifetime: Duration::from_hours(24),
            undo_lifetime: Duration::from_hours(7 * 24),
        }
    }
}
