//! `GET /users/export`: the users of a department with their password hashes, in the lines that `POST /users/import` takes.
//!
//! Rules: memory is one piece of the department, however slow the reader is. An answer whose body ends as HTTP says is whole;
//! one that breaks off says why in a last line, and its connection is cut.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use utoipa::IntoParams;

use super::audit::recorded;
use super::auth::{limit_to, require, require_standing};
use super::extract::{Query, parameter};
use super::import::NDJSON;
use super::past::refused;
use super::problem::{Problem, Problems};
use crate::app::App;
use crate::backup::record::write_record;
use crate::domain::audit::{AuditAction, AuditOutcome, AuditRecord};
use crate::domain::cause::chain;
use crate::domain::clock::Timestamp;
use crate::domain::ids::DepartmentName;
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};
use crate::domain::user::User;
use crate::domain::window::Moment;

/// Exports that a replica makes at the same time: each may hold a piece of a department.
const AT_ONCE: usize = 3;
/// Records of one chunk of the answer.
const CHUNK_RECORDS: usize = 1000;
/// Chunks that may wait for a slow reader.
const CHUNKS_AHEAD: usize = 2;
/// How long the line that says why an export broke off has to leave before the connection is cut.
const LAST_WORD: Duration = Duration::from_millis(100);

/// What is exported.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// The department; absent means the one that the token is limited to, or `default`.
    department: Option<String>,
    /// As they were at this moment of the recovery window. Absent: as they are, at one moment.
    #[param(format = DateTime)]
    at: Option<String>,
}

/// The places for exports on this replica.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// A part of the answer. Without `Whole` at its end it is broken off.
enum Piece {
    Lines(Vec<u8>),
    Whole,
}

type Batches = BoxStream<'static, Result<Vec<User>, Problem>>;

/// Exports the users of a department.
///
/// NDJSON, one `ImportLine` a line, in the order of ids, with password hashes: what `POST /users/import` takes. All lines
/// are of one moment. An export that cannot go on ends with a line `{"error": {"code", "message"}}`, which no import takes, and
/// its connection is cut without the end of the chunked body, so that a client sees an error: an answer that ended without one is
/// whole. MongoDB holds the present for a reader for five minutes; whoever is slower names a moment with `at`. Recorded in
/// the audit as `begun`, and as `done` once the last line has left.
#[utoipa::path(get, path = "/users/export", operation_id = "exportUsers", tag = "users", params(ExportQuery),
    security(("bearer" = ["users:export"])),
    responses((status = 200, description = "One `ImportLine` a line.", body = String,
        content_type = "application/x-ndjson"), Problems))]
pub(super) async fn export_users(
    State(app): State<App>,
    Extension(room): Extension<Room>,
    caller: Caller,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let department = parameter("department", query.department.as_deref())?;
    let department = limit_to(&caller, department)?.unwrap_or_else(DepartmentName::default_department);
    require(&caller, Scope::UsersExport, &department, "department")?;
    let at = parameter("at", query.at.as_deref())?;
    // A deleted one is exported too: its past is still there.
    if app.store.departments.get(&department).await?.is_none() {
        let invalid = Invalid::new("unknown_department", "There is no such department.");
        return Err(Problem::parameter_invalid("department", invalid));
    }
    let Ok(place) = Arc::clone(&room.0).try_acquire_owned() else {
        let detail = "This replica makes as many exports as it can at the moment. Try again, or ask another one.";
        return Err(Problem::unavailable(detail).code("exports_saturated").retry_after(Duration::from_secs(5)));
    };
    let batches = match at {
        Some(at) => past(&app, &department, at).await?,
        None => present(&app, &department).await?,
    };
    let record = recorded(&app, &caller, AuditAction::ExportUsers, Some(&department), &department);
    app.store.audit.begin(&record).await?;
    let (pieces, told) = mpsc::channel(CHUNKS_AHEAD);
    let tracker = app.shutdown.tracker.clone();
    let export = Export { app, caller, record, _place: place };
    tracker.spawn(async move { export.run(batches, pieces).await });
    let mut response = Body::from_stream(body(told)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The live records, all as of the same cluster time.
async fn present(app: &App, department: &DepartmentName) -> Result<Batches, Problem> {
    let now = app.store.users.present().await?;
    let users = app.store.users.scan_at(department, now, 1);
    let failed = |error: crate::store::StoreError| {
        if error.is_snapshot_gone() {
            let detail = "The export took longer than MongoDB holds a moment. Ask for a moment of the recovery window with `at`.";
            return Problem::unavailable(detail).code("export_too_slow").source(error);
        }
        error.into()
    };
    Ok(users.map_err(failed).boxed())
}

/// The records at a moment of the recovery window.
async fn past(app: &App, department: &DepartmentName, at: Timestamp) -> Result<Batches, Problem> {
    let point = app.past.locate(department, Moment::Time(at)).await.map_err(|error| refused(error, "at"))?;
    let state = app.past.state(&point).await.map_err(|error| refused(error, "at"))?;
    Ok(state.users(None).map_err(|error| refused(error.into(), "at")).boxed())
}

/// One export, as long as somebody reads it.
struct Export {
    app: App,
    caller: Caller,
    record: AuditRecord,
    _place: OwnedSemaphorePermit,
}

impl Export {
    async fn run(self, mut batches: Batches, pieces: mpsc::Sender<Piece>) {
        let problem = loop {
            let users = match batches.next().await {
                Some(Ok(users)) => users,
                Some(Err(problem)) => break problem,
                None => return self.end(&pieces).await,
            };
            if let Err(problem) = require_standing(&self.app, &self.caller).await {
                break problem;
            }
            for users in users.chunks(CHUNK_RECORDS) {
                let mut lines = Vec::new();
                for user in users {
                    write_record(&mut lines, user);
                    lines.push(b'\n');
                }
                if pieces.send(Piece::Lines(lines)).await.is_err() {
                    // Nobody reads on. The record of it stays `begun`.
                    return;
                }
            }
        };
        let error = serde_json::json!({ "error": { "code": problem.code_str(), "message": problem.detail() } });
        tracing::warn!(
            department.id = %self.record.subject, problem.code = problem.code_str(), cause = problem.cause(),
            "an export broke off"
        );
        if pieces.send(Piece::Lines(format!("{error}\n").into_bytes())).await.is_ok() {
            tokio::time::sleep(LAST_WORD).await;
        }
    }

    async fn end(self, pieces: &mpsc::Sender<Piece>) {
        if pieces.send(Piece::Whole).await.is_err() {
            return;
        }
        if let Err(error) = self.app.store.audit.settle(&self.record.id, AuditOutcome::Done).await {
            tracing::warn!(error = %chain(&error), "an audit record goes on saying that an export was begun");
        }
    }
}

/// The body of the answer. Where the work ends without saying that it is whole, also by a panic, it ends with an error.
fn body(pieces: mpsc::Receiver<Piece>) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    futures::stream::unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Piece::Lines(lines)) => Some((Ok(lines.into()), Some(pieces))),
            Some(Piece::Whole) => None,
            None => Some((Err(std::io::ErrorKind::UnexpectedEof.into()), None)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(pieces: Vec<Piece>) -> (String, bool) {
        let (sender, receiver) = mpsc::channel(8);
        for piece in pieces {
            assert!(sender.send(piece).await.is_ok());
        }
        drop(sender);
        let read: Vec<_> = body(receiver).collect().await;
        let whole = read.iter().all(Result::is_ok);
        let bytes: Vec<u8> = read.into_iter().flatten().flatten().collect();
        (String::from_utf8(bytes).unwrap(), whole)
    }

    #[tokio::test]
    async fn only_what_says_that_it_is_whole_ends_without_an_error() {
        let line = || Piece::Lines(b"a\n".to_vec());
        assert_eq!(read(vec![line(), line(), Piece::Whole]).await, ("a\na\n".to_owned(), true));
        assert_eq!(read(vec![line()]).await, ("a\n".to_owned(), false));
        assert_eq!(read(vec![]).await, (String::new(), false));
    }
}
