//! MongoDB with three members: its primary dies, hangs, steps down, and comes back with writes that nobody else has.
//!
//! Whatever happens to it, clients are served again within `BACK_WITHIN`, and refused until then only with 503 and when to come
//! again. Every write has a label of its own, so that what was acknowledged, refused and left open is looked up one by one.

mod frozen;
mod killed;
mod load;
mod rolled_back;
mod stepped_down;

use std::time::Duration;

use crate::harness::Stack;
use crate::harness::members::Members;
use crate::harness::settings::Settings;

/// Members of the replica set.
const MEMBERS: usize = 3;
/// How long a client may have to wait until it has written again: two seconds until the others elect (ten with MongoDB's own
/// settings), and at most ten for a request that a primary hangs on.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// The longest that anything else may take.
const WITHIN: Duration = Duration::from_mins(1);

/// A replica set, and three replicas on it that back up every ten seconds.
async fn start() -> (Stack, Members) {
    let members = Members::start(MEMBERS).await;
    let settings = Settings {
        replicas: 3,
        targets: 3,
        backup_every: "10s".to_owned(),
        chunk_records: 64,
        range_records: 4,
        backup: ", journal_every = \"100ms\"".to_owned(),
        mongodb: Some(members.uri()),
        ..Settings::default()
    };
    (Stack::start(settings).await, members)
}
