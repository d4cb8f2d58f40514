//! Backups and restores through the API, timed from the request to `complete`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Stack, eventually};
use crate::memory::Memory;
use crate::people::DEPARTMENT;

/// How often a job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Longest time for any job.
const WITHIN: Duration = Duration::from_mins(10);

/// A job that ended well.
#[derive(Debug)]
pub(crate) struct Done {
    /// From the request to `complete`.
    pub(crate) took: Duration,
    /// Of that, the time spent applying; only restores have it.
    pub(crate) applying: Duration,
    /// Peak of the replica's memory over idle, in MiB.
    pub(crate) peak: u64,
    /// The job at its end.
    pub(crate) job: Value,
}

/// Takes a backup of the department.
pub(crate) async fn backup(stack: &Stack, memory: Memory) -> Done {
    follow(stack, memory, "/backups", json!({ "department": DEPARTMENT })).await
}

/// Restores the department from a backup, plan and apply at once.
pub(crate) async fn restore(stack: &Stack, memory: Memory, backup: &Value) -> Done {
    let body = json!({ "from": { "backup_id": backup["id"] }, "apply": true });
    follow(stack, memory, "/restores", body).await
}

/// What an exact restore of a backup would still do: creates, updates, deletes, and records that are as they should be.
pub(crate) async fn differences(stack: &Stack, backup: &Value) -> [u64; 4] {
    let body = json!({ "from": { "backup_id": backup["id"] }, "mode": "exact", "credentials": "restore", "locked": "restore" });
    let asked = stack.client().post("/restores", body).await.expect(202);
    let planned = eventually("the restore is planned", WITHIN, async || {
        let job = stack.client().get(asked.header("location")).await.expect(200).json;
        (job["state"] == "planned").then_some(job)
    })
    .await;
    ["creates", "updates", "deletes", "unchanged"].map(|count| planned["plan"][count].as_u64().expect("be a count"))
}

async fn follow(stack: &Stack, memory: Memory, path: &str, body: Value) -> Done {
    memory.forget_peak();
    let begun = Instant::now();
    let asked = stack.client().post(path, body).await.expect(202);
    let mut applying_since = None;
    loop {
        let job = stack.client().get(asked.header("location")).await.expect(200).json;
        match job["state"].as_str() {
            Some("complete") => {
                let took = begun.elapsed();
                let applying = applying_since.map_or(Duration::ZERO, |since: Instant| since.elapsed());
                return Done { took, applying, peak: memory.peak(), job };
            }
            Some("failed" | "cancelled") => panic!("the job did not succeed: {job}"),
            Some("applying") if applying_since.is_none() => applying_since = Some(Instant::now()),
            _ => {}
        }
        assert!(begun.elapsed() < WITHIN, "the job took too long: {job}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
