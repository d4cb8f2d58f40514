//! What commands have in common that ask a running service over its API.
//!
//! Exit codes: 0 it is done; 1 the service refused it, or a job failed; 2 the usage is wrong; 3 the service does not answer, is
//! not available, or a job has not ended in time. The token comes from a file or the environment, never from a flag that
//! others could see.

pub(super) mod jobs;
pub(super) mod lists;
mod patience;
mod service;
mod trouble;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::output::Output;
use super::{EXIT_FAILURE, EXIT_MISSING, EXIT_USAGE, output};
pub(super) use patience::Patience;
pub(super) use service::{Ask, SILENT_MAX, Service};
pub(super) use trouble::Trouble;

/// What is told with `--help` of each of these commands.
pub(super) const AFTER_HELP: &str = "\
The service is found by --url or ROLLKEEPER_URL, the token is in --token-file or ROLLKEEPER_TOKEN.

Exit codes: 0 done, 1 refused or failed, 2 usage (also: --yes is missing), 3 the service does not answer, is not \
available, or a job has not ended in time.";

/// Where the service is, and how to tell what it says.
#[derive(Debug, Args)]
pub(super) struct RemoteArgs {
    /// The URL of the service, any replica of it; else `ROLLKEEPER_URL`.
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// The file with the token; else `ROLLKEEPER_TOKEN` is the token.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A file with certificates in PEM form that are trusted besides those of the system.
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How to print.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
    /// How long to try again what has no answer, or was answered with 429 or 503; `0s` never. Nothing is done twice by that.
    #[arg(long, global = true, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    retry_for: Duration,
}

/// Why a command ended without its answer.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// The usage is wrong.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self { code: EXIT_USAGE, text: text.into() }
    }

    /// It cannot be done.
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self { code: EXIT_FAILURE, text: text.into() }
    }

    /// The service does not answer, or not in time.
    pub(super) fn missing(text: impl Into<String>) -> Self {
        Self { code: EXIT_MISSING, text: text.into() }
    }

    /// Nobody reads what is printed: no word reaches him either.
    fn unread() -> Self {
        Self::failed(String::new())
    }

    /// What is said of it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The same with more words at its end.
    pub(super) fn and(mut self, more: &str) -> Self {
        self.text.push_str(more);
        self
    }
}

/// Opens the service and runs a command with it; the exit code.
pub(super) fn run(args: &RemoteArgs, command: impl AsyncFnOnce(&Service) -> Result<u8, Failure>) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::problem(&error);
            return EXIT_FAILURE;
        }
    };
    let outcome = runtime.block_on(async { command(&Service::open(args)?).await });
    outcome.unwrap_or_else(|Failure { code, text }| {
        if !text.is_empty() {
            output::problem(&text);
        }
        code
    })
}

/// Goes on as long as somebody reads what is printed.
pub(super) fn read_on(printed: bool) -> Result<(), Failure> {
    if printed { Ok(()) } else { Err(Failure::unread()) }
}

/// Whether there is somebody to ask.
pub(super) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Goes on only where it is meant: with `--yes`, or when whoever sits at the terminal says so.
pub(super) fn confirm(yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !can_ask() {
        return Err(Failure::usage(format!("{what}; say --yes if that is meant")));
    }
    let mut answer = String::new();
    let asked = write!(std::io::stderr(), "{what}. Go on? [y/N] ").and_then(|()| std::io::stderr().flush());
    let read = asked.and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    let meant = read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if meant { Ok(()) } else { Err(Failure::failed("nothing was done")) }
}
