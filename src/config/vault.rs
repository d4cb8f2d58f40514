//! The parts of a configuration that reading targets needs; the rest of it need not be valid, or there, after a disaster.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::backup::BackupConfig;
use super::load::{ConfigError, environment, merged};
use super::mongodb::MongodbConfig;
use super::targets::TargetsConfig;

/// What the `vault` commands take out of a configuration.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct VaultConfig {
    /// Where the backups are.
    pub targets: Option<TargetsConfig>,
    /// Who can open them.
    pub keys: Option<VaultKeys>,
    /// Where the users go.
    pub mongodb: Option<MongodbConfig>,
    /// The policy of departments whose own is not known.
    #[serde(default)]
    pub backup: BackupConfig,
}

/// The key that opens backups.
#[derive(Debug, Clone, Deserialize)]
pub struct VaultKeys {
    /// File that holds the age identity.
    pub identity_file: PathBuf,
}

impl VaultConfig {
    /// Reads the same sources as `Config::load`.
    ///
    /// # Errors
    /// When a source cannot be read, or one of these parts is not of its shape.
    pub fn load(file: Option<&Path>, overrides: &[String]) -> Result<Self, ConfigError> {
        merged(file, environment()?, overrides)
    }
}
