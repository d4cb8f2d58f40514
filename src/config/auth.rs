//! `[auth]`: who may call, and how long it is remembered who did what.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::durations::duration;

/// Who may call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// File that holds the bootstrap token, which has every scope. At least 32 characters.
    pub bootstrap_token_file: PathBuf,
    /// How long an audit record is kept, 1d to 3650d, from when it is written on. Default 400d.
    #[serde(with = "duration", default = "audit_lifetime")]
    pub audit_lifetime: Duration,
}

fn audit_lifetime() -> Duration {
    Duration::from_hours(400 * 24)
}
