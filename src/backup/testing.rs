//! Values for the tests of this module.

use std::time::Duration;

use secrecy::SecretString;

use crate::config::targets::{TargetConfig, TargetsConfig};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::user::{PasswordHash, Rev, User, UserName};
use crate::targets::Targets;

use super::Repository;

pub(super) fn user(n: u32) -> User {
    User {
        id: format!("u-{n:08}").parse().unwrap(),
        department: "eng".parse().unwrap(),
        name: UserName::from_stored(format!("user {n}")),
        password_hash: PasswordHash::from_checked(format!("$argon2id${n}")),
        locked: false,
        rev: Rev::from_bits(u64::from(n)),
        version: 1,
        created_at: Timestamp::from_millis(1_700_000_000_000),
        updated_at: Timestamp::from_millis(1_700_000_000_001),
    }
}

pub(super) fn identity() -> (SecretString, String) {
    let identity = age::x25519::Identity::generate();
    (identity.to_string(), identity.to_public().to_string())
}

/// Its secret never changes, so its content ids and roots do not either.
pub(super) fn golden_repository() -> Repository {
    let (identity, recipient) = identity();
    Repository::from_secret("golden", [7; 32], &[recipient], &identity).unwrap()
}

pub(super) fn targets(urls: &[String], quorum: Option<usize>) -> Targets {
    let list =
        urls.iter().enumerate().map(|(n, url)| TargetConfig { name: format!("t{n}"), url: url.clone() }).collect();
    let config = TargetsConfig { write_quorum: quorum, operation_timeout: Duration::from_secs(5), list };
    Targets::open(&config, &Clock::System).unwrap()
}
