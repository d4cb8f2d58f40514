//! `[keys]`: who can open backups.

use std::path::PathBuf;

use serde::Deserialize;

/// The age keys of the repository.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysConfig {
    /// age X25519 recipients (`age1…`) that every object is sealed to; the identity's own must be among them.
    pub recipients: Vec<String>,
    /// File that holds the age identity (`AGE-SECRET-KEY-1…`).
    pub identity_file: PathBuf,
}
