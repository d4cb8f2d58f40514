//! `rollkeeper users`: imports users into a running service, and exports them with their password hashes.

mod answers;
mod export;
mod import;
mod parts;

use clap::{Args, Subcommand};

use super::remote::{self, AFTER_HELP, RemoteArgs};

/// What to do with users, and where.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct UsersArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Debug, Subcommand)]
enum UsersCommand {
    /// Import users from lines of JSON, as `users export`, `vault cat` and backups have them. Run it again after an
    /// interruption: what is there already, with the same content, is unchanged. The exit code is 1 when a line is refused.
    Import(import::ImportArgs),
    /// Export the users of a department, one line of JSON each, with their password hashes. Needs the scope `users:export`.
    Export(export::ExportArgs),
}

/// Runs the command; the exit code.
pub(super) fn run(args: &UsersArgs) -> u8 {
    remote::run(&args.remote, async |service| match &args.command {
        UsersCommand::Import(import) => import::run(service, import, args.remote.output).await,
        UsersCommand::Export(export) => export::run(service, export).await,
    })
}
