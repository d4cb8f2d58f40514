//! The listeners of a replica, and the one stream of changes that serves all of them.
//!
//! Rules: there is a stream only while somebody listens; what a listener has not read yet is bounded, and one that reads
//! too slowly is cut: it comes again and hears what is then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::wire::JobEvent;
use crate::api::problem::Problem;
use crate::app::App;
use crate::domain::cause::chain;
use crate::domain::ids::DepartmentName;

/// Events that a listener may be behind.
const BUFFER: usize = 256;
/// Longest wait for the stream of changes to be open.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// What a listener hears of.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// Only jobs of this department.
    pub(super) department: Option<DepartmentName>,
    /// Backups.
    pub(super) backups: bool,
    /// Restores.
    pub(super) restores: bool,
    /// Only the job with this id.
    pub(super) id: Option<String>,
}

impl Filter {
    pub(super) fn lets_through(&self, event: &JobEvent) -> bool {
        let kind = if event.is_backup() { self.backups } else { self.restores };
        kind && self.department.as_ref().is_none_or(|department| department.as_str() == event.department)
            && self.id.as_ref().is_none_or(|id| *id == event.id)
    }
}

#[derive(Debug)]
struct Listener {
    filter: Filter,
    events: mpsc::Sender<Arc<JobEvent>>,
}

#[derive(Debug)]
struct State {
    listeners: Vec<Listener>,
    /// Whether a stream is open; absent while nobody listens.
    open: Option<watch::Receiver<bool>>,
}

/// The listeners of this replica. Clones share them.
#[derive(Debug, Clone)]
pub(in crate::api) struct Hub(Arc<Mutex<State>>);

impl Default for Hub {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { listeners: Vec::new(), open: None })))
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to listen: every change after this is heard.
    ///
    /// # Errors
    /// 503 when too many listen already, or MongoDB does not answer.
    pub(super) async fn listen(&self, app: &App, filter: Filter) -> Result<mpsc::Receiver<Arc<JobEvent>>, Problem> {
        let (told, events) = mpsc::channel(BUFFER);
        let mut open = {
            let mut state = self.lock();
            state.listeners.retain(|listener| !listener.events.is_closed());
            if state.listeners.len() >= app.config.http.event_listeners {
                let detail = "Too many listen to this replica already. Try again, or ask another replica.";
                return Err(Problem::unavailable(detail).code("too_many_listeners"));
            }
            state.listeners.push(Listener { filter, events: told });
            if let Some(open) = &state.open {
                open.clone()
            } else {
                let (opened, open) = watch::channel(false);
                state.open = Some(open.clone());
                drop(app.shutdown.spawn("job events", run(self.clone(), app.clone(), opened)));
                open
            }
        };
        let waited = tokio::time::timeout(OPEN_WITHIN, open.wait_for(|open| *open)).await;
        if matches!(waited, Ok(Ok(_))) { Ok(events) } else { Err(Problem::unavailable("MongoDB does not answer.")) }
    }

    /// Tells everybody who wants to hear it; whoever is too far behind is cut.
    fn tell(&self, event: &Arc<JobEvent>) {
        self.lock().listeners.retain(|listener| {
            !listener.filter.lets_through(event) || listener.events.try_send(Arc::clone(event)).is_ok()
        });
    }

    /// Whether nobody listens any more; then the stream is over.
    fn is_deserted(&self) -> bool {
        let mut state = self.lock();
        state.listeners.retain(|listener| !listener.events.is_closed());
        if state.listeners.is_empty() {
            state.open = None;
        }
        state.listeners.is_empty()
    }

    /// Lets go of everybody.
    fn close(&self) {
        let mut state = self.lock();
        state.listeners.clear();
        state.open = None;
    }
}

/// Reads the changes once for all listeners, until nobody listens, the stream breaks or the replica stops.
async fn run(hub: Hub, app: App, opened: watch::Sender<bool>) {
    let reading = Box::pin(async {
        let mut changes = app.store.job_changes().await?;
        opened.send_replace(true);
        loop {
            match changes.next().await? {
                Some(job) => hub.tell(&Arc::new(JobEvent::of(&app, job))),
                None if hub.is_deserted() => return Ok(()),
                None => {}
            }
        }
    });
    let ended: Option<Result<(), crate::store::StoreError>> = app.shutdown.token.run_until_cancelled(reading).await;
    match ended {
        Some(Ok(())) => return,
        Some(Err(error)) => warn!(error = chain(&error), "follow the jobs: everybody who listens has to come again"),
        None => {}
    }
    hub.close();
}

#[cfg(test)]
mod tests {
    use super::super::wire::tests::event;
    use super::*;

    fn listener(hub: &Hub, filter: Filter) -> mpsc::Receiver<Arc<JobEvent>> {
        let (events, heard) = mpsc::channel(2);
        hub.lock().listeners.push(Listener { filter, events });
        heard
    }

    #[test]
    fn a_listener_hears_what_it_asked_for_and_nothing_else() {
        let event = event("eng", "a");
        let all = Filter { restores: true, ..Filter::default() };
        assert!(all.lets_through(&event));
        assert!(!Filter { restores: false, backups: true, ..all.clone() }.lets_through(&event));
        assert!(!Filter { department: Some("sales".parse().unwrap()), ..all.clone() }.lets_through(&event));
        assert!(!Filter { id: Some("b".to_owned()), ..all.clone() }.lets_through(&event));
        assert!(
            Filter { department: Some("eng".parse().unwrap()), id: Some("a".to_owned()), ..all }.lets_through(&event)
        );
    }

    #[test]
    fn a_slow_listener_is_cut_and_the_others_hear_on() {
        let hub = Hub::default();
        let all = Filter { restores: true, ..Filter::default() };
        let (mut slow, mut quick) = (listener(&hub, all.clone()), listener(&hub, all));
        for _ in 0..3 {
            hub.tell(&Arc::new(event("eng", "a")));
            assert!(quick.try_recv().is_ok());
        }
        assert!(slow.try_recv().is_ok() && slow.try_recv().is_ok());
        assert!(matches!(slow.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
        assert!(!hub.is_deserted());
        drop(quick);
        assert!(hub.is_deserted());
    }
}
