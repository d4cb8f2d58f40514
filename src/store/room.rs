//! Room for operations: only so many are given to the driver at a time, and they never wait in its own queue.
//!
//! That queue forgets nobody. Whoever gave up waiting there (its time was over, its client left) stays in it, and each event of the
//! pool passes over one at most: after one stall of MongoDB under load hundreds of them were in the way of everybody who came
//! later, for minutes. So the driver may open as many connections as it is asked for, which leaves its queue empty, and operations
//! wait here, where whoever leaves leaves nothing behind.

use std::sync::OnceLock;
use std::time::Duration;

use mongodb::options::ClientOptions;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Operations at a time unless the connection string says `maxPoolSize`: as many as MongoDB's other drivers open connections. A
/// write takes its place until a majority has journaled it, so ten, the default of this driver, are few thousand writes a second.
const PLACES: usize = 100;
/// Fewer are none: a leader does some things side by side.
const PLACES_MIN: usize = 8;
/// How long a connection is kept that nobody uses: after a stall there are more than places.
const IDLE_FOR: Duration = Duration::from_mins(1);

/// The one room of the process, as the meter is: operations have no handle in common.
static ROOM: OnceLock<Semaphore> = OnceLock::new();

/// Makes the room, and lets the driver open what is asked for.
pub(super) fn make(options: &mut ClientOptions) {
    // The first store of a process decides; there are others in tests only.
    let _ = ROOM.set(Semaphore::new(places(options.max_pool_size)));
    options.max_pool_size = Some(u32::MAX);
    options.max_connecting = Some(u32::MAX);
    options.max_idle_time.get_or_insert(IDLE_FOR);
}

/// Waits for a place.
pub(super) async fn place() -> Option<SemaphorePermit<'static>> {
    // It is never closed.
    ROOM.get_or_init(|| Semaphore::new(PLACES)).acquire().await.ok()
}

fn places(asked: Option<u32>) -> usize {
    let asked = asked.map(|places| usize::try_from(places).unwrap_or(usize::MAX));
    asked.unwrap_or(PLACES).clamp(PLACES_MIN, Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_the_connection_string_says_and_never_too_few() {
        for (asked, expected) in [(None, 100), (Some(40), 40), (Some(1), 8)] {
            assert_eq!(places(asked), expected, "{asked:?}");
        }
    }
}
