//! `rollkeeper vault`: lists, checks, reads and restores what targets hold, with no MongoDB and no ZooKeeper running.
//!
//! Exit codes: 0 it is done; 1 something is damaged or not there; 2 the usage, the configuration or the key is wrong; 3 a
//! target or MongoDB does not answer. Standard output has what was asked for; progress and problems go to standard error.

mod cat;
mod ls;
mod restore;
mod show;
mod sources;
mod verify;
mod view;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::Output;
use super::{EXIT_FAILURE, EXIT_MISSING, EXIT_USAGE, Sources, output};
use crate::backup::BackupError;
use crate::backup::vault::{Vault, VaultError};
use crate::domain::cause::chain;
use crate::domain::ids::{BackupId, DepartmentName};
use crate::store::StoreError;

/// Where the vault is, and how to tell of it.
#[derive(Debug, Args)]
pub(super) struct VaultArgs {
    /// A target: a directory or a URL, with `NAME=` before it where the service has a name for it; may be given many
    /// times. Else `targets.list` of the configuration.
    #[arg(long, global = true, value_name = "[NAME=]TARGET")]
    target: Vec<String>,
    /// The file with the age identity; else `keys.identity_file` of the configuration.
    #[arg(long, global = true, value_name = "FILE")]
    identity_file: Option<PathBuf>,
    /// How to print.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(subcommand)]
    command: VaultCommand,
}

#[derive(Debug, Subcommand)]
enum VaultCommand {
    /// List departments, what can be read of them, and their backups. Damage is shown; the exit code is 0 all the same.
    Ls {
        /// Only this department.
        #[arg(long)]
        department: Option<String>,
    },
    /// Show one backup.
    Show {
        /// The backup.
        backup_id: String,
    },
    /// Read and check every object, or those of one backup. The exit code is 1 when something is bad or missing.
    Verify {
        /// Only this department.
        #[arg(long)]
        department: Option<String>,
        /// Only this backup.
        backup_id: Option<String>,
    },
    /// Print the records of a department as NDJSON, which `POST /users/import` takes. They hold password hashes.
    Cat(cat::CatArgs),
    /// Rebuild an empty MongoDB: users, departments, the catalogue of backups, and where the history goes on.
    Restore(restore::RestoreArgs),
}

/// Runs the command; the exit code.
pub(super) fn run(args: &VaultArgs, sources: &Sources) -> u8 {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(work(args, sources));
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            output::problem(&error);
            EXIT_FAILURE
        }
    }
}

async fn work(args: &VaultArgs, sources: &Sources) -> u8 {
    let outcome = async {
        let opened = sources::open(args, sources).await?;
        match &args.command {
            VaultCommand::Ls { department } => ls::run(&opened.vault, department.as_deref(), args.output).await,
            VaultCommand::Show { backup_id } => show::run(&opened.vault, backup_id, args.output).await,
            VaultCommand::Verify { department, backup_id } => {
                verify::run(&opened.vault, department.as_deref(), backup_id.as_deref(), args.output).await
            }
            VaultCommand::Cat(cat) => cat::run(&opened.vault, cat).await,
            VaultCommand::Restore(restore) => restore::run(&opened, restore, args.output).await,
        }
    };
    match outcome.await {
        Ok(code) => code,
        Err(Failure { code, text }) => {
            output::problem(&text);
            code
        }
    }
}

/// Why a command ended without its answer.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn usage(text: impl Into<String>) -> Self {
        Self { code: EXIT_USAGE, text: text.into() }
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let code = match &error {
            VaultError::WrongKey(_) | VaultError::Backup(BackupError::Keys(_) | BackupError::OtherRepository(_)) => {
                EXIT_USAGE
            }
            VaultError::Backup(BackupError::Target(error)) if !error.is_not_found() => EXIT_MISSING,
            VaultError::Store(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_)) => EXIT_MISSING,
            VaultError::Store(StoreError::Unsupported(_) | StoreError::Migration(_)) => EXIT_USAGE,
            _ => EXIT_FAILURE,
        };
        Self { code, text: chain(&error) }
    }
}

/// The departments that are asked for.
async fn departments(vault: &Vault, only: Option<&str>) -> Result<Vec<DepartmentName>, Failure> {
    let known = vault.departments().await?;
    let Some(only) = only else { return Ok(known) };
    let name: DepartmentName = only.parse().map_err(|error| Failure::usage(format!("--department: {error}")))?;
    if known.contains(&name) {
        return Ok(vec![name]);
    }
    let known: Vec<&str> = known.iter().map(DepartmentName::as_str).collect();
    let text = format!("no department {name} is here; there are: {}", known.join(", "));
    Err(Failure { code: EXIT_FAILURE, text })
}

fn backup_id(text: &str) -> Result<BackupId, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("backup id: {error}")))
}
