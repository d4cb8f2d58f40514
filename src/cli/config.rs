//! `rollkeeper config check` and `rollkeeper config print`.

use clap::Subcommand;

use super::{EXIT_USAGE, Sources, output};

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print `ok`, or every problem.
    Check,
    /// Print the effective configuration, without secrets.
    Print,
}

/// Runs the command; the exit code.
pub(super) fn run(command: &ConfigCommand, sources: &Sources) -> u8 {
    match (sources.load(), command) {
        (Ok(_), ConfigCommand::Check) => output::line("ok"),
        (Ok(config), ConfigCommand::Print) => output::line(&config.to_redacted_toml()),
        (Err(error), _) => {
            output::problem(&format!("the configuration cannot work:\n{error}"));
            EXIT_USAGE
        }
    }
}
