//! `[auth]`: who may call.

use std::path::PathBuf;

use serde::Deserialize;

/// Who may call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// File that holds the bootstrap token, which has every scope. At least 32 characters.
    pub bootstrap_token_file: PathBuf,
}
