//! The task of one import: reads lines, writes batches, tells results.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::again::Live;
use super::lines::{Line, Lines};
use super::wire::{ImportLine, ImportResult, ImportStatus};
use crate::api::auth::{require, require_standing};
use crate::api::departments::Known;
use crate::api::extract::parse_json;
use crate::api::jobs::fresh_uuid;
use crate::api::problem::{FieldProblem, Kind, Problem};
use crate::api::users::{Credential, contended, read_field};
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
/// How long lines in hand wait for more of them.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often a replacement is tried against other writers.
const ATTEMPTS: usize = 5;

/// 0000-01-01T00:00:00Z, the first moment that RFC 3339 can write.
const YEAR_ZERO_MILLIS: i64 = -62_167_219_200_000;

/// What became of waiting for bytes.
enum Came {
    /// Bytes, or the end.
    Chunk(Option<Bytes>),
    /// Nothing yet.
    Nothing,
    /// Neither is to be expected.
    Broken,
}

/// What becomes of a line whose id or name is taken.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnTaken {
    Fail,
    Skip,
    Replace,
}

/// A line that can be written.
pub(super) struct Record {
    pub(super) user: User,
    /// Whether the line itself says the id, and when the record was made.
    pub(super) own_id: bool,
    pub(super) own_created_at: bool,
}

pub(super) struct Import {
    pub(super) app: App,
    pub(super) known: Known,
    pub(super) caller: Caller,
    pub(super) on_taken: OnTaken,
    pub(super) department: DepartmentName,
}

impl Import {
    /// Reads lines, writes batches and tells results until either side goes away.
    pub(super) async fn run(&self, body: Body, results: mpsc::Sender<Bytes>) {
        let mut chunks = body.into_data_stream();
        let mut lines = Lines::default();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let chunk = match self.next_chunk(&mut chunks, batch.is_empty()).await {
                Came::Chunk(chunk) => chunk,
                Came::Nothing if self.tell(&mut batch, &results).await.is_err() => return,
                Came::Nothing => continue,
                // The client broke off or the replica stops: the last line may be half a record.
                Came::Broken => return,
            };
            let last = chunk.is_none();
            match chunk {
                Some(chunk) => lines.push(&chunk),
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

    /// The next bytes. With lines in hand it does not wait long: their client may be waiting for their results.
    async fn next_chunk(&self, chunks: &mut BodyDataStream, empty_handed: bool) -> Came {
        let patience = if empty_handed { Duration::MAX } else { PATIENCE };
        // A replica that shuts down does not stop here: a stream of results that just ended would look whole.
        match tokio::time::timeout(patience, chunks.next()).await {
            Ok(Some(Ok(chunk))) => Came::Chunk(Some(chunk)),
            Ok(Some(Err(_))) => Came::Broken,
            Ok(None) => Came::Chunk(None),
            Err(_) => Came::Nothing,
        }
    }

    async fn tell(&self, batch: &mut Vec<Line>, results: &mpsc::Sender<Bytes>) -> Result<(), ()> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        let batch = std::mem::take(batch);
        let results_of_batch = match require_standing(&self.app, &self.caller).await {
            Ok(()) => self.write(batch).await,
            Err(problem) => batch.iter().map(|line| ImportResult::failed(line.number, None, &problem)).collect(),
        };
        for result in results_of_batch {
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
        let (inserted, whole) = match inserted {
            Ok(inserted) => (inserted, None),
            Err(error) => (Vec::new(), Some(Problem::from(error))),
        };
        let records = read.iter().filter_map(|(_, record)| record.as_ref().ok()).zip(&inserted);
        let taken: Vec<&Record> = records
            .filter(|(_, outcome)| matches!(outcome, Err(StoreError::Taken(_))))
            .map(|(record, _)| record)
            .collect();
        let mut present = Live::of(&self.app, &taken).await.map_err(Problem::from);
        let mut inserted = inserted.into_iter();
        let mut results = Vec::with_capacity(read.len());
        for (line, record) in read {
            let result = match (record, &whole) {
                (Err(problem), _) => ImportResult::failed(line, None, &problem),
                (Ok(record), Some(problem)) => ImportResult::failed(line, Some(&record.user.id), problem),
                (Ok(record), None) => match inserted.next() {
                    Some(Ok(())) => ImportResult::done(line, &record.user.id, ImportStatus::Created),
                    Some(Err(StoreError::Taken(field))) => self.taken(line, record, field, &mut present).await,
                    Some(Err(error)) => ImportResult::failed(line, Some(&record.user.id), &error.into()),
                    None => ImportResult::failed(line, None, &Problem::new(Kind::Internal, "The line has no result.")),
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
        if created_at.is_some_and(|at| at.as_millis() < YEAR_ZERO_MILLIS) {
            let invalid = Invalid::new("invalid_time", "A time is RFC 3339, which has no years before 0000.");
            errors.push(FieldProblem::body("/created_at", invalid));
        }
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
            updated_at: now.max(created_at.unwrap_or(now)),
        };
        Ok(Record { user, own_id, own_created_at })
    }

    async fn taken(
        &self,
        line: u64,
        record: Record,
        field: UniqueField,
        present: &mut Result<Live, Problem>,
    ) -> ImportResult {
        let present = match present {
            Ok(present) => present,
            Err(problem) => return ImportResult::failed(line, Some(&record.user.id), problem),
        };
        if let Some(id) = present.same(&record) {
            return ImportResult::done(line, id, ImportStatus::Unchanged);
        }
        match self.on_taken {
            OnTaken::Fail => ImportResult::failed(line, Some(&record.user.id), &StoreError::Taken(field).into()),
            OnTaken::Skip => {
                ImportResult { id: None, ..ImportResult::done(line, &record.user.id, ImportStatus::Skipped) }
            }
            OnTaken::Replace => {
                let own_id = record.own_id.then(|| record.user.id.clone());
                match self.replace(record, field).await {
                    Ok(id) => {
                        present.forget(&id);
                        ImportResult::done(line, &id, ImportStatus::Replaced)
                    }
                    Err(problem) => ImportResult::failed(line, own_id.as_ref(), &problem),
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
        Err(contended())
    }
}
