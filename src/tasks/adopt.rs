//! Adopts the open jobs of the leaders before: from then on their documents refuse the writes of older epochs.
//!
//! Rule: leading does not wait for it. A leader that died in a transaction leaves its documents locked until MongoDB ends
//! that (`transactionLifetimeLimitSeconds`), and nobody else can write them either; whoever takes such a job waits by itself.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{debug, warn};

use super::Parts;
use super::leader::{Leading, RETRY_AFTER};
use crate::domain::cause::chain;
use crate::domain::epoch::Leadership;

/// How long a new leader tries before it begins its work.
const AT_FIRST: Duration = Duration::from_millis(150);

/// Adopts what nobody holds, before anything else is done.
pub(super) async fn at_first(parts: &Parts, leadership: &Leadership) {
    match timeout(AT_FIRST, parts.store.fences.adopt_jobs(leadership)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(error = chain(&error), "adopt open jobs"),
        Err(_) => debug!("open jobs are held by a transaction of before; adopted when it ends"),
    }
}

/// Adopts what was held, and then rests until the leadership ends.
pub(super) async fn run(leading: Leading) {
    while leading.check().is_ok() {
        match leading.parts.store.fences.adopt_jobs(&leading.leadership).await {
            Ok(()) => break,
            Err(error) => warn!(error = chain(&error), "adopt open jobs"),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    leading.ended.cancelled().await;
}
