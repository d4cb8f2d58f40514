//! `rollkeeper completions`: a script that completes the command line in a shell.

use clap::{Args, Command};
use clap_complete::Shell;

use super::{EXIT_FAILURE, output};

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = "For example: rollkeeper completions bash > /etc/bash_completion.d/rollkeeper")]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Prints the script; the exit code.
pub(super) fn run(args: &CompletionsArgs, mut program: Command) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "rollkeeper", &mut script);
    if output::bytes(&script) { 0 } else { EXIT_FAILURE }
}
