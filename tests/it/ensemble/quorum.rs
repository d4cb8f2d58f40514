//! The ensemble loses its quorum for longer than a session, and gets it back.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Writing, epochs, leaders, led_above, session_is};
use crate::harness::Stack;
use crate::harness::effects::Effects;
use crate::harness::ensemble::Ensemble;
use crate::harness::network::Home;
use crate::harness::settings::Settings;

/// Usually it is less than two seconds; a busy machine takes its time to start the servers.
const BACK_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn users_are_served_without_a_quorum_and_leaders_with_higher_epochs_are_back_when_it_is() {
    let folder = tempfile::tempdir().expect("make a folder");
    let mut ensemble = Ensemble::start(folder.path(), &[Home::default(), Home::default(), Home::default()]).await;
    let settings = Settings { replicas: 3, zookeeper: Some(ensemble.connect()), ..Settings::default() };
    let stack = Stack::start(settings).await;
    stack.department("eng").await;
    let effects = Effects::of(&stack.database().await).await;
    let before = leaders(stack.client()).await;
    let writing = Writing::on(&stack);
    writing.goes_on().await;

    let leader = ensemble.leader().await;
    let lost = [leader, (leader + 1) % 3];
    for server in lost {
        ensemble.servers[server].process.kill();
    }
    for replica in &stack.replicas {
        session_is(&replica.client, "lost").await;
        let own = leaders(&replica.client).await.into_values().find(|(leader, _)| *leader == replica.id);
        assert_eq!(own, None, "{} believes that it leads", replica.id);
    }
    writing.goes_on().await;
    let asked = stack.client().post("/backups", json!({ "department": "default" })).await.expect(202);

    for server in lost {
        ensemble.servers[server].restart();
    }
    ensemble.leader().await;
    let begun = Instant::now();
    let after = led_above(&stack, &epochs(&before)).await;
    let took = begun.elapsed();
    eprintln!("leaders {took:.1?} after the quorum");
    assert!(took < BACK_WITHIN, "leaders came {took:?} after the quorum");
    stack.ended(asked.header("location"), "complete").await;
    writing.goes_on().await;
    writing.end().await;
    stack.backup("eng").await;
    assert!(effects.check(&epochs(&after)).await >= 2);
}
