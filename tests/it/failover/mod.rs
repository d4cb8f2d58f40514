//! What happens to leadership, backups and restores when the leader goes. The names put all of it in the group of
//! tests that run one at a time.

mod backups;
mod drain;
mod history;
mod leaders;
mod open_transactions;
mod restores;
mod step_down;

use std::time::Duration;

use crate::harness::settings::Settings;
use crate::harness::stack::leader_seen_by;
use crate::harness::{Stack, eventually};

#[tokio::test]
async fn a_killed_leader_is_followed_by_another_with_a_higher_epoch() {
    let mut stack = Stack::start(Settings { replicas: 3, ..Settings::default() }).await;
    let old = stack.leader_of("default").await;
    let id = old["replica"].as_str().expect("have an id").to_owned();
    stack.replica(&id).kill();
    let living = stack.replicas.iter().find(|replica| replica.id != id).expect("have another").client.clone();
    let new = leader_seen_by(&living, "default", |leader| leader["replica"] != old["replica"]).await;
    assert!(new["epoch"].as_u64() > old["epoch"].as_u64(), "{old} {new}");
    living.get("/users").await.expect(200);

    stack.replica(&id).restart();
    let back = stack.replica(&id).client.clone();
    eventually("the killed replica serves again", Duration::from_secs(30), async || {
        let answer = back.try_send(reqwest::Method::GET, "/readyz", &[], None).await.ok()?;
        answer.status.is_success().then_some(())
    })
    .await;
}
