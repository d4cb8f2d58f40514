//! Who this process is: the id of the replica, and the name of this run of it.

use anyhow::Context;

use crate::config::replica::ReplicaConfig;
use crate::domain::ids::{LABEL_MAX, ReplicaId};

/// Where Linux says the name of the host; a pod sees its own.
const HOSTNAME_FILE: &str = "/proc/sys/kernel/hostname";
/// A hyphen and eight digits.
const SUFFIX_CHARS: usize = 9;

/// The configured id, or the host's name with eight random hexadecimal digits.
pub(super) fn replica_id(config: &ReplicaConfig) -> anyhow::Result<ReplicaId> {
    if let Some(id) = &config.id {
        return id.parse().context("read replica.id");
    }
    let host = std::fs::read_to_string(HOSTNAME_FILE).unwrap_or_default();
    let id = format!("{}-{:08x}", label(&host), rand::random::<u32>());
    id.parse().context("make an id for this replica; set replica.id")
}

/// A random name for this run.
pub(super) fn instance() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// The part of a host's name that may stand in an id, `replica` where nothing is left.
fn label(host: &str) -> String {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let text: String = host.trim().chars().filter(allowed).take(LABEL_MAX - SUFFIX_CHARS).collect();
    if text.is_empty() { "replica".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_id_is_kept() {
        let config = ReplicaConfig { id: Some("pod-0".to_owned()), url: None };
        assert_eq!(replica_id(&config).unwrap().as_str(), "pod-0");
    }

    #[test]
    fn a_replica_without_an_id_gets_one_of_its_own() {
        let config = ReplicaConfig::default();
        assert_ne!(replica_id(&config).unwrap(), replica_id(&config).unwrap());
    }

    #[test]
    fn any_host_name_makes_a_valid_label() {
        for host in ["", "höst\n", "a/b c", &"x".repeat(300)] {
            assert!(format!("{}-00000000", label(host)).parse::<ReplicaId>().is_ok(), "{host}");
        }
    }
}
