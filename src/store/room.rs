//! Room for operations: the driver is given about as many at a time as it has connections.
//!
//! Its own queue forgets nobody. Whoever gave up waiting there (its time was over, its client left) stays in it, and is passed over
//! at most one with each new operation and two a second: after one stall of MongoDB, hundreds of them were in the way of
//! everybody who came later, for minutes. So operations wait here, where whoever leaves leaves nothing behind.

use std::sync::OnceLock;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Connections of the driver to each member, unless the connection string says `maxPoolSize`: as many as MongoDB's other drivers
/// open. A write holds one until a majority has journaled it, so ten, the default of this one, are few thousand writes a second.
const CONNECTIONS: u32 = 100;
/// Of these, for what does not wait here: change streams, commits, cursors that are ended.
const KEPT: u32 = 8;

/// The one room of the process, as the meter is: operations have no handle in common.
static ROOM: OnceLock<Semaphore> = OnceLock::new();

/// Makes the room for so many connections, and tells how many the driver may open.
pub(super) fn make(asked: Option<u32>) -> u32 {
    // Zero is no limit to the driver.
    let connections = asked.filter(|connections| *connections > 0).unwrap_or(CONNECTIONS);
    // The first store of a process decides; there are others in tests only.
    let _ = ROOM.set(Semaphore::new(places(connections)));
    connections
}

/// Waits for a place.
pub(super) async fn place() -> Option<SemaphorePermit<'static>> {
    // It is never closed.
    ROOM.get_or_init(|| Semaphore::new(places(CONNECTIONS))).acquire().await.ok()
}

fn places(connections: u32) -> usize {
    let places = connections.saturating_sub(KEPT).max(connections / 2).max(1);
    usize::try_from(places).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_connections_are_kept_for_what_does_not_wait() {
        for (connections, expected) in [(100, 92), (40, 32), (10, 5), (1, 1)] {
            assert_eq!(places(connections), expected, "{connections}");
        }
    }
}
