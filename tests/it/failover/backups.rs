//! The leader dies in the middle of a backup: nothing partial is ever listed, and the next leader completes it in time.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

/// Users of the departments that are tried in turn, for machines that are fast and faster.
const SIZES: [usize; 3] = [3000, 9000, 27_000];
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_backup_whose_leader_is_killed_is_completed_in_time_by_the_next_one_and_never_listed_in_part() {
    let session_timeout = format!("{}s", SESSION_TIMEOUT.as_secs());
    let settings = Settings { replicas: 3, targets: 3, chunk_records: 16, session_timeout, ..Settings::default() };
    let mut stack = Stack::start(settings).await;
    let (department, running) = backup_in_its_middle(&stack).await;
    let location = format!("/backups/{}", running["id"].as_str().expect("have an id"));
    let killed = Instant::now();
    stack.crash(running["executed_by"]["replica"].as_str().expect("have an id"));
    assert!(chunks(stack.folder.path(), &department) > 0, "part of it lies on a target");
    assert_eq!(told(stack.folder.path(), &running["id"]), Vec::<String>::new(), "a target tells of a part");
    assert_listed(&stack, &department, &running["id"], 0).await;
    let complete = stack.ended(&location, "complete").await;
    let took = killed.elapsed();
    assert!(took <= SESSION_TIMEOUT + Duration::from_secs(5), "completed {took:?} after the kill");
    assert_ne!(complete["executed_by"]["replica"], running["executed_by"]["replica"], "{complete}");
    assert!(complete["epoch"].as_u64() > running["epoch"].as_u64(), "{complete}");
    assert_eq!(complete["attempt"], 2, "{complete}");
    assert_listed(&stack, &department, &complete["id"], 1).await;
    eventually("each target tells of it once", Duration::from_secs(30), async || {
        let words = told(stack.folder.path(), &complete["id"]);
        assert!(words.len() <= 3, "{words:?}");
        (words.len() == 3).then_some(())
    })
    .await;
    assert_eq!(stack.records_of_backup(&complete).await, stack.records(&department).await);
}

/// Begins backups of bigger and bigger departments until one is seen in its middle; the department and the job.
async fn backup_in_its_middle(stack: &Stack) -> (String, Value) {
    for users in SIZES {
        let department = format!("of-{users}");
        stack.department(&department).await;
        stack.first_slot_done(&department).await;
        stack.create_users(&department, users).await;
        let job = stack.client().post("/backups", json!({ "department": department })).await.expect(202);
        let seen = eventually("the backup is in its middle", Duration::from_mins(1), async || {
            let job = stack.client().get(job.header("location")).await.expect(200).json;
            let (done, total) = (job["progress"]["records_done"].as_u64()?, job["progress"]["records_total"].as_u64()?);
            (job["state"] == "complete" || (done > 0 && done < total)).then_some(job)
        })
        .await;
        if seen["state"] == "running" {
            return (department, seen);
        }
    }
    panic!("every backup was over before it could be interrupted");
}

/// Insists that every replica lists a backup that often, and only complete ones with all that they hold.
async fn assert_listed(stack: &Stack, department: &str, id: &Value, times: usize) {
    for replica in &stack.replicas {
        let listed = replica.client.get(&format!("/backups?department={department}")).await.expect(200).json;
        let items = listed["items"].as_array().expect("have items");
        assert_eq!(items.iter().filter(|item| item["id"] == *id).count(), times, "{} lists {listed}", replica.id);
        assert!(items.iter().all(|item| item["state"] == "complete" && item["root"].is_string()), "{listed}");
    }
}

/// The objects on all targets that tell of a backup: a list that is made anew from the targets is made from these.
fn told(folder: &Path, id: &Value) -> Vec<String> {
    let part = format!("/backups/{}/", id.as_str().expect("have an id"));
    objects(folder).into_iter().filter(|path| path.contains(&part)).collect()
}

/// The chunks of a department on all targets.
fn chunks(folder: &Path, department: &str) -> usize {
    let part = format!("/departments/{department}/");
    objects(folder).iter().filter(|path| path.contains(&part) && path.contains("/chunks/")).count()
}

/// Every file below `targets`.
fn objects(folder: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![folder.join("targets")]);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).expect("list a folder") {
            let path = entry.expect("read an entry").path();
            if path.is_dir() { open.push(path) } else { found.push(path.display().to_string()) }
        }
    }
    found
}
