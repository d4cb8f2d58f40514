//! `GET /jobs/events`: the progress of backups and restores, as a stream of events.
//!
//! Rule: a listener first hears what is, then what changes; whoever was away hears what is, and what ended meanwhile. So
//! no event is kept for anybody, and any replica serves any listener.

mod hub;
pub mod wire;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use tokio_stream::wrappers::ReceiverStream;

use super::auth::{limit_to, require_scope, until_ended};
use super::extract::{Query, parameter};
use super::jobs::list_parameter;
use super::problem::{Problem, Problems};
use crate::app::App;
use crate::domain::backup::BackupState;
use crate::domain::clock::Timestamp;
use crate::domain::restore::RestoreState;
use crate::domain::token::{Caller, Scope};
use crate::store::backups::BackupFilter;
use crate::store::job_changes::Job;
use crate::store::restores::RestoreFilter;
use hub::Filter;
pub(super) use hub::Hub;
use wire::{EventQuery, JobEvent, JobKind};

/// How often a listener hears that the connection lives.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
/// How soon a client should come again.
const RETRY: Duration = Duration::from_secs(1);
/// Most open jobs, and most ended ones, of each kind that a new listener hears of.
const PRESENT_MAX: usize = 1000;
/// How far the clocks of two replicas may be apart.
const CLOCKS_APART_MILLIS: i64 = 10_000;

/// Listens to the progress of backups and restores.
///
/// A stream of server-sent events. Each has the kind of job as its name and the job, as it is, as its data. First every
/// job that has not ended, then each change of one; a comment now and then shows that the connection lives. A client
/// that comes again with `Last-Event-ID`, to any replica, also hears of the jobs that ended while it was away. A listener
/// that reads too slowly is cut, and has to come again; one whose token ends is cut within two seconds.
#[utoipa::path(get, path = "/jobs/events", operation_id = "listenToJobs", tag = "jobs",
    params(EventQuery, ("Last-Event-ID" = Option<String>, Header, description = "Id of the last event that was heard.")),
    security(("bearer" = ["backups:read"]), ("bearer" = ["restores:read"])),
    responses((status = 200, description = "Events, until the client, the replica or a slow reader ends them.",
        body = JobEvent, content_type = "text/event-stream"), Problems))]
pub(super) async fn listen_to_jobs(
    State(app): State<App>,
    Extension(hub): Extension<Hub>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<EventQuery>,
) -> Result<Response, Problem> {
    let filter = filter(&caller, &query)?;
    let events = hub.listen(&app, filter.clone()).await?;
    // After the listening began, so that no change falls between.
    let present = present(&app, &filter, last_heard(&headers)).await?;
    let stopped = app.shutdown.token.clone().cancelled_owned();
    let stopped = futures::future::select(Box::pin(stopped), Box::pin(until_ended(app.clone(), caller)));
    let stream = told(present).chain(ReceiverStream::new(events).map(|event| Ok(sse(&event)))).take_until(stopped);
    let alive = KeepAlive::new().interval(HEARTBEAT_EVERY).text("alive");
    let mut response = Sse::new(stream).keep_alive(alive).into_response();
    // Proxies would wait for a page of it.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

fn filter(caller: &Caller, query: &EventQuery) -> Result<Filter, Problem> {
    let asked: Vec<JobKind> = list_parameter("kind", query.kind.as_deref())?;
    for kind in &asked {
        require_scope(caller, scope(*kind))?;
    }
    let hears = |kind| if asked.is_empty() { caller.has(scope(kind)) } else { asked.contains(&kind) };
    let (backups, restores) = (hears(JobKind::Backup), hears(JobKind::Restore));
    if !backups && !restores {
        require_scope(caller, Scope::BackupsRead)?;
    }
    let department = limit_to(caller, parameter("department", query.department.as_deref())?)?;
    Ok(Filter { department, backups, restores, id: query.id.clone() })
}

const fn scope(kind: JobKind) -> Scope {
    match kind {
        JobKind::Backup => Scope::BackupsRead,
        JobKind::Restore => Scope::RestoresRead,
    }
}

/// When the last event was told that a client has heard. An id that nobody gave counts as none.
fn last_heard(headers: &HeaderMap) -> Option<Timestamp> {
    let id = headers.get("last-event-id")?.to_str().ok()?;
    id.split('-').next()?.parse().ok().map(Timestamp::from_millis)
}

/// Every job that a new listener hears of: those that have not ended, the one that it asked for, and those that ended
/// since it was here last.
async fn present(app: &App, filter: &Filter, heard: Option<Timestamp>) -> Result<Vec<JobEvent>, Problem> {
    let mut jobs = Vec::new();
    if filter.backups {
        jobs.extend(backups(app, filter, heard).await?);
    }
    if filter.restores {
        jobs.extend(restores(app, filter, heard).await?);
    }
    let mut seen = HashSet::new();
    let events = jobs.into_iter().map(|job| JobEvent::of(app, job));
    Ok(events.filter(|event| filter.lets_through(event) && seen.insert(event.id.clone())).collect())
}

fn ended_since(finished_at: Option<Timestamp>, heard: Timestamp) -> bool {
    finished_at.is_some_and(|at| at.as_millis() >= heard.as_millis() - CLOCKS_APART_MILLIS)
}

async fn backups(app: &App, filter: &Filter, heard: Option<Timestamp>) -> Result<Vec<Job>, Problem> {
    let store = &app.store.backups;
    let mut found = match filter.id.as_ref().map(|id| id.parse()) {
        Some(Ok(id)) => store.get(&id).await?.into_iter().collect(),
        Some(Err(_)) => Vec::new(),
        None => {
            let states = vec![BackupState::Queued, BackupState::Running];
            let open = BackupFilter { department: filter.department.clone(), states };
            store.list(&open, None, PRESENT_MAX).await?
        }
    };
    if let (Some(heard), None) = (heard, &filter.id) {
        let all = BackupFilter { department: filter.department.clone(), states: Vec::new() };
        let newest = store.list(&all, None, PRESENT_MAX).await?;
        found.extend(newest.into_iter().filter(|backup| ended_since(backup.finished_at, heard)));
    }
    Ok(found.into_iter().rev().map(|backup| Job::Backup(Box::new(backup))).collect())
}

async fn restores(app: &App, filter: &Filter, heard: Option<Timestamp>) -> Result<Vec<Job>, Problem> {
    let store = &app.store.restores;
    let mut found = match filter.id.as_ref().map(|id| id.parse()) {
        Some(Ok(id)) => store.get(&id).await?.into_iter().collect(),
        Some(Err(_)) => Vec::new(),
        None => {
            let states =
                vec![RestoreState::Queued, RestoreState::Planning, RestoreState::Planned, RestoreState::Applying];
            let open = RestoreFilter { department: filter.department.clone(), states };
            store.list(&open, None, PRESENT_MAX).await?
        }
    };
    if let (Some(heard), None) = (heard, &filter.id) {
        let all = RestoreFilter { department: filter.department.clone(), states: Vec::new() };
        let newest = store.list(&all, None, PRESENT_MAX).await?;
        found.extend(newest.into_iter().filter(|restore| ended_since(restore.finished_at, heard)));
    }
    Ok(found.into_iter().rev().map(|restore| Job::Restore(Box::new(restore))).collect())
}

/// The beginning of a stream: when to come again, and what is.
fn told(present: Vec<JobEvent>) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let begin = Event::default().retry(RETRY).comment("listening");
    futures::stream::iter(std::iter::once(begin).chain(present.into_iter().map(|event| sse(&Arc::new(event)))).map(Ok))
}

fn sse(event: &Arc<JobEvent>) -> Event {
    let data = serde_json::to_string(event.as_ref()).unwrap_or_default();
    Event::default().id(&event.event_id).event(event.name()).data(data)
}
