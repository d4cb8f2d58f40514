//! The end of the process: who is told, who is waited for, and with which code it ends.
//!
//! Rule: no task runs loose. Those of the process are spawned here; `cluster` and each leadership wait for their own. A
//! task of the process that panics ends the process with a failure, so that whoever supervises it starts it anew, instead
//! of a replica that looks alive and has lost a part.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Exit code of a process that lost a task.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code after a second signal: 128 and the number of SIGINT.
const EXIT_AT_ONCE: i32 = 130;

/// Tells tasks to stop and waits for them. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled when the process should end.
    pub token: CancellationToken,
    /// Every task that is waited for.
    pub tracker: TaskTracker,
    /// 0 until something fails.
    code: Arc<AtomicU8>,
}

impl Shutdown {
    /// Runs a task that is waited for at the end. It stops by itself when the token is cancelled.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = self.clone();
        self.tracker.spawn(async move {
            // Nothing of the task is used after its panic: it is dropped, and the process ends.
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a task panicked; the process ends");
                shutdown.fail(EXIT_FAILURE);
            }
        })
    }

    /// Ends the process with a code that says why. The first failure decides.
    pub fn fail(&self, code: u8) {
        // An error means that another failure came first.
        let _ = self.code.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst);
        self.token.cancel();
    }

    /// Whether the process ends because something failed.
    pub fn failed(&self) -> bool {
        self.exit_code() != 0
    }

    /// The code that the process should end with; 0 where nothing failed.
    pub fn exit_code(&self) -> u8 {
        self.code.load(Ordering::SeqCst)
    }

    /// Cancels the token at SIGTERM or SIGINT; a second signal ends the process at once.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn on_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let token = self.token.clone();
        #[expect(clippy::disallowed_methods, reason = "it waits for a second signal, so nobody may wait for it")]
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "shutting down; a second signal ends at once");
            token.cancel();
            tokio::select! {
                _ = terminate.recv() => {},
                _ = interrupt.recv() => {},
            }
            tracing::warn!("a second signal: ending at once");
            std::process::exit(EXIT_AT_ONCE);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_ends_the_process_with_a_failure() {
        let shutdown = Shutdown::default();
        let task = shutdown.spawn("test", async { panic!("on purpose") });
        shutdown.token.cancelled().await;
        task.await.unwrap();
        assert!(shutdown.failed());
        assert_eq!(shutdown.exit_code(), EXIT_FAILURE);
    }

    #[tokio::test]
    async fn a_task_that_ends_ends_nothing_else() {
        let shutdown = Shutdown::default();
        shutdown.spawn("test", async {}).await.unwrap();
        assert!(!shutdown.token.is_cancelled() && !shutdown.failed());
    }

    #[test]
    fn the_first_failure_decides_the_code() {
        let shutdown = Shutdown::default();
        shutdown.fail(2);
        shutdown.clone().fail(EXIT_FAILURE);
        assert_eq!(shutdown.exit_code(), 2);
    }
}
