//! `[backup]`: how backups are made, and the defaults of department policy.

use std::time::Duration;

use serde::Deserialize;

use super::durations::duration;
use crate::domain::department::Policy;
use crate::domain::retention::Retention;

/// How backups are made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackupConfig {
    /// Policy of a department that names none. Default 1h.
    #[serde(with = "duration")]
    pub backup_every: Duration,
    /// Records of a chunk on average; a power of two. Default 4096.
    pub chunk_records: u32,
    /// Cursors that read a department at the same time. Default 2.
    pub scan_cursors: usize,
    /// How often changes are written into the journal, when there are any. Default 1s.
    #[serde(with = "duration")]
    pub journal_every: Duration,
    /// Bytes of change lines that are written at once without waiting for that. Default 4 MiB.
    pub segment_bytes: usize,
    /// How often the head of an idle department moves forward. Default 60s.
    #[serde(with = "duration")]
    pub idle_head_every: Duration,
    /// What a department keeps that names nothing else.
    pub retention: RetentionConfig,
    /// How often targets are looked through for what nothing refers to any more. Default 1h.
    #[serde(with = "duration")]
    pub prune_every: Duration,
    /// How long an object that nothing refers to stays before it is deleted. Default 1h.
    #[serde(with = "duration")]
    pub prune_grace: Duration,
    /// How long everything of a deleted department stays, at least; then it goes as its policy drops it. Default 7d.
    #[serde(with = "duration")]
    pub deleted_lifetime: Duration,
    /// Age at which small segments of the journal are merged into larger ones. Default 1h.
    #[serde(with = "duration")]
    pub merge_after: Duration,
    /// How often a leader looks whether somebody else writes to its targets. Default 60s.
    #[serde(with = "duration")]
    pub look_every: Duration,
    /// Pause after the journal on each target was read and checked from its beginning. Default 6h.
    #[serde(with = "duration")]
    pub scrub_every: Duration,
    /// How often a leader compares the history with the live records. Default 24h.
    #[serde(with = "duration")]
    pub rescan_every: Duration,
}

/// `[backup.retention]`: how long backups and history are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Every point of so long stays. Default 24h.
    #[serde(with = "duration")]
    pub keep_within: Duration,
    /// So many of the newest backups stay. Default 0.
    pub keep_last: u32,
    /// The newest backup of each of so many hours that have one. Default 24.
    pub keep_hourly: u32,
    /// The same by days. Default 14.
    pub keep_daily: u32,
    /// The same by weeks. Default 8.
    pub keep_weekly: u32,
    /// The same by months. Default 12.
    pub keep_monthly: u32,
    /// The same by years. Default 3.
    pub keep_yearly: u32,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        let Retention { keep_within, keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly } =
            Retention::default();
        Self { keep_within, keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly }
    }
}

impl From<&RetentionConfig> for Retention {
    fn from(config: &RetentionConfig) -> Self {
        let RetentionConfig { keep_within, keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly } =
            config.clone();
        Self { keep_within, keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly }
    }
}

impl BackupConfig {
    /// The policy of a department that names none. The configuration was checked, so it is valid.
    pub fn policy(&self) -> Policy {
        Policy { backup_every: self.backup_every, retention: Retention::from(&self.retention) }
    }
}

impl Default for BackupConfig {
    fn default() -> Self {
        Self {
            backup_every: Duration::from_hours(1),
            chunk_records: 4096,
            scan_cursors: 2,
            journal_every: Duration::from_secs(1),
            segment_bytes: 4 * 1024 * 1024,
            idle_head_every: Duration::from_mins(1),
            retention: RetentionConfig::default(),
            prune_every: Duration::from_hours(1),
            prune_grace: Duration::from_hours(1),
            deleted_lifetime: Duration::from_hours(7 * 24),
            merge_after: Duration::from_hours(1),
            look_every: Duration::from_mins(1),
            scrub_every: Duration::from_hours(6),
            rescan_every: Duration::from_hours(24),
        }
    }
}
