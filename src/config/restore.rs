//! `[restore]`: how restores are applied.

use serde::Deserialize;

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
}

impl Default for RestoreConfig {
    fn default() -> Self {
        Self { range_records: 1000, range_bytes: 8 * 1024 * 1024, moved_names_max: 100_000 }
    }
}
