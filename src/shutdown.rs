//! The end of the process: who is told, who is waited for.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tells tasks to stop and waits for them. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled when the process should end.
    pub token: CancellationToken,
    /// Every task that is waited for.
    pub tracker: TaskTracker,
}
