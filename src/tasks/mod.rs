//! What a leader runs: driver, inbox, archiver, snapshotter, restorer, catch-up.

use tokio::sync::mpsc;

use crate::app::App;
use crate::cluster::{Claim, Verdict};

/// Answers every won election until the process ends.
pub async fn run(app: App, mut claims: mpsc::Receiver<Claim>) {
    loop {
        tokio::select! {
            () = app.shutdown.token.cancelled() => return,
            claim = claims.recv() => match claim {
                // The election is given back when the receiver of the verdict is gone, so its answer is not needed.
                Some(claim) => { let _ = claim.verdict.send(Verdict::Unavailable); },
                None => return,
            },
        }
    }
}
