//! `[zookeeper]`: where leaders are elected.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::durations::duration;

/// The ensemble, the chroot and who we are in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZookeeperConfig {
    /// Servers, `host:port,host:port`.
    pub connect: String,
    /// Everything of ours is below this node. Default `/rollkeeper`.
    #[serde(default = "chroot")]
    pub chroot: String,
    /// Session timeout, 2s to 30s. Default 6s. A leader steps down after half of it without contact.
    #[serde(with = "duration", default = "session_timeout")]
    pub session_timeout: Duration,
    /// File that holds `user:password` for digest authentication. Without it every node is open to everybody.
    #[serde(default)]
    pub auth_file: Option<PathBuf>,
    /// TLS to the servers. Without it everything travels in clear, the password too.
    #[serde(default)]
    pub tls: Option<ZookeeperTlsConfig>,
    /// How long the replicas have to be the same before leaderships move so that each leads its share. Default 60s.
    #[serde(with = "duration", default = "balance_after")]
    pub balance_after: Duration,
}

/// Certificates. The name or address of each server has to be in its certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZookeeperTlsConfig {
    /// File with the certificates of the authorities that sign those of the servers, in PEM.
    pub ca_file: PathBuf,
    /// File with our certificate, in PEM. With it, every node belongs to what the certificate stands for.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// File with its key, in PEM.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

fn chroot() -> String {
    "/rollkeeper".to_owned()
}

fn session_timeout() -> Duration {
    Duration::from_secs(6)
}

fn balance_after() -> Duration {
    Duration::from_mins(1)
}
