//! Leaderships that move without a failure: because somebody asks, or because a replica leads less than its share.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::harness::hanging::{end_hang, hang};
use crate::harness::records::assert_same_content;
use crate::harness::settings::Settings;
use crate::harness::stack::leader_seen_by;
use crate::harness::{Stack, eventually};

async fn step_down(stack: &Stack, query: &str) -> crate::harness::client::Answer {
    stack.client().send(Method::POST, &format!("/departments/default/step-down{query}"), &[], None).await
}

#[tokio::test]
async fn a_leader_that_is_asked_to_step_down_is_followed_within_a_second_and_its_restore_goes_on() {
    // A crash would take the whole session timeout.
    let settings = Settings { replicas: 3, range_records: 2, session_timeout: "20s".to_owned(), ..Settings::default() };
    let stack = Stack::start(settings).await;
    stack.create_users("default", 600).await;
    let backup = stack.backup("default").await;
    let wanted = stack.records_of_backup(&backup).await;
    let delete = |n: usize| {
        let client = stack.client();
        async move { client.delete(&format!("/users/default-{n:05}")).await.expect(204) }
    };
    join_all((0..600).step_by(2).map(delete)).await;
    let location = stack.restore(json!({ "from": { "backup_id": backup["id"] }, "apply": true })).await;
    let location = location.header("location").to_owned();
    eventually("the restore is under way", Duration::from_mins(1), async || {
        let job = stack.client().get(&location).await.expect(200).json;
        assert_ne!(job["state"], "complete", "it was over before it could be interrupted");
        (job["progress"]["changes_done"].as_u64()? > 0).then_some(())
    })
    .await;

    let old = stack.leader_of("default").await;
    let to = stack.replicas.iter().rev().find(|replica| old["replica"] != replica.id).expect("have another");
    let asked = Instant::now();
    let answer = step_down(&stack, &format!("?to={}", to.id)).await.expect(202);
    assert_eq!(answer.header("location"), "/departments/default");
    let new =
        leader_seen_by(stack.client(), "default", |leader| leader["epoch"].as_u64() > old["epoch"].as_u64()).await;
    let took = asked.elapsed();
    assert_eq!(new["replica"], to.id, "{new}");
    assert!(took < Duration::from_secs(1), "the next leader came {took:?} after the request");
    // Asked once more, it is so already.
    step_down(&stack, &format!("?to={}", to.id)).await.expect(202);

    let job = stack.ended(&location, "complete").await;
    assert_eq!(job["progress"]["conflicts"], 0, "{job}");
    assert_eq!(job["executed_by"]["epoch"], new["epoch"], "{job}");
    assert_same_content(&wanted, &stack.records("default").await);
    assert_eq!(stack.leader_of("default").await["epoch"], new["epoch"], "it stays where it was asked to be");
}

#[tokio::test]
async fn who_leads_the_fewest_follows_when_nobody_is_named() {
    let stack = Stack::start(Settings { replicas: 2, ..Settings::default() }).await;
    let old = stack.leader_of("default").await;
    step_down(&stack, "").await.expect(202);
    let new = leader_seen_by(stack.client(), "default", |leader| leader["replica"] != old["replica"]).await;
    assert!(new["epoch"].as_u64() > old["epoch"].as_u64());
}

#[tokio::test]
async fn a_step_down_that_leads_nowhere_is_refused_with_the_reason() {
    let stack = Stack::start(Settings { own_zookeeper: true, ..Settings::default() }).await;
    step_down(&stack, "?to=r9").await.expect_parameter("to", "unknown_replica");
    step_down(&stack, "").await.expect_problem(409, "no_other_replica");
    let nowhere = stack.client().send(Method::POST, "/departments/nowhere/step-down", &[], None).await;
    nowhere.expect_problem(404, "not_found");
    let nobody = stack.client().with_token(None).send(Method::POST, "/departments/default/step-down", &[], None).await;
    nobody.expect_problem(401, "unauthenticated");
    let mut stack = stack;
    stack.zookeeper.as_mut().expect("have a ZooKeeper").process.kill();
    eventually("nobody leads any more", Duration::from_secs(30), async || {
        let answer = step_down(&stack, "").await;
        (answer.json["code"] == "no_leader").then(|| answer.expect_problem(409, "no_leader"))
    })
    .await;
}

/// How many departments each replica leads, as the first one sees it; none while one has no leader.
async fn spread(stack: &Stack, departments: usize) -> Option<BTreeMap<String, usize>> {
    let cluster = stack.client().get("/cluster").await.expect(200).json;
    let leaders = cluster["leaders"].as_array().expect("have leaders");
    let mut counts: BTreeMap<String, usize> = stack.replicas.iter().map(|replica| (replica.id.clone(), 0)).collect();
    for leader in leaders {
        *counts.get_mut(leader["replica"].as_str().expect("have an id"))? += 1;
    }
    (leaders.len() == departments).then_some(counts)
}

/// The epochs of all departments.
async fn epochs(stack: &Stack) -> Vec<i64> {
    let cluster = stack.client().get("/cluster").await.expect(200).json;
    let leaders = cluster["leaders"].as_array().expect("have leaders").iter();
    leaders.map(|leader| leader["epoch"].as_i64().expect("have an epoch")).collect()
}

#[tokio::test]
async fn a_new_replica_gets_its_share_of_leaderships_without_a_failure_and_then_nothing_moves() {
    let extra = "balance_after = \"2s\"";
    let settings = Settings {
        replicas: 2,
        session_timeout: "6s".to_owned(),
        zookeeper_extra: extra.to_owned(),
        ..Settings::default()
    };
    let mut stack = Stack::start(settings.clone()).await;
    for n in 1..6 {
        stack.department(&format!("dept-{n}")).await;
    }
    eventually("both lead the same number", Duration::from_mins(1), async || {
        spread(&stack, 6).await.filter(|counts| counts.values().all(|count| *count == 3))
    })
    .await;
    let sum = |epochs: &[i64]| epochs.iter().sum::<i64>();
    let begun = epochs(&stack).await;
    stack.add_replica(&settings, 2);
    let counts = eventually("the new replica leads its share", Duration::from_mins(1), async || {
        spread(&stack, 6).await.filter(|counts| counts.values().all(|count| *count == 2))
    })
    .await;
    assert_eq!(counts.len(), 3);
    let before = epochs(&stack).await;
    assert_eq!(sum(&before), sum(&begun) + 2, "two moves, and nothing else: {begun:?} {before:?}");
    for n in 1..6 {
        stack.backup(&format!("dept-{n}")).await;
    }
    assert_eq!(epochs(&stack).await, before, "even replicas stay as they are");
}

/// How often a leadership was asked to move.
fn moves_asked(stack: &Stack) -> usize {
    stack.replicas.iter().map(|replica| replica.log().matches("asks for a leadership to move").count()).sum()
}

#[tokio::test]
async fn no_leadership_moves_for_balance_while_a_backup_of_its_department_is_under_way() {
    let extra = "balance_after = \"1s\"".to_owned();
    let settings = Settings { replicas: 2, zookeeper_extra: extra, ..Settings::default() };
    let mut stack = Stack::start(settings.clone()).await;
    let departments = ["default", "dept-1", "dept-2", "dept-3"];
    for department in &departments[1..] {
        stack.department(department).await;
    }
    eventually("both lead the same number", Duration::from_mins(1), async || {
        spread(&stack, 4).await.filter(|counts| counts.values().all(|count| *count == 2))
    })
    .await;
    for department in departments {
        stack.first_slot_done(department).await;
    }
    let (target, begun, asked) = (stack.folder.path().join("targets/t2"), epochs(&stack).await, moves_asked(&stack));
    hang(&target);
    for department in departments {
        stack.client().post("/backups", json!({ "department": department })).await.expect(202);
    }
    stack.add_replica(&settings, 2);
    // The first one is void by the time of the second.
    eventually("two leaderships were asked to move", Duration::from_mins(1), async || {
        (moves_asked(&stack) >= asked + 2).then_some(())
    })
    .await;
    assert_eq!(epochs(&stack).await, begun, "a leader moved in the middle of a backup");
    end_hang(&target, Duration::from_secs(1)).await;
    eventually("the new replica leads its share", Duration::from_mins(2), async || {
        spread(&stack, 4).await.filter(|counts| counts.values().all(|count| *count >= 1))
    })
    .await;
}
