//! `[backup]`: how backups are made, and the defaults of department policy.

use std::time::Duration;

use serde::Deserialize;

use super::durations::duration;

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
    /// How often a leader looks whether somebody else writes to its targets. Default 60s.
    #[serde(with = "duration")]
    pub look_every: Duration,
    /// Pause after the journal on each target was read and checked from its beginning. Default 6h.
    #[serde(with = "duration")]
    pub scrub_every: Duration,
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
            look_every: Duration::from_mins(1),
            scrub_every: Duration::from_hours(6),
        }
    }
}
