//! `POST /users/import`: a stream of records in, a stream of results out, in the same order.
//!
//! Rule: memory is one batch, however long the stream is; a bad line fails alone.

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use super::auth::{require, require_scope};
use super::departments::Known;
use super::extract::{Query, not_null, parameter, parse_json};
use super::jobs::fresh_uuid;
use super::problem::{Kind, Problem, Problems};
use super::users::{Credential, read_field};
use crate::app::App;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{DepartmentName, UserId};
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};
use crate::domain::user::{Rev, User, UserName};
use crate::store::StoreError;
use crate::store::error::UniqueField;

/// Records written in one command.
const BATCH: usize = 500;
/// Longest line, in bytes.
const LINE_MAX: usize = 64 << 10;
/// Batches of results that may wait for a slow reader.
const RESULTS_AHEAD: usize = 4;
/// How often a replacement is tried against other writers.
const ATTEMPTS: usize = 5;

/// How an import deals with its lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// What becomes of a line whose id or name is taken: `fail` (default), `skip` or `replace`.
    on_conflict: Option<String>,
    /// Department of lines that name none; absent means `default`.
    department: Option<String>,
}

/// One line of an import: the record format of exports and backups, or a password instead of the hash.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportLine {
    /// Absent means a fresh UUIDv7.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    id: Option<String>,
    /// Absent means that of the request.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    department: Option<String>,
    /// Unique in the department.
    name: String,
    /// Password to hash.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, value_type = Option<String>)]
    password: Option<SecretString>,
    /// Ready hash.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    password_hash: Option<String>,
    /// Default false.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    locked: Option<bool>,
    /// As exported; every write has a new one.
    #[serde(default, rename = "rev")]
    #[schema(value_type = Option<String>, nullable = false)]
    _rev: Option<serde::de::IgnoredAny>,
    /// As exported; every id counts for itself.
    #[serde(default, rename = "version")]
    #[schema(value_type = Option<i64>, nullable = false)]
    _version: Option<serde::de::IgnoredAny>,
    /// As exported; it is kept.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, format = DateTime)]
    created_at: Option<String>,
    /// As exported; it becomes the time of the import.
    #[serde(default, rename = "updated_at")]
    #[schema(value_type = Option<String>, nullable = false)]
    _updated_at: Option<serde::de::IgnoredAny>,
}

impl std::fmt::Debug for ImportLine {
    /// Only the id: a line may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportLine").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What became of one line.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportResult {
    /// Number of the line, from 1; empty lines count and have no result.
    pub line: u64,
    /// Id of the user, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub id: Option<String>,
    /// What was done.
    pub status: ImportStatus,
    /// Why the line failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<ImportError>,
}

/// What was done with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportStatus {
    /// A record was made.
    Created,
    /// A record was there and was replaced.
    Replaced,
    /// A record was there and stays.
    Skipped,
    /// Nothing was written.
    Failed,
}

/// Why a line failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportError {
    /// Stable machine-readable code.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OnTaken {
    Fail,
    Skip,
    Replace,
}

/// A line that can be written.
struct Record {
    user: User,
    /// Whether the line itself says the id, and when the record was made.
    own_id: bool,
    own_created_at: bool,
}

/// Imports users from a stream of lines.
///
/// NDJSON in and out: one result for each line, in order, while the rest is still on its way. Read the results while
/// you send: the service stops reading when nobody takes them.
#[utoipa::path(post, path = "/users/import", operation_id = "importUsers", tag = "users", params(ImportQuery),
    request_body(content = String, content_type = "application/x-ndjson",
        description = "One `ImportLine` a line, each at most 64 KiB."),
    responses((status = 200, description = "One `ImportResult` a line.", body = String,
        content_type = "application/x-ndjson"), Problems))]
pub(super) async fn import_users(
    State(app): State<App>,
    Extension(known): Extension<Known>,
    caller: Caller,
    Query(query): Query<ImportQuery>,
    body: Body,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::UsersWrite)?;
    let on_taken = match query.on_conflict.as_deref() {
        None | Some("fail") => OnTaken::Fail,
        Some("skip") => OnTaken::Skip,
        Some("replace") => OnTaken::Replace,
        Some(_) => {
            let invalid = Invalid::new("invalid_on_conflict", "on_conflict is fail, skip or replace.");
            return Err(Problem::parameter_invalid("on_conflict", invalid));
        }
    };
    let department = parameter("department", query.department.as_deref())?;
    let department: DepartmentName = department.unwrap_or_else(DepartmentName::default_department);
    require(&caller, Scope::UsersWrite, &department, "department")?;
    if !known.takes_users(&app, &department).await? {
        return Err(Problem::parameter_invalid(
            "department",
            Invalid::new("unknown_department", "There is no such department."),
        ));
    }
    let (results, told) = mpsc::channel(RESULTS_AHEAD);
    let tracker = app.shutdown.tracker.clone();
    let import = Import { app, known, caller, on_taken, department };
    tracker.spawn(async move { import.run(body, results).await });
    let stream = tokio_stream::wrappers::ReceiverStream::new(told);
    let body = Body::from_stream(stream.map(Ok::<Bytes, std::convert::Infallible>));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

struct Import {
    app: App,
    known: Known,
    caller: Caller,
    on_taken: OnTaken,
    department: DepartmentName,
}

impl Import {
    /// Reads lines, writes batches and tells results until either side goes away.
    async fn run(&self, body: Body, results: mpsc::Sender<Bytes>) {
        let mut chunks = body.into_data_stream();
        let mut lines = Lines::default();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            // A replica that shuts down does not stop here: a stream of results that just ended would look whole.
            let chunk = chunks.next().await;
            let last = chunk.is_none();
            match chunk {
                Some(Ok(chunk)) => lines.push(&chunk),
                // The client broke off: its last line may be half a record.
                Some(Err(_)) => return,
                None => lines.end(),
            }
            while let Some(line) = lines.next() {
                batch.push(line);
                if batch.len() == BATCH && self.tell(&mut batch, &results).await.is_err() {
                    return;
                }
            }
            if last {
                let _closed = self.tell(&mut batch, &results).await;
                return;
            }
        }
    }

    async fn tell(&self, batch: &mut Vec<Line>, results: &mpsc::Sender<Bytes>) -> Result<(), ()> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for result in self.write(std::mem::take(batch)).await {
            text.extend(serde_json::to_vec(&result).unwrap_or_default());
            text.push(b'\n');
        }
        results.send(text.into()).await.map_err(|_| ())
    }

    /// Writes one batch; the results stand in the order of the lines.
    async fn write(&self, batch: Vec<Line>) -> Vec<ImportResult> {
        let read = futures::stream::iter(batch).map(|line| async move {
            let number = line.number;
            (number, self.read(line).await)
        });
        let read: Vec<_> = read.buffered(self.app.hasher.concurrency()).collect().await;
        let users: Vec<User> = read.iter().filter_map(|(_, record)| Some(record.as_ref().ok()?.user.clone())).collect();
        let inserted = if users.is_empty() { Ok(Vec::new()) } else { self.app.store.users.insert_many(&users).await };
        let (mut inserted, whole) = match inserted {
            Ok(inserted) => (inserted.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(Problem::from(error))),
        };
        let mut results = Vec::with_capacity(read.len());
        for (line, record) in read {
            let result = match (record, &whole) {
                (Err(problem), _) => failed(line, None, &problem),
                (Ok(record), Some(problem)) => failed(line, Some(&record.user.id), problem),
                (Ok(record), None) => match inserted.next() {
                    Some(Ok(())) => done(line, &record.user.id, ImportStatus::Created),
                    Some(Err(StoreError::Taken(field))) => self.taken(line, record, field).await,
                    Some(Err(error)) => failed(line, Some(&record.user.id), &error.into()),
                    None => failed(line, None, &Problem::new(Kind::Internal, "The line has no result.")),
                },
            };
            results.push(result);
        }
        results
    }

    async fn read(&self, line: Line) -> Result<Record, Problem> {
        let text =
            line.text.ok_or_else(|| Problem::new(Kind::TooLarge, "A line is at most 64 KiB.").code("line_too_long"))?;
        let line: ImportLine = parse_json(&text)?;
        let mut errors = Vec::new();
        let id: Option<UserId> = read_field("/id", line.id.as_deref(), &mut errors);
        let department = read_field("/department", line.department.as_deref(), &mut errors);
        let name: Option<UserName> = read_field("/name", Some(&line.name), &mut errors);
        let created_at: Option<Timestamp> = read_field("/created_at", line.created_at.as_deref(), &mut errors);
        let credential = Credential::read(line.password, line.password_hash, &mut errors);
        if !errors.is_empty() {
            return Err(Problem::fields_invalid(errors));
        }
        let (Some(name), Some(credential)) = (name, credential) else {
            let invalid = Invalid::new("missing_credential", "Give password or password_hash.");
            return Err(Problem::field_invalid("/password", invalid));
        };
        let department = department.unwrap_or_else(|| self.department.clone());
        require(&self.caller, Scope::UsersWrite, &department, "department")?;
        self.known.require(&self.app, &department).await?;
        let password_hash = match credential {
            Credential::Hash(hash) => hash,
            Credential::Password(password) => self.app.hasher.hash_patiently(password).await?,
        };
        let now = self.app.clock.now();
        let (own_id, own_created_at) = (id.is_some(), created_at.is_some());
        let user = User {
            id: id.unwrap_or_else(|| fresh_uuid(&self.app.clock).into()),
            department,
            name,
            password_hash,
            locked: line.locked.unwrap_or(false),
            rev: Rev::random(),
            version: 1,
            created_at: created_at.unwrap_or(now),
            updated_at: now,
        };
        Ok(Record { user, own_id, own_created_at })
    }

    async fn taken(&self, line: u64, record: Record, field: UniqueField) -> ImportResult {
        match self.on_taken {
            OnTaken::Fail => failed(line, Some(&record.user.id), &StoreError::Taken(field).into()),
            OnTaken::Skip => ImportResult { id: None, ..done(line, &record.user.id, ImportStatus::Skipped) },
            OnTaken::Replace => {
                let own_id = record.own_id.then(|| record.user.id.clone());
                match self.replace(record, field).await {
                    Ok(id) => done(line, &id, ImportStatus::Replaced),
                    Err(problem) => failed(line, own_id.as_ref(), &problem),
                }
            }
        }
    }

    /// Replaces the record with the line's id, or, where the line has no id, the one with its name.
    async fn replace(&self, record: Record, field: UniqueField) -> Result<UserId, Problem> {
        let Record { mut user, own_id, own_created_at } = record;
        let users = &self.app.store.users;
        for _ in 0..ATTEMPTS {
            if !own_id {
                let names = [user.name.as_str().to_owned()];
                let holders = users.holders_of(&user.department, &names).await?;
                let (_, holder) = holders.into_iter().next().ok_or(StoreError::Taken(field))?;
                user.id = holder;
            }
            let live = users.get(&user.id).await?;
            // An id of another department is not the caller's to replace, nor even to know of.
            let live = live.filter(|live| live.department == user.department);
            let live = live.ok_or(StoreError::Taken(field))?;
            if !own_created_at {
                user.created_at = live.created_at;
            }
            user.version = live.version + 1;
            match users.replace(&user, live.rev).await {
                Ok(()) => return Ok(user.id),
                Err(StoreError::Stale) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(super::users::contended())
    }
}

fn done(line: u64, id: &UserId, status: ImportStatus) -> ImportResult {
    ImportResult { line, id: Some(id.to_string()), status, error: None }
}

fn failed(line: u64, id: Option<&UserId>, problem: &Problem) -> ImportResult {
    let error = ImportError { code: problem.code_str().to_owned(), message: problem.detail().to_owned() };
    ImportResult { line, id: id.map(ToString::to_string), status: ImportStatus::Failed, error: Some(error) }
}

/// One line: its number, and its text unless it was too long.
struct Line {
    number: u64,
    text: Option<Vec<u8>>,
}

/// Cuts chunks into lines, and holds no more of a line than is allowed.
#[derive(Default)]
struct Lines {
    ready: std::collections::VecDeque<Line>,
    open: Vec<u8>,
    too_long: bool,
    number: u64,
}

impl Lines {
    fn push(&mut self, chunk: &[u8]) {
        for (at, piece) in chunk.split(|byte| *byte == b'\n').enumerate() {
            if at > 0 {
                self.close();
            }
            if self.open.len() + piece.len() > LINE_MAX {
                self.too_long = true;
            }
            if !self.too_long {
                self.open.extend_from_slice(piece);
            }
        }
    }

    fn end(&mut self) {
        self.close();
    }

    fn close(&mut self) {
        self.number += 1;
        let text = std::mem::take(&mut self.open);
        let too_long = std::mem::take(&mut self.too_long);
        if too_long || !text.trim_ascii().is_empty() {
            self.ready.push_back(Line { number: self.number, text: (!too_long).then_some(text) });
        }
    }

    fn next(&mut self) -> Option<Line> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_across_chunks_and_a_long_one_keeps_its_number() {
        let mut lines = Lines::default();
        lines.push(b"one\n\ntw");
        lines.push(b"o\r\n");
        lines.push(&vec![b'x'; LINE_MAX + 1]);
        lines.push(b"\nlast");
        lines.end();
        let cut: Vec<_> = std::iter::from_fn(|| lines.next()).map(|line| (line.number, line.text)).collect();
        let text = |text: &[u8]| Some(text.to_vec());
        assert_eq!(cut, [(1, text(b"one")), (3, text(b"two\r")), (4, None), (5, text(b"last"))]);
    }
}
