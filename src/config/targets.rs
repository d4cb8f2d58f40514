//! `[targets]`: where the backups go.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::durations::duration;

/// All targets and how many of them must hold a backup.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetsConfig {
    /// Copies that make a write durable. Default: a majority of the targets.
    #[serde(default)]
    pub write_quorum: Option<usize>,
    /// Longest time for one operation on one object. Default 30s.
    #[serde(with = "duration", default = "operation_timeout")]
    pub operation_timeout: Duration,
    /// The targets, at least one.
    pub list: Vec<TargetConfig>,
}

/// One target. What stands after `url` is for buckets only (`config::buckets`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// Its name, unique.
    pub name: String,
    /// `file:///absolute/directory`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, or `memory:///` in
    /// tests.
    pub url: String,
    /// Where the store answers, `https://host:port`. Default: the provider's own.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Region of an S3 bucket. Default us-east-1.
    #[serde(default)]
    pub region: Option<String>,
    /// Where an S3 request names its bucket. Default: `path` with an endpoint, else `virtual_host`.
    #[serde(default)]
    pub addressing: Option<Addressing>,
    /// Says that the endpoint is meant to be http. Default false.
    #[serde(default)]
    pub allow_http: bool,
    /// Certificates (PEM) that are trusted instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Storage account of an Azure container.
    #[serde(default)]
    pub account: Option<String>,
    /// File that holds the access key id of S3.
    #[serde(default)]
    pub access_key_file: Option<PathBuf>,
    /// File that holds the secret access key of S3, or the account key of Azure.
    #[serde(default)]
    pub secret_key_file: Option<PathBuf>,
    /// File that holds all credentials: for S3 as the AWS command line has it, for Google the key of a service account.
    /// Without any of these files the role of the machine is used.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
}

impl TargetConfig {
    /// A target that needs no more than its place.
    pub fn at(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self { name: name.into(), url: url.into(), ..Self::default() }
    }
}

/// Where an S3 request names its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addressing {
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    VirtualHost,
}

fn operation_timeout() -> Duration {
    Duration::from_secs(30)
}
