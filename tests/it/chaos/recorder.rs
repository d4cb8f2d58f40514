//! Takes down what happens, from several sides at once: `ZooKeeper`'s nodes, `MongoDB`'s commits, what replicas show.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::history::{Event, History, Line, now_us, us};

/// How often is looked whether the machine has time for us, and from when on it is late.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_millis(150);

/// The events so far. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<Vec<Line>>>);

impl Recorder {
    /// Takes an event down that happens now.
    pub(super) fn record(&self, event: Event) {
        self.record_at(now_us(), event);
    }

    /// Takes an event down that happened then.
    pub(super) fn record_at(&self, at_us: i64, event: Event) {
        self.lock().push(Line { at_us, event });
    }

    /// Everything so far.
    pub(super) fn history(&self) -> History {
        History::of(self.lock().clone())
    }

    /// The last event that pleases.
    pub(super) fn last<T>(&self, pleases: impl Fn(&Event) -> Option<T>) -> Option<T> {
        self.lock().iter().rev().find_map(|line| pleases(&line.event))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes down when the machine had no time for us, until dropped.
pub(super) async fn follow_lateness(recorder: Recorder) {
    let (mut last, mut looks) = (now_us(), interval(LOOK_EVERY));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let late = now_us() - last - us(LOOK_EVERY);
        if late > us(LATE) {
            recorder.record(Event::Late { us: late });
        }
        last = now_us();
    }
}
