//! One replica: a process of the service.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use super::client::Client;
use super::process::Process;

/// A replica, running or not.
#[derive(Debug)]
pub(crate) struct Replica {
    /// Its id in the API.
    pub(crate) id: String,
    /// Its URL.
    pub(crate) url: String,
    /// A client of it with the bootstrap token.
    pub(crate) client: Client,
    /// Its process.
    pub(crate) process: Process,
    /// The program and what comes before its arguments.
    program: Vec<OsString>,
    config: PathBuf,
    log: PathBuf,
}

impl Replica {
    /// Starts `rollkeeper serve` with the configuration file.
    pub(crate) fn start(id: String, url: String, token: &str, program: Vec<OsString>, config: PathBuf) -> Self {
        let log = config.with_extension("log");
        let process = serve(&program, &config, &log);
        let client = Client::new(&url, token);
        Self { id, url, client, process, program, config, log }
    }

    /// Crashes it (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Freezes it (SIGSTOP).
    pub(crate) fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on (SIGCONT).
    pub(crate) fn thaw(&self) {
        self.process.thaw();
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.process.stop()
    }

    /// Asks it to end (SIGTERM).
    pub(crate) fn terminate(&self) {
        self.process.terminate();
    }

    /// How its process ended; none while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Starts it again on the same port; the log goes on.
    pub(crate) fn restart(&mut self) {
        self.process = serve(&self.program, &self.config, &self.log);
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }
}

fn serve(program: &[OsString], config: &Path, log: &Path) -> Process {
    Process::start(Command::new(&program[0]).args(&program[1..]).arg("serve").arg("--config").arg(config), log)
}
