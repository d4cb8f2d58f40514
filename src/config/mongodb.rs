//! `[mongodb]`: where the users are.

use secrecy::SecretString;
use serde::Deserialize;

/// The replica set and the database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MongodbConfig {
    /// Connection string; may hold a password, so it is never printed. Give this or `uri_file`.
    #[serde(default)]
    pub uri: Option<SecretString>,
    /// File that holds the connection string.
    #[serde(default)]
    pub uri_file: Option<std::path::PathBuf>,
    /// Name of the database. Default `rollkeeper`.
    #[serde(default = "database")]
    pub database: String,
}

fn database() -> String {
    "rollkeeper".to_owned()
}
