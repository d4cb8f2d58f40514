//! A child process that can be killed, frozen and thawed, and never outlives its test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A running child and its log.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with all its output at the end of `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let open = || File::options().create(true).append(true).open(log).expect("open the log");
        let child = command.stdin(Stdio::null()).stdout(open()).stderr(open()).spawn();
        Self { child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")), log: log.to_owned() }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kill the child");
        self.child.wait().expect("wait for the child");
    }

    /// Stops it in the middle of whatever it does (SIGSTOP), and waits until every thread of it stands still.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        while !self.stands_still() {
            std::thread::yield_now();
        }
    }

    fn stands_still(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).expect("list the threads");
        threads.flatten().all(|thread| {
            // The state follows the name in parentheses; a thread that is gone has none.
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_none_or(|state| !state.starts_with(['R', 'S', 'D']))
        })
    }

    /// Lets it go on (SIGCONT).
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end (SIGTERM).
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// How it ended; none while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask for the child")
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.child.wait().expect("wait for the child")
    }

    /// Its output so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signal the child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it is gone already, which is what is wanted. SIGKILL ends a frozen one too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
