//! The server that leads the ensemble is killed: the sessions survive that, and so do the leaderships.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use super::{Writing, epochs, leaders, session_is};
use crate::harness::Stack;
use crate::harness::effects::Effects;
use crate::harness::ensemble::Ensemble;
use crate::harness::network::Home;
use crate::harness::settings::Settings;
use crate::harness::stack::leader_seen_by;

/// An election of the servers has to fit into half of it. It takes them up to 1.3 s, and longer on a busy machine; and the
/// client waits 0.3, 0.6, 1.2, 2.4, … s between its tries to come back.
const SESSION_TIMEOUT: &str = "20s";
const DEPARTMENTS: [&str; 3] = ["default", "eng", "ops"];
/// Backups need no ZooKeeper. What takes longer has waited for a session to end.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// The new department needs an election.
const LED_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn no_leadership_changes_when_the_leader_of_zookeeper_is_killed_under_writes_and_backups() {
    let folder = tempfile::tempdir().expect("make a folder");
    let mut ensemble = Ensemble::start(folder.path(), &[Home::default(), Home::default(), Home::default()]).await;
    let settings = Settings {
        replicas: 3,
        session_timeout: SESSION_TIMEOUT.to_owned(),
        zookeeper: Some(ensemble.connect()),
        ..Settings::default()
    };
    let stack = Stack::start(settings).await;
    for department in &DEPARTMENTS[1..] {
        stack.department(department).await;
    }
    let effects = Effects::of(&stack.database().await).await;
    let mut before = leaders(stack.client()).await;
    let writing = Writing::on(&stack);
    for round in 1..=2 {
        writing.goes_on().await;
        let leader = ensemble.leader().await;
        ensemble.servers[leader].process.kill();
        let killed = Instant::now();
        // Leaders go on at once: nothing that they do asks ZooKeeper.
        join_all(DEPARTMENTS.map(|department| stack.backup(department))).await;
        let backups_after = killed.elapsed();
        // An election does.
        let young = format!("young-{round}");
        stack.client().put(&format!("/departments/{young}"), json!({})).await.expect(201);
        let led = leader_seen_by(stack.client(), &young, |_| true).await;
        let led_after = killed.elapsed();
        eprintln!("round {round}: backups after {backups_after:.1?}, a new department led after {led_after:.1?}");
        assert!(backups_after < BACK_WITHIN && led_after < LED_WITHIN, "{backups_after:?} {led_after:?}");
        before.insert(
            young,
            (led["replica"].as_str().expect("have an id").to_owned(), led["epoch"].as_i64().expect("have one")),
        );
        for replica in &stack.replicas {
            session_is(&replica.client, "connected").await;
        }
        assert_eq!(leaders(stack.client()).await, before, "round {round}: a leadership has changed");
        ensemble.servers[leader].restart();
        ensemble.serves().await;
    }
    let written = writing.end().await;
    let completed = effects.check(&epochs(&before)).await;
    assert!(completed >= 2 * DEPARTMENTS.len(), "{completed} backups");
    eprintln!("{written} writes");
}
