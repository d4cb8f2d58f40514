//! The commands that ask a running service, as a test runs them: the real program, and nothing else.

use std::process::Stdio;

use tokio::process::Command;

use super::Stack;
use super::vault::Told;

/// `rollkeeper` with where a service is, ready to run.
pub(crate) fn cli_command(url: &str, token: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollkeeper"));
    command.args(arguments).env("ROLLKEEPER_URL", url).env("ROLLKEEPER_TOKEN", token);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Stack {
    /// Runs `rollkeeper` against the first replica.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> Told {
        let mut command = cli_command(&self.replicas[0].url, &self.token, arguments);
        command.output().await.expect("run the program").into()
    }

    /// The same, printed as JSON.
    pub(crate) async fn cli_json(&self, arguments: &[&str]) -> Told {
        self.cli(&[arguments, &["--output", "json"]].concat()).await
    }
}
