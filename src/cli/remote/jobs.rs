//! Waits for the end of a job, and tells of it meanwhile.
//!
//! Rule: a job goes on whoever asks for it, so a replica that is away is waited for, and nothing is asked for twice.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::time::Instant;

use super::{Ask, Failure, Service};
use crate::cli::output;
use crate::cli::progress::{Progress, Step};

/// How often a job is looked at: soon at first.
const LOOK_FIRST: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long to wait.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct WaitArgs {
    /// Wait for the end of the job, and tell of its progress on standard error. The exit code is 1 when it fails.
    #[arg(long)]
    pub(in crate::cli) wait: bool,
    #[command(flatten)]
    pub(in crate::cli) within: WithinArgs,
}

/// How long to wait at most.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct WithinArgs {
    /// Wait so long at most, for example `10m`; after that the exit code is 3, and the job goes on.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

/// Whether a job has ended.
pub(in crate::cli) fn is_final(job: &Value) -> bool {
    matches!(job["state"].as_str(), Some("complete" | "failed" | "cancelled" | "deleted"))
}

/// Whether a job has come as far as it can by itself.
pub(in crate::cli) fn rests(job: &Value) -> bool {
    is_final(job) || (job["state"] == "planned" && job["apply"] == false)
}

/// Reads a job until it rests.
pub(in crate::cli) async fn until(
    service: &Service,
    path: &str,
    within: &WithinArgs,
    rests: impl Fn(&Value) -> bool,
) -> Result<Value, Failure> {
    let (mut progress, mut pause) = (Progress::new(), LOOK_FIRST);
    let ends = within.timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let job = service.send(&Ask::get(path)).await?;
        if rests(&job) {
            return Ok(job);
        }
        show(&mut progress, path, &job);
        if ends.is_some_and(|ends| Instant::now() + pause >= ends) {
            let state = job["state"].as_str().unwrap_or("in no known state");
            return Err(Failure::missing(format!("{path} is {state} and goes on; it was not waited for any longer")));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_EVERY);
    }
}

fn show(progress: &mut Progress, path: &str, job: &Value) {
    let state = job["state"].as_str().unwrap_or_default();
    let mut what = format!("{}: {state}", path.trim_start_matches('/'));
    if let Some(message) = job["cause"]["message"].as_str() {
        what.extend([" (", message, ")"]);
    }
    let number = |name: &str| job["progress"][name].as_u64();
    let (done, total, unit) = match (number("records_done"), number("changes_done")) {
        (Some(done), _) => (done, number("records_total"), "records"),
        (_, Some(done)) => (done, number("changes_total"), "changes"),
        _ => (0, None, ""),
    };
    progress.show(Step { what: &what, done, total, unit, share: None });
}

/// The exit code of a job, with its cause told where it ended otherwise than wished.
pub(in crate::cli) fn code_of(job: &Value) -> u8 {
    let state = job["state"].as_str().unwrap_or_default();
    if !matches!(state, "failed" | "cancelled" | "deleted") {
        return 0;
    }
    let why = job["cause"]["message"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    output::problem(&format!("the job {} is {state}{why}", job["id"].as_str().unwrap_or_default()));
    crate::cli::EXIT_FAILURE
}
