//! Passwords are hashed a few at a time: a burst of them slows nobody else, and what is too much is refused at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::Stack;
use crate::harness::client::{Answer, Client};
use crate::harness::settings::Settings;

const BURST: usize = 60;
const COSTLY: &str = "argon2 = { memory_kib = 19456, iterations = 2 }";

/// Creates with a password, all at once; counts those that are answered.
fn burst(client: &Client, answered: &Arc<AtomicUsize>) -> JoinSet<Answer> {
    let mut creates = JoinSet::new();
    for n in 0..BURST {
        let (client, answered) = (client.clone(), Arc::clone(answered));
        creates.spawn(async move {
            let body = json!({ "id": format!("u-{n}"), "name": format!("User {n}"), "password": "correct horse" });
            let headers = [("content-type", "application/json")];
            let answer = client.send(Method::POST, "/users", &headers, Some(body.to_string())).await;
            answered.fetch_add(1, Ordering::SeqCst);
            answer
        });
    }
    creates
}

#[tokio::test]
async fn reads_are_answered_long_before_a_burst_of_creates_with_passwords_is_over() {
    let http = format!(", hash_concurrency = 1, hash_queue = {BURST}, {COSTLY}");
    let stack = Stack::start(Settings { http, ..Settings::default() }).await;
    stack.create_users("default", 10).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut creates = burst(stack.client(), &answered);
    creates.join_next().await.expect("have one").expect("be answered").expect(201);
    let at_first = answered.load(Ordering::SeqCst);
    for n in 0..50 {
        stack.client().get(&format!("/users/default-{:05}", n % 10)).await.expect(200);
    }
    let meanwhile = answered.load(Ordering::SeqCst) - at_first;
    assert!(meanwhile < BURST / 2, "{meanwhile} creates were answered while 50 reads were");
    while let Some(answer) = creates.join_next().await {
        answer.expect("be answered").expect(201);
    }
}

#[tokio::test]
async fn creates_beyond_the_hashing_queue_are_refused_with_retry_after_and_the_others_are_made() {
    let http = format!(", hash_concurrency = 1, hash_queue = 5, {COSTLY}");
    let stack = Stack::start(Settings { http, ..Settings::default() }).await;
    let (mut made, mut refused) = (0, 0);
    let mut creates = burst(stack.client(), &Arc::default());
    while let Some(answer) = creates.join_next().await {
        let answer = answer.expect("be answered");
        if answer.status == 201 {
            made += 1;
        } else {
            answer.expect_problem(503, "hashing_saturated");
            let after: u64 = answer.header("retry-after").parse().expect("say when to come again");
            assert!(after > 0);
            refused += 1;
        }
    }
    assert!(made >= 6, "one is hashed and five wait, yet only {made} were made");
    assert!(refused >= BURST / 2, "only {refused} of {BURST} were refused");
    assert_eq!(stack.records("default").await.len(), made, "a refused one is not there");
    let new = json!({ "name": "Later", "password": "correct horse" });
    stack.client().post("/users", new).await.expect(201);
}
