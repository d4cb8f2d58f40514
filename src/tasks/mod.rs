//! What a leader runs, for each department that it leads: follow the changes, keep the schedule, take backups, carry
//! out restores, catch up owed copies, prune.
//!
//! Rules: a task takes no input but the state in MongoDB, so a crash, a restart and a new leader use the same path as
//! the happy case; the lease is asked before every step; a refused fence ends everything at once.

mod adopt;
mod again;
mod apply;
mod archive;
mod backups;
mod balance;
mod capture;
mod catch_up;
mod divergence;
mod elsewhere;
mod exchanged;
mod follow;
mod follower;
mod halt;
mod lane;
mod leader;
mod level;
mod member;
mod merge;
mod meter;
mod noted;
mod prune;
mod rebase;
mod receipts;
mod renames;
mod rescan;
mod restores;
mod retire;
mod schedule;
mod scrub;
mod scrub_snapshots;
mod settle;
mod step_down;
mod stream;
mod sweep;

use std::sync::Arc;

use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backup::Repository;
use crate::backup::past::Past;
use crate::cluster::{Claim, Cluster};
use crate::config::Config;
use crate::domain::clock::Clock;
use crate::store::Store;
use crate::targets::Targets;
use crate::telemetry::Metrics;
use stream::Hub;

/// What the tasks of a leader work with. Clones share everything.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// MongoDB.
    pub store: Store,
    /// Who leads what.
    pub cluster: Cluster,
    /// The targets.
    pub targets: Targets,
    /// The repository; absent until it could be opened.
    pub repository: Arc<OnceCell<Repository>>,
    /// Reads the past.
    pub past: Past,
    /// The time.
    pub clock: Clock,
    /// Where it is counted what leaders do.
    pub metrics: Arc<Metrics>,
    /// Waits for every leadership at shutdown.
    pub tracker: TaskTracker,
}

/// Leads every department that the elections give to this replica, until `stop`. What was won by then is still answered.
pub async fn run(parts: Parts, claims: mpsc::Receiver<Claim>, stop: CancellationToken) {
    let (hub, streaming) = Hub::new(parts.store.tail.clone());
    tokio::join!(lead_all(parts, hub, claims, stop), streaming);
}

async fn lead_all(parts: Parts, hub: Hub, mut claims: mpsc::Receiver<Claim>, stop: CancellationToken) {
    loop {
        let claim = tokio::select! {
            claim = claims.recv() => claim,
            // The elections, which hold the sender, live as long as we do; so the end has to come from this side.
            () = stop.cancelled(), if !claims.is_closed() => {
                claims.close();
                continue;
            }
        };
        let Some(claim) = claim else { return };
        parts.tracker.spawn(leader::lead(parts.clone(), hub.clone(), claim));
    }
}
