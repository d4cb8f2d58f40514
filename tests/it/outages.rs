//! MongoDB or ZooKeeper is away: what goes on, what is refused and how, and that all comes back by itself.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::restoring::OTHER_HASH;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

#[tokio::test]
async fn while_mongodb_is_stopped_the_answer_is_503_with_retry_after_and_it_recovers_by_itself() {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    stack.create_users("default", 10).await;
    let mongod = stack.mongod.as_ref().expect("have a mongod");
    mongod.process.freeze();
    let refused = stack.client().get("/users/default-00001").await;
    refused.expect_problem(503, "unavailable");
    assert!(!refused.header("retry-after").is_empty(), "{:?}", refused.headers);
    stack.client().get("/livez").await.expect(200);
    mongod.process.thaw();
    eventually("users are served again", Duration::from_mins(1), async || {
        let answer = stack.client().get("/users/default-00001").await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_write_that_a_hanging_mongodb_carries_out_later_was_never_told_to_have_changed_nothing() {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    let mongod = stack.mongod.as_ref().expect("have a mongod");
    stack.create_users("default", 10).await;
    // So that connections are there for all of what comes.
    let read = async || stack.client().get("/users/default-00001").await;
    futures::future::join_all((0..16).map(|_| read())).await;
    mongod.process.freeze();
    // Within 12 seconds the driver finds the server hanging, and breaks off what is under way: the first write, which waits for
    // 10 seconds, or the second one, which comes 5 seconds later.
    let write = async |n: u32| {
        let id = format!("hung-{n}");
        let user = json!({ "id": &id, "name": format!("Hung {n}"), "password_hash": OTHER_HASH });
        let answer = stack.client().post("/users", user).await.expect(503);
        (id, answer.json["code"].as_str().expect("have a code").to_owned())
    };
    let later = async {
        read().await.expect(503);
        write(2).await
    };
    let told: [(String, String); 2] = futures::future::join(write(1), later).await.into();
    mongod.process.thaw();
    eventually("users are served again", Duration::from_mins(1), async || {
        let answer = stack.client().get("/users/default-00001").await;
        (answer.status == 200).then_some(())
    })
    .await;
    stack.create("default", "after", "After").await;
    assert!(told.iter().any(|(_, code)| code == "outcome_unknown"), "{told:?}");
    for (id, _) in told.iter().filter(|(_, code)| code == "unavailable") {
        stack.client().get(&format!("/users/{id}")).await.expect(404);
    }
}

#[tokio::test]
async fn those_who_gave_up_waiting_for_a_mongodb_that_hangs_are_in_nobodys_way_when_it_is_back() {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    let mongod = stack.mongod.as_ref().expect("have a mongod");
    stack.create_users("default", 10).await;
    mongod.process.freeze();
    // Shorter than it takes to find that the server hangs.
    let read = async || stack.client().get("/users/default-00001").await;
    let told = futures::future::join_all((0..400).map(|_| read())).await;
    mongod.process.thaw();
    assert!(told.iter().all(|answer| answer.status == 503));
    // One after the other: a crowd would push those before it out of the way. The first may still meet what hung; with 400 in the
    // way it took minutes.
    eventually("a user is read again", Duration::from_secs(20), async || (read().await.status == 200).then_some(()))
        .await;
    for _ in 0..5 {
        read().await.expect(200);
    }
}

#[tokio::test]
async fn while_zookeeper_is_stopped_users_are_served_and_leaders_step_down_and_come_back() {
    let stack = Stack::start(Settings { own_zookeeper: true, ..Settings::default() }).await;
    let zookeeper = stack.zookeeper.as_ref().expect("have a ZooKeeper");
    zookeeper.process.freeze();
    eventually("the leader has stepped down", Duration::from_secs(20), async || {
        let department = stack.client().get("/departments/default").await.expect(200).json;
        (department["leader"] == Value::Null).then_some(())
    })
    .await;
    let user = json!({ "id": "ada", "name": "Ada", "password": "correct horse battery" });
    stack.client().post("/users", user).await.expect(201);
    stack.client().get("/users/ada").await.expect(200);
    stack.client().send(Method::GET, "/readyz", &[], None).await.expect(200);
    zookeeper.process.thaw();
    stack.leader_of("default").await;
    stack.backup("default").await;
}
