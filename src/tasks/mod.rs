//! What a leader runs: driver, inbox, archiver, snapshotter, restorer, catch-up.
