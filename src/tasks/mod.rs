//! What a leader runs, for each department that it leads: follow the changes, keep the schedule, take backups, carry
//! out restores, catch up owed copies.
//!
//! Rules: a task takes no input but the state in MongoDB, so a crash, a restart and a new leader use the same path as
//! the happy case; the lease is asked before every step; a refused fence ends everything at once.

mod backups;
mod catch_up;
mod follow;
mod halt;
mod leader;
mod renames;
mod restores;
mod schedule;

use tokio::sync::mpsc;

use crate::app::App;
use crate::cluster::Claim;

/// Leads every department that the elections give to this replica, until the channel ends.
pub async fn run(app: App, mut claims: mpsc::Receiver<Claim>) {
    while let Some(claim) = claims.recv().await {
        let app = app.clone();
        let tracker = app.shutdown.tracker.clone();
        tracker.spawn(leader::lead(app, claim));
    }
}
