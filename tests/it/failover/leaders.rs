//! Leaders are spread over the replicas, and a department is never long without one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::settings::Settings;
use crate::harness::stack::leader_seen_by;
use crate::harness::{Stack, eventually};

const DEPARTMENTS: usize = 9;

/// Departments that each replica leads, once all have a living leader.
async fn spread(stack: &Stack, departments: usize) -> BTreeMap<String, usize> {
    eventually("every department is led by a living replica", Duration::from_secs(30), async || {
        let cluster = stack.client().get("/cluster").await.expect(200).json;
        let mut counts: BTreeMap<String, usize> =
            stack.replicas.iter().map(|replica| (replica.id.clone(), 0)).collect();
        let leaders = cluster["leaders"].as_array().expect("have leaders");
        for leader in leaders {
            *counts.get_mut(leader["replica"].as_str().expect("have an id"))? += 1;
        }
        (leaders.len() == departments).then_some(counts)
    })
    .await
}

/// What a replica leads at most before it lets the others go first.
fn cap(departments: usize, replicas: usize) -> usize {
    departments.div_ceil(replicas) + 1
}

#[tokio::test]
async fn leaders_are_spread_over_the_replicas_also_after_one_of_them_is_killed() {
    let mut stack = Stack::start(Settings { replicas: 3, ..Settings::default() }).await;
    let client = stack.client();
    let department = |n| async move { client.put(&format!("/departments/dept-{n}"), json!({})).await.expect(201) };
    let made = (1..=DEPARTMENTS).map(department);
    futures::future::join_all(made).await;
    let departments = DEPARTMENTS + 1;
    let counts = spread(&stack, departments).await;
    assert!(counts.values().all(|count| *count <= cap(departments, 3)), "{counts:?}");

    let (most, _) = counts.iter().max_by_key(|(_, count)| **count).expect("have a leader");
    stack.crash(most);
    let counts = spread(&stack, departments).await;
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!(counts.values().all(|count| *count <= cap(departments, 2)), "{counts:?}");
}

#[tokio::test]
async fn a_department_made_at_run_time_has_a_leader_within_two_seconds_as_every_replica_sees() {
    let stack = Stack::start(Settings { replicas: 3, ..Settings::default() }).await;
    for (n, replica) in stack.replicas.iter().enumerate() {
        let name = format!("young-{n}");
        let begun = Instant::now();
        replica.client.put(&format!("/departments/{name}"), json!({})).await.expect(201);
        let mut leaders: Vec<Value> = Vec::new();
        for other in &stack.replicas {
            leaders.push(leader_seen_by(&other.client, &name, |_| true).await);
        }
        let took = begun.elapsed();
        assert!(took <= Duration::from_secs(2), "{name} had a leader after {took:?}");
        assert!(leaders.iter().all(|leader| *leader == leaders[0]), "they disagree: {leaders:?}");
    }
}
