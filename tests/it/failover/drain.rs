//! A replica that is asked to end (SIGTERM): it takes nothing new, answers what it has, and hands its leaderships over.

use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::client::{Answer, Client};
use crate::harness::records::assert_same_content;
use crate::harness::settings::Settings;
use crate::harness::stack::leader_seen_by;
use crate::harness::{Stack, eventually};

const CREATES: usize = 10;
/// A handover takes a moment, where a crash takes the whole session timeout.
const SESSION_TIMEOUT: Duration = Duration::from_secs(8);

/// Creates that keep the one place for hashing busy for seconds.
fn slow_creates(client: &Client) -> JoinSet<Result<Answer, reqwest::Error>> {
    let mut creates = JoinSet::new();
    for n in 0..CREATES {
        let client = client.clone();
        creates.spawn(async move {
            let body = json!({ "id": format!("slow-{n}"), "name": format!("Slow {n}"), "password": "correct horse" });
            client
                .try_send(Method::POST, "/users", &[("content-type", "application/json")], Some(body.to_string()))
                .await
        });
    }
    creates
}

#[tokio::test]
async fn a_leader_that_is_asked_to_end_answers_what_it_has_and_its_restore_goes_on_under_the_next_one() {
    let settings = Settings {
        replicas: 3,
        range_records: 2,
        session_timeout: format!("{}s", SESSION_TIMEOUT.as_secs()),
        http: ", hash_concurrency = 1, argon2 = { memory_kib = 65536, iterations = 3 }".to_owned(),
        ..Settings::default()
    };
    let mut stack = Stack::start(settings).await;
    stack.create_users("default", 900).await;
    let backup = stack.backup("default").await;
    let wanted = stack.records_of_backup(&backup).await;
    let client = stack.client();
    let delete = |n| async move { client.delete(&format!("/users/default-{n:05}")).await.expect(204) };
    futures::stream::iter((0..900).step_by(2)).map(delete).buffer_unordered(8).collect::<Vec<_>>().await;

    let body = json!({ "from": { "backup_id": backup["id"] }, "apply": true });
    let location = stack.restore(body).await.header("location").to_owned();
    let old = stack.leader_of("default").await;
    let id = old["replica"].as_str().expect("have an id").to_owned();
    let (leader, url) = (stack.replica(&id).client.clone(), stack.replica(&id).url.clone());
    let living = stack.replicas.iter().find(|replica| replica.id != id).expect("have another").client.clone();
    let mut creates = slow_creates(&leader);
    let waiting = {
        let leader = leader.clone();
        let headers = [("content-type", "application/json"), ("prefer", "wait=30")];
        let body = json!({ "department": "default" }).to_string();
        async move { leader.send(Method::POST, "/backups", &headers, Some(body)).await }
    };
    let mut waiting = JoinSet::from_iter([waiting]);
    eventually("the restore is under way", Duration::from_mins(1), async || {
        let job = living.get(&location).await.expect(200).json;
        assert_ne!(job["state"], "complete", "it was over before it could be interrupted");
        (job["progress"]["changes_done"].as_u64()? > 0).then_some(())
    })
    .await;

    let asked = Instant::now();
    stack.replica(&id).terminate();
    let stranger = Client::new(&url, &stack.token);
    eventually("no new connection is taken", Duration::from_secs(2), async || {
        stranger.try_send(Method::GET, "/livez", &[], None).await.is_err_and(|error| error.is_connect()).then_some(())
    })
    .await;
    assert!(stack.replica(&id).ended().is_none(), "it has requests to answer");
    let new = leader_seen_by(&living, "default", |leader| leader["replica"] != old["replica"]).await;
    let took = asked.elapsed();
    assert!(took < SESSION_TIMEOUT / 3, "the next leader came {took:?} after the signal");
    assert!(new["epoch"].as_u64() > old["epoch"].as_u64(), "{old} {new}");

    let backup = waiting.join_next().await.expect("have asked").expect("be answered");
    assert!(matches!(backup.status.as_u16(), 200 | 202), "{}", backup.text);
    while let Some(answer) = creates.join_next().await {
        answer.expect("have asked").expect("be answered").expect(201);
    }
    let code = eventually("the process has ended", Duration::from_secs(3), async || stack.replica(&id).ended()).await;
    assert_eq!(code.code(), Some(0));
    assert!(!stack.replica(&id).log().contains("cut off"), "nothing had to be cut off");

    stack.replicas.retain(|replica| replica.id != id);
    let job = stack.ended(&location, "complete").await;
    assert_eq!(job["executed_by"]["epoch"], new["epoch"], "{job}");
    assert_eq!(job["progress"]["conflicts"], 0, "{job}");
    assert_eq!(job["progress"]["changes_done"], job["progress"]["changes_total"], "{job}");
    stack.ended(backup.header("location"), "complete").await;
    let mut now = stack.records("default").await;
    assert_eq!((0..CREATES).filter_map(|n| now.remove(&format!("slow-{n}"))).count(), CREATES);
    assert_same_content(&wanted, &now);
}

#[tokio::test]
async fn a_replica_with_nothing_to_do_ends_at_once_when_asked_to() {
    let mut stack = Stack::start(Settings::default()).await;
    let asked = Instant::now();
    assert_eq!(stack.replicas[0].stop().code(), Some(0));
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(2), "it ended {took:?} after the signal");
    assert!(!stack.replicas[0].log().contains("cut off"), "nothing had to be cut off");
}
