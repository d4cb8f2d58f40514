//! Values for the tests of this module.

use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;

use crate::config::targets::{TargetConfig, TargetsConfig};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::epoch::Epoch;
use crate::domain::history::{Chain, Change, Sequence, Source, Timeline};
use crate::domain::user::{PasswordHash, Rev, User, UserName};
use crate::targets::layout::ObjectPath;
use crate::targets::{Target, Targets};

use super::Repository;
use super::chain::change_line;
use super::segment::Segment;

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
    let list = urls.iter().enumerate().map(|(n, url)| TargetConfig::at(format!("t{n}"), url)).collect();
    let config = TargetsConfig { write_quorum: quorum, operation_timeout: Duration::from_secs(5), list };
    Targets::open(&config, &Clock::System).unwrap()
}

/// A segment of some changes, each of another user, and the chain after it.
pub(super) fn segment(
    repository: &Repository,
    department: &str,
    (first, count): (i64, i64),
    before: Chain,
) -> (ObjectPath, Bytes, Chain) {
    let (mut lines, mut chain) = (Vec::new(), before);
    for n in first..first + count {
        let change = Change::Put(user(u32::try_from(n).unwrap()));
        let line = change_line(Sequence(n), Timestamp::from_millis(n), &change);
        chain = repository.chain_after(&chain, &line);
        lines.extend_from_slice(&line);
        lines.push(b'\n');
    }
    let segment = Segment {
        department: department.parse().unwrap(),
        timeline: Timeline(1),
        first: Sequence(first),
        last: Sequence(first + count - 1),
        before,
        after: chain,
        through: Timestamp::from_millis(first),
        epoch: Epoch(1),
        source: Source { replica_set_id: "r".to_owned(), users_uuid: "u".to_owned() },
        lines,
    };
    let (path, bytes) = repository.seal_segment(&segment).unwrap();
    (path, bytes, chain)
}

/// One target in memory, with a pause before each read.
pub(super) fn slow_target(wait: Duration) -> Targets {
    let config = TargetConfig::at("slow", "memory:///");
    Targets::of(vec![Target::open(&config, Duration::from_mins(1), Clock::System).unwrap().slowed(wait)], 1)
}
