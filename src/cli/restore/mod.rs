//! `rollkeeper restore`: plans, applies, shows, undoes and cancels restores of a running service.
//!
//! Rule: what is applied is what was looked at: the plan's `ETag` is said, or its numbers were shown and somebody agreed.

mod plan;
mod view;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::output::{self, Output};
use super::remote::jobs::{self, WaitArgs};
use super::remote::lists::{Asked, list};
use super::remote::{self, AFTER_HELP, Ask, Failure, RemoteArgs, Service, confirm, read_on};
use crate::domain::ids::RestoreId;

/// What to do with restores, and where.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(subcommand)]
    command: RestoreCommand,
}

#[derive(Debug, Subcommand)]
enum RestoreCommand {
    /// Compute what a restore would change, and print it with the id and the `ETag` that `apply` needs. Changes nothing,
    /// unless `--apply` says so.
    Plan(Box<plan::PlanArgs>),
    /// Apply a plan. Needs its `ETag`, or a terminal on which its numbers are shown first.
    Apply {
        /// The restore.
        restore_id: String,
        /// The `ETag` that `plan` or `show` printed, with or without its quotes.
        #[arg(long)]
        etag: Option<String>,
        /// It is meant.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Show a restore: its plan, its progress, how it ended.
    Show {
        /// The restore.
        restore_id: String,
        /// List every record that it creates, changes or deletes instead; as JSON one a line.
        #[arg(long, conflicts_with = "conflicts")]
        changes: bool,
        /// List every conflict with its cause instead; as JSON one a line.
        #[arg(long)]
        conflicts: bool,
    },
    /// List restores, newest first.
    List {
        /// Only into this department.
        #[arg(long)]
        department: Option<String>,
        /// queued, planning, planned, applying, complete, failed, cancelled; separated by commas, or given many times.
        #[arg(long, value_delimiter = ',')]
        state: Vec<String>,
        /// So many at most; 0 for all.
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
    /// Take back what a restore wrote: a new restore, whose id is printed. It may bring old password hashes back.
    Undo {
        /// The restore.
        restore_id: String,
        /// It is meant.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Stop a restore, or give up its plan. What was applied stays.
    Cancel {
        /// The restore.
        restore_id: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

/// Runs the command; the exit code.
pub(super) fn run(args: &RestoreArgs) -> u8 {
    remote::run(&args.remote, async |service| work(service, args).await)
}

async fn work(service: &Service, args: &RestoreArgs) -> Result<u8, Failure> {
    let how = args.remote.output;
    match &args.command {
        RestoreCommand::Plan(plan) => plan::run(service, plan, how).await,
        RestoreCommand::Apply { restore_id, etag, yes, wait } => {
            let path = path_of(restore_id)?;
            let etag = agreed(service, &path, etag.as_deref(), *yes).await?;
            apply(service, &path, &etag, wait, how).await
        }
        RestoreCommand::Show { restore_id, changes, conflicts } => {
            let path = path_of(restore_id)?;
            match (changes, conflicts) {
                (true, _) => pages(service, &format!("{path}/changes"), how, view::changes).await,
                (_, true) => pages(service, &format!("{path}/conflicts"), how, view::conflicts).await,
                _ => Ok(shown(&service.send(&Ask::get(&path)).await?, how)),
            }
        }
        RestoreCommand::List { department, state, limit } => {
            let asked = Asked { department: department.as_deref(), states: state, limit: *limit };
            list(service, "/restores", asked, how, view::table).await
        }
        RestoreCommand::Undo { restore_id, yes, wait } => {
            let path = path_of(restore_id)?;
            confirm(*yes, "every record that the restore wrote gets the value that it had before")?;
            let undo = service.send(&Ask::post(&format!("{path}/undo"), None)).await?;
            ended(service, undo, wait, how).await
        }
        RestoreCommand::Cancel { restore_id, wait } => {
            let path = path_of(restore_id)?;
            let mut restore = service.send(&Ask::post(&format!("{path}/cancel"), None)).await?;
            if wait.wait {
                restore = jobs::until(service, &path, &wait.within, jobs::is_final).await?;
            }
            // Here `cancelled` is what was wished.
            Ok(shown(&restore, how))
        }
    }
}

fn path_of(id: &str) -> Result<String, Failure> {
    let id: RestoreId = id.parse().map_err(|error| Failure::usage(format!("restore id: {error}")))?;
    Ok(format!("/restores/{id}"))
}

/// The `ETag` of a plan, in quotes.
fn etag_of(restore: &Value) -> Option<String> {
    Some(format!("\"{}\"", restore["plan"]["hash"].as_str()?))
}

/// The `ETag` of the plan that is to be applied: the one that was said, or the one that was shown and agreed to.
async fn agreed(service: &Service, path: &str, said: Option<&str>, yes: bool) -> Result<String, Failure> {
    let said = said.map(|etag| format!("\"{}\"", etag.trim_matches('"')));
    match said {
        Some(etag) if yes => return Ok(etag),
        None if yes || !remote::can_ask() => {
            let text = "what is applied is what was looked at: say --etag, as `plan` and `show` print it, and --yes";
            return Err(Failure::usage(text));
        }
        _ => {}
    }
    if !remote::can_ask() {
        confirm(false, "the plan is applied to the live records")?;
    }
    let restore = service.send(&Ask::get(path)).await?;
    let Some(etag) = etag_of(&restore).filter(|_| restore["state"] == "planned") else {
        let state = restore["state"].as_str().unwrap_or_default();
        return Err(Failure::failed(format!("only a restore that is planned can be applied; this one is {state}")));
    };
    if said.is_some_and(|said| said != etag) {
        return Err(Failure::failed("this is the ETag of another plan; look at it with `restore show`"));
    }
    output::progress(&view::text(&restore));
    confirm(false, "this is applied to the live records")?;
    Ok(etag)
}

/// Lets a plan through, and waits for its end where that is wished.
async fn apply(service: &Service, path: &str, etag: &str, wait: &WaitArgs, how: Output) -> Result<u8, Failure> {
    let restore = service.send(&Ask::post(&format!("{path}/apply"), None).with("if-match", etag)).await?;
    ended(service, restore, wait, how).await
}

/// Prints a restore that goes through by itself, once it has ended where that is wished.
async fn ended(service: &Service, restore: Value, wait: &WaitArgs, how: Output) -> Result<u8, Failure> {
    let mut restore = restore;
    if wait.wait {
        let path = path_of(restore["id"].as_str().unwrap_or_default())?;
        restore = jobs::until(service, &path, &wait.within, jobs::is_final).await?;
    }
    let code = shown(&restore, how).max(jobs::code_of(&restore));
    if restore["progress"]["conflicts"].as_u64().is_some_and(|conflicts| conflicts > 0) {
        let id = restore["id"].as_str().unwrap_or_default();
        output::progress(&format!("there were conflicts: rollkeeper restore show {id} --conflicts"));
    }
    Ok(code)
}

fn shown(restore: &Value, how: Output) -> u8 {
    match how {
        Output::Json => output::json(restore),
        Output::Table => output::line(&view::text(restore)),
    }
}

/// Lists page by page, so that any number can be shown.
async fn pages(service: &Service, path: &str, how: Output, table: fn(&[Value]) -> String) -> Result<u8, Failure> {
    service
        .pages(path, &[], 0, |page| {
            let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            read_on(match how {
                Output::Json => output::ndjson(items),
                Output::Table => items.is_empty() || output::bytes(table(items).as_bytes()),
            })
        })
        .await?;
    Ok(0)
}
