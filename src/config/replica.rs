//! `[replica]`: who this replica is.

use serde::Deserialize;

/// Identity of the replica.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaConfig {
    /// Id, unique among the replicas; a pod name is good. Default: `<hostname>-<8 random hexadecimal digits>`.
    pub id: Option<String>,
    /// URL under which clients reach this replica; shown in the API only.
    pub url: Option<String>,
}
