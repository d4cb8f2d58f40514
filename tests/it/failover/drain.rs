//! A replica that is asked to end (SIGTERM): it takes nothing new, answers what it has, and hands its leaderships over.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::Method;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::harness::client::{Answer, Client};
use crate::harness::records::{assert_same_content, hash_number};
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

/// Lines of an import, `imported-00000` first.
fn lines(from: usize, to: usize) -> String {
    let line = |n| json!({ "id": format!("imported-{n:05}"), "name": format!("Imported {n}"), "password_hash": hash_number(1) });
    (from..to).map(|n| line(n).to_string() + "\n").collect()
}

/// Starts an import whose lines come through the returned channel; the request ends when that is dropped.
fn import(url: &str, token: &str) -> (mpsc::Sender<Result<String, Infallible>>, JoinSet<reqwest::Result<String>>) {
    let (sender, body) = mpsc::channel(4);
    let request = reqwest::Client::builder().no_proxy().build().expect("build a client");
    let request = request.post(format!("{url}/users/import")).bearer_auth(token);
    let request = request.header("content-type", "application/x-ndjson");
    let body = reqwest::Body::wrap_stream(ReceiverStream::new(body));
    let mut answer = JoinSet::new();
    answer.spawn(async move { request.body(body).send().await?.error_for_status()?.text().await });
    (sender, answer)
}

/// Waits until an import has written something, asks the replica to end, and waits until it takes no connection.
async fn ask_to_end_during_an_import(stack: &Stack) {
    eventually("the import is under way", Duration::from_secs(30), async || {
        (!stack.records("default").await.is_empty()).then_some(())
    })
    .await;
    stack.replicas[0].terminate();
    let stranger = Client::new(&stack.replicas[0].url, &stack.token);
    eventually("no new connection is taken", Duration::from_secs(2), async || {
        stranger.try_send(Method::GET, "/livez", &[], None).await.is_err_and(|error| error.is_connect()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_import_under_way_is_answered_to_its_last_line_before_the_replica_ends() {
    let mut stack = Stack::start(Settings::default()).await;
    let (body, mut answer) = import(&stack.replicas[0].url, &stack.token);
    body.send(Ok(lines(0, 1500))).await.expect("send lines");
    ask_to_end_during_an_import(&stack).await;
    body.send(Ok(lines(1500, 2000))).await.expect("send more lines");
    drop(body);
    let results = answer.join_next().await.expect("have asked").expect("not panic").expect("be answered");
    assert_eq!(results.lines().filter(|line| line.contains("\"created\"")).count(), 2000);
    assert_eq!(stack.records("default").await.len(), 2000);
    assert_eq!(stack.replicas[0].stop().code(), Some(0));
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_in_sight_and_holds_the_end_up_only_for_so_long() {
    let mut stack = Stack::start(Settings { http: ", drain_timeout = \"1s\"".to_owned(), ..Settings::default() }).await;
    let (body, mut answer) = import(&stack.replicas[0].url, &stack.token);
    body.send(Ok(lines(0, 1500))).await.expect("send lines");
    let asked = Instant::now();
    ask_to_end_during_an_import(&stack).await;
    let code = eventually("the process has ended", Duration::from_secs(10), async || stack.replicas[0].ended()).await;
    let took = asked.elapsed();
    assert_eq!(code.code(), Some(0));
    assert!(took >= Duration::from_secs(1), "it was not given its time: {took:?}");
    let answer = answer.join_next().await.expect("have asked").expect("not panic");
    assert!(answer.is_err(), "a client must see that results are missing: {answer:?}");
    drop(body);
}
