//! The configuration: `rollkeeper.toml`, overridden by `ROLLKEEPER__SECTION__KEY` variables and flags.
//!
//! Rule: this module is the only reader of configuration files and of the environment. Unknown keys are errors, and no
//! secret has a default.

pub mod auth;
pub mod backup;
pub mod buckets;
pub mod check;
pub mod durations;
pub mod http;
pub mod keys;
pub mod limits;
pub mod load;
pub mod mongodb;
pub mod print;
pub mod remote;
pub mod replica;
pub mod restore;
pub mod secrets;
pub mod targets;
pub mod telemetry;
pub mod vault;
pub mod zookeeper;

use serde::Deserialize;

pub use check::Finding;
pub use load::ConfigError;

/// The whole configuration of a replica.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this replica is.
    #[serde(default)]
    pub replica: replica::ReplicaConfig,
    /// The HTTP server.
    #[serde(default)]
    pub http: http::HttpConfig,
    /// How much clients may ask for.
    #[serde(default)]
    pub limits: limits::LimitsConfig,
    /// Where the users are.
    pub mongodb: self::mongodb::MongodbConfig,
    /// Where leaders are elected.
    pub zookeeper: zookeeper::ZookeeperConfig,
    /// Where the backups go.
    pub targets: targets::TargetsConfig,
    /// Who can open backups.
    pub keys: keys::KeysConfig,
    /// How backups are made, and the defaults of department policy.
    #[serde(default)]
    pub backup: backup::BackupConfig,
    /// How restores are applied.
    #[serde(default)]
    pub restore: restore::RestoreConfig,
    /// Who may call.
    pub auth: auth::AuthConfig,
    /// Logs.
    #[serde(default)]
    pub telemetry: telemetry::TelemetryConfig,
}
