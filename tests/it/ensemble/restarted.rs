//! ZooKeeper was away for longer than a session: it is back with sessions that nobody has any more.

use std::time::{Duration, Instant};

use super::session_is;
use crate::harness::settings::Settings;
use crate::harness::stack::leader_seen_by;
use crate::harness::{Stack, parts};

const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_leader_whose_session_ended_while_zookeeper_was_away_replaces_its_own_leader_node_at_once() {
    let session_timeout = format!("{}s", SESSION_TIMEOUT.as_secs());
    let settings = Settings { replicas: 2, own_zookeeper: true, session_timeout, ..Settings::default() };
    let mut stack = Stack::start(settings).await;
    let before = stack.leader_of("default").await;
    let mut zookeeper = stack.zookeeper.take().expect("have a ZooKeeper");
    zookeeper.process.kill();
    for replica in &stack.replicas {
        session_is(&replica.client, "lost").await;
    }

    zookeeper.restart();
    parts::zookeeper_serves(&zookeeper).await;
    let begun = Instant::now();
    let after = leader_seen_by(stack.client(), "default", |leader| leader["epoch"].as_i64() > before["epoch"].as_i64());
    let after = after.await;
    let took = begun.elapsed();
    assert_eq!(after["replica"], before["replica"], "only the one whose node it was may replace it: {after}");
    assert!(took < SESSION_TIMEOUT / 2, "it took {took:?}, as if the old session had to end first");
    stack.backup("default").await;
}
