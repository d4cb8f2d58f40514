//! `rollkeeper backup`: makes, lists, shows, verifies and compares backups of a running service.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::EXIT_FAILURE;
use super::output::{self, Output};
use super::remote::jobs::{self, WaitArgs};
use super::remote::lists::{Asked, list, tell_of_more};
use super::remote::{self, AFTER_HELP, Ask, Failure, RemoteArgs, Service, read_on};
use super::table::{cell, columns, fields, rows};
use crate::domain::ids::BackupId;

/// What to do with backups, and where.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(subcommand)]
    command: BackupCommand,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// Take a backup now. Prints the backup: its id, its state and, with `--wait`, what it holds.
    Create {
        /// The department.
        #[arg(long)]
        department: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// List backups, newest first; only complete ones unless `--state` says otherwise.
    List {
        /// Only this department.
        #[arg(long)]
        department: Option<String>,
        /// queued, running, complete, failed, cancelled, deleted; separated by commas, or given many times.
        #[arg(long, value_delimiter = ',')]
        state: Vec<String>,
        /// So many at most; 0 for all.
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
    /// Show one backup, and what each target holds of it.
    Show {
        /// The backup.
        backup_id: String,
    },
    /// Read every copy of a backup back and check it. The exit code is 1 when a target has no whole copy.
    Verify {
        /// The backup.
        backup_id: String,
    },
    /// Show the users that differ between a backup and what is now, or another backup; hashes only as changed.
    Diff {
        /// The backup.
        backup_id: String,
        /// `live`, or the id of another backup of the department.
        #[arg(long, default_value = "live", value_name = "live|ID")]
        against: String,
        /// So many at most; 0 for all.
        #[arg(long, default_value_t = 0, value_name = "N")]
        limit: usize,
    },
}

/// Runs the command; the exit code.
pub(super) fn run(args: &BackupArgs) -> u8 {
    remote::run(&args.remote, async |service| work(service, args).await)
}

async fn work(service: &Service, args: &BackupArgs) -> Result<u8, Failure> {
    let how = args.remote.output;
    match &args.command {
        BackupCommand::Create { department, wait } => {
            let body = json!({ "department": department });
            let mut backup = service.send(&Ask::post("/backups", Some(body))).await?;
            if wait.wait {
                backup = jobs::until(service, &path_of(&cell(&backup["id"]))?, &wait.within, jobs::is_final).await?;
            }
            Ok(shown(&backup, how).max(jobs::code_of(&backup)))
        }
        BackupCommand::List { department, state, limit } => {
            let asked = Asked { department: department.as_deref(), states: state, limit: *limit };
            list(service, "/backups", asked, how, table).await
        }
        BackupCommand::Show { backup_id } => Ok(shown(&service.send(&Ask::get(&path_of(backup_id)?)).await?, how)),
        BackupCommand::Verify { backup_id } => {
            let path = format!("{}/verify", path_of(backup_id)?);
            let found = service.send(&Ask::post(&path, None)).await?;
            let printed = match how {
                Output::Json => output::json(&found),
                Output::Table => output::line(&format!("whole: {}\n{}", found["whole"], copies(&found["copies"]))),
            };
            Ok(printed.max(if found["whole"] == true { 0 } else { EXIT_FAILURE }))
        }
        BackupCommand::Diff { backup_id, against, limit } => {
            let path = format!("{}/diff", path_of(backup_id)?);
            diff(service, &path, against, *limit, how).await
        }
    }
}

fn path_of(id: &str) -> Result<String, Failure> {
    let id: BackupId = id.parse().map_err(|error| Failure::usage(format!("backup id: {error}")))?;
    Ok(format!("/backups/{id}"))
}

fn shown(backup: &Value, how: Output) -> u8 {
    match how {
        Output::Json => output::json(backup),
        Output::Table => output::line(&text(backup)),
    }
}

fn table(backups: &[Value]) -> String {
    let head = ["backup", "department", "kind", "state", "sequence", "taken at", "records"];
    columns(&head, &rows(backups, &["id", "department", "kind", "state", "sequence", "taken_at", "records"]))
}

fn text(backup: &Value) -> String {
    let of = |field: &str| cell(&backup[field]);
    let lines = [
        ("backup", of("id")),
        ("department", of("department")),
        ("kind", of("kind")),
        ("state", of("state")),
        ("cause", cell(&backup["cause"]["message"])),
        ("asked for", of("requested_at")),
        ("by", of("requested_by")),
        ("ended", of("finished_at")),
        ("taken at", of("taken_at")),
        ("sequence", of("sequence")),
        ("timeline", of("timeline")),
        ("records", of("records")),
        ("unchanged", of("unchanged")),
        ("root", of("root")),
        ("held by", cell(&backup["held"]["by"])),
    ];
    fields(&lines) + &copies(&backup["copies"])
}

fn copies(copies: &Value) -> String {
    let line = |copy: &Value| {
        let of = |field: &str| cell(&copy[field]);
        vec![of("target"), of("state"), of("verified_at"), cell(&copy["cause"]["message"])]
    };
    let lines: Vec<Vec<String>> = copies.as_array().into_iter().flatten().map(line).collect();
    if lines.is_empty() { String::new() } else { columns(&["target", "copy", "verified at", "cause"], &lines) }
}

/// Page by page, so that any number of differences can be shown.
async fn diff(service: &Service, path: &str, against: &str, limit: usize, how: Output) -> Result<u8, Failure> {
    let (mut kinds, mut place) = ([("added", 0_u64), ("removed", 0), ("changed", 0)], Value::Null);
    let more = service
        .pages(path, &[("against", against)], limit, |page| {
            place = page["against"].clone();
            let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            for (kind, count) in &mut kinds {
                *count += items.iter().map(|item| u64::from(item["kind"] == *kind)).sum::<u64>();
            }
            read_on(match how {
                Output::Json => output::ndjson(items),
                Output::Table if items.is_empty() => true,
                Output::Table => output::bytes(differences(items).as_bytes()),
            })
        })
        .await?;
    let [(_, added), (_, removed), (_, changed)] = kinds;
    let summary = format!(
        "{} users differ from the other side at {} (sequence {}): {added} added, {removed} removed, {changed} changed since",
        added + removed + changed,
        cell(&place["time"]),
        cell(&place["sequence"]),
    );
    output::progress(&summary);
    tell_of_more(more);
    Ok(0)
}

fn differences(items: &[Value]) -> String {
    let line = |item: &Value| {
        let name = item["after"]["name"].as_str().or(item["before"]["name"].as_str()).unwrap_or("-");
        vec![cell(&item["kind"]), cell(&item["user_id"]), name.to_owned(), cell(&item["changed"])]
    };
    columns(&["kind", "user", "name", "changed"], &items.iter().map(line).collect::<Vec<_>>())
}
