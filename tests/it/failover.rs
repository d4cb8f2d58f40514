//! What happens to leadership, users and restores when the leader goes.

use std::time::Duration;

use serde_json::json;

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

#[tokio::test]
async fn a_restore_whose_leader_is_killed_is_finished_by_the_next_one() {
    let settings = Settings { replicas: 3, targets: 3, range_records: 5, ..Settings::default() };
    let mut stack = Stack::start(settings).await;
    stack.create_users("default", 1500).await;
    let before = stack.all_users("default").await;
    let backup = stack.backup("default").await;
    for user in before.iter().step_by(2) {
        let path = format!("/users/{}", user["id"].as_str().expect("have an id"));
        stack.client().delete(&path).await.expect(204);
    }
    let body = json!({ "from": { "backup_id": backup["id"] }, "mode": "exact",
        "credentials": "restore", "locked": "restore", "apply": true });
    let location = stack.restore(body).await.header("location").to_owned();
    let killed = eventually("the restore is under way", Duration::from_mins(1), async || {
        let job = stack.client().get(&location).await.expect(200).json;
        let (done, total) = (job["progress"]["changes_done"].as_u64()?, job["progress"]["changes_total"].as_u64()?);
        assert_ne!(job["state"], "complete", "it was over before it could be interrupted");
        (done > 0 && done < total).then(|| job["executed_by"].clone())
    })
    .await;
    let id = killed["replica"].as_str().expect("have an id").to_owned();
    stack.replica(&id).kill();
    // The harness asks its first replica, so that one has to be alive.
    stack.replicas.retain(|replica| replica.id != id);
    let job = stack.ended(&location, "complete").await;
    assert_ne!(job["executed_by"]["replica"], killed["replica"]);
    assert!(job["executed_by"]["epoch"].as_u64() > killed["epoch"].as_u64(), "{job}");
    assert_eq!(job["progress"]["conflicts"], 0, "{job}");
    let after = stack.all_users("default").await;
    assert_eq!(after.len(), before.len());
    for (was, is) in before.iter().zip(&after) {
        for field in ["id", "name", "locked", "created_at", "department"] {
            assert_eq!(was[field], is[field], "{field} of {was}");
        }
    }
}
