//! The command line: one file per command.
//!
//! Exit codes: 0 it is done; 1 it failed; 2 the usage or the configuration is wrong; 3 a part that it needs (MongoDB,
//! ZooKeeper, the service) does not answer; 4 `doctor` has warnings only; docs/cli.md has them for each command. What was
//! asked for goes to standard output, everything else to standard error.

mod backup;
mod cluster;
mod completions;
mod config;
mod doctor;
mod migrate;
mod openapi;
mod output;
mod progress;
mod remote;
mod restore;
mod serve;
mod table;
mod token;
mod users;
mod vault;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::{Config, ConfigError};

/// It failed.
const EXIT_FAILURE: u8 = 1;
/// The usage or the configuration is wrong.
const EXIT_USAGE: u8 = 2;
/// A part that the command needs does not answer.
const EXIT_MISSING: u8 = 3;
/// Nothing has failed, and something is wrong.
const EXIT_WARNINGS: u8 = 4;

/// Keeps user records behind a REST API, and backups of them that can be proved.
#[derive(Debug, Parser)]
#[command(
    name = "rollkeeper",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 a part does not answer, 4 warnings (doctor)."
)]
struct Cli {
    #[command(flatten)]
    sources: Sources,
    #[command(subcommand)]
    command: Command,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
struct Sources {
    /// The configuration file; else `ROLLKEEPER_CONFIG`, else ./rollkeeper.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides one key, for example `--set http.listen=0.0.0.0:8080`; may be given many times.
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl Sources {
    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.config.as_deref(), &self.set)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a replica.
    Serve,
    /// Prepare the database and the ZooKeeper chroot, then end.
    Migrate,
    /// Print the OpenAPI document.
    Openapi(openapi::OpenapiArgs),
    /// Check or print the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look at everything that the service depends on, and say how to mend what is wrong.
    Doctor(doctor::DoctorArgs),
    /// Make, list, show, verify and compare backups of a running service.
    Backup(backup::BackupArgs),
    /// Plan, apply, show, undo and cancel restores of a running service.
    Restore(restore::RestoreArgs),
    /// Show replicas, leaders, histories and targets of a running service.
    Cluster(cluster::ClusterArgs),
    /// Import users into a running service, or export them with their password hashes.
    Users(users::UsersArgs),
    /// Issue, list and revoke tokens of a running service.
    Token(token::TokenArgs),
    /// Read, check and restore what targets hold, with no MongoDB and no ZooKeeper running.
    Vault(vault::VaultArgs),
    /// Print a script that completes the command line in a shell.
    Completions(completions::CompletionsArgs),
    /// Print the version.
    Version,
}

/// Runs the program with the arguments of the process.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version come this way too, with code 0.
        Err(error) => error.exit(),
    };
    let code = match cli.command {
        Command::Version => output::line(&format!("rollkeeper {}", env!("CARGO_PKG_VERSION"))),
        Command::Openapi(args) => openapi::run(&args),
        Command::Config(command) => config::run(&command, &cli.sources),
        Command::Doctor(args) => doctor::run(&args, &cli.sources),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Users(args) => users::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Vault(args) => vault::run(&args, &cli.sources),
        Command::Serve => with_config(&cli.sources, serve::run),
        Command::Migrate => with_config(&cli.sources, migrate::run),
    };
    ExitCode::from(code)
}

/// Loads the configuration, starts the logs and a runtime, and runs a command in it.
fn with_config<F>(sources: &Sources, command: impl FnOnce(Config) -> F) -> u8
where
    F: Future<Output = u8>,
{
    let config = match sources.load() {
        Ok(config) => config,
        Err(error) => {
            output::problem(&error);
            return EXIT_USAGE;
        }
    };
    let traces = crate::telemetry::init(&config.telemetry, config.replica.id.as_deref());
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(command(config));
            // A blocking call that hangs (a stalled disk) must not keep the process alive.
            runtime.shutdown_background();
            traces.end();
            code
        }
        Err(error) => {
            output::problem(&error);
            EXIT_FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_the_configuration_stand_before_or_after_the_command() {
        let cli = Cli::try_parse_from(["rollkeeper", "serve", "--config", "a.toml", "--set", "a.b=c"]).unwrap();
        assert_eq!(cli.sources.set, ["a.b=c"]);
        let cli = Cli::try_parse_from(["rollkeeper", "--config", "a.toml", "config", "check"]).unwrap();
        assert_eq!(cli.sources.config, Some(PathBuf::from("a.toml")));
    }
}
