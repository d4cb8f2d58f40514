//! The change stream of a replica: the users and jobs of several departments, and every event without a document key.
//!
//! Rule: the order of events is the truth. A stream begins at a moment; what each department has seen already is told by
//! the places of tokens.

mod read;
mod token;

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use mongodb::Database;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::change_stream::ChangeStream;

use super::StoreError;
use super::documents::cluster_time_of;
use super::documents::timestamp;
use super::error::{command_code, read_within};
use crate::domain::clock::Timestamp;
use crate::domain::history::{Change, ClusterTime, StreamToken};
use crate::domain::ids::{BarrierId, DepartmentName};

pub use token::{Start, TokenPlace};

/// How long the server waits for an event before it says that there is none.
const AWAIT_MAX: Duration = Duration::from_millis(500);

/// Events that the server gives at a time, so that a batch of a busy stream stays small in memory.
const EVENTS_MAX: u32 = 2000;

/// Opens change streams.
#[derive(Debug, Clone)]
pub struct Tail {
    database: Database,
}

/// An open change stream of some departments.
pub struct TailStream {
    state: State,
    token: StreamToken,
}

impl fmt::Debug for TailStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailStream").finish_non_exhaustive()
    }
}

type Events = ChangeStream<RawDocumentBuf>;
type Step = (Events, Result<Option<RawDocumentBuf>, mongodb::error::Error>);

enum State {
    Ready(Box<Events>),
    /// A step under way. It stays here when `next` is dropped, so that its event is not lost.
    Waiting(BoxFuture<'static, Step>),
    Broken(&'static str),
    /// An error was told: the stream must be opened anew.
    Lost,
}

/// One event, or the news that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailEvent {
    /// What happened.
    pub kind: TailKind,
    /// Whose it is; absent for what concerns every department.
    pub department: Option<DepartmentName>,
    /// The oplog moment; absent for `Idle`.
    pub cluster_time: Option<ClusterTime>,
    /// The server's wall clock at the event; absent for `Idle`.
    pub wall_time: Option<Timestamp>,
    /// Where the stream goes on after it.
    pub token: StreamToken,
    /// How many records more the department has after it: 1, 0 or -1.
    pub growth: i64,
    /// The transaction that it is part of: the same value for each of its events, which follow one another.
    pub transaction: Option<Vec<u8>>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailKind {
    /// A user of the department changed.
    User(Change),
    /// A backup job of the department changed; the marker of its last take, where the event carries one.
    Backup {
        /// Marker written by `Backups::take`.
        marker: Option<String>,
    },
    /// A restore job of the department changed.
    Restore,
    /// A barrier of the department was asked for, or asked for again.
    Barrier(BarrierId),
    /// Somebody wishes that the leadership of the department goes to another replica.
    StepDown,
    /// The department's own document changed (policy, state, schedule).
    Department,
    /// Something that asks for nothing.
    Other,
    /// A change of a user of the department that cannot be read.
    Unreadable,
    /// The users are gone, for this reason: `collection_dropped`, `collection_renamed`, `database_dropped`,
    /// `invalidated`. More may follow.
    Gone(&'static str),
    /// Nothing more for now: everything up to the token has been told.
    Idle,
    /// The stream is over, for this reason: `stream_ended`, `history_lost` (286), `token_of_another_stream` (280),
    /// `stream_too_old` (136).
    Broken(&'static str),
}

impl TailEvent {
    /// An event that says nothing but where the stream is.
    pub fn bare(kind: TailKind, token: StreamToken) -> Self {
        Self { kind, department: None, cluster_time: None, wall_time: None, token, growth: 0, transaction: None }
    }
}

impl Tail {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Opens one stream of all these departments at a moment, whose own events are included; `patience` is how long a step
    /// may take. Usually it is over in half a second, but the server answers only when it has found something or is at the
    /// end of the oplog, and what other collections wrote may be long: so a caller that hears `Unavailable` has to come
    /// with more patience, else it never gets past that.
    ///
    /// # Errors
    /// When MongoDB does not answer. A moment that the oplog no longer has is told by a `Broken` event instead.
    pub async fn open(
        &self,
        departments: &[DepartmentName],
        at: ClusterTime,
        patience: Duration,
    ) -> Result<TailStream, StoreError> {
        let watch = self.database.watch().pipeline([pipeline(departments)]);
        let watch = watch.max_await_time(AWAIT_MAX).batch_size(EVENTS_MAX);
        let state = match read_within(patience, watch.start_at_operation_time(timestamp(at))).await {
            Ok(stream) => State::Ready(Box::new(stream.with_type::<RawDocumentBuf>())),
            Err(StoreError::Other(error)) => match broken_by(&error) {
                Some(reason) => State::Broken(reason),
                None => return Err(StoreError::Other(error)),
            },
            Err(error) => return Err(error),
        };
        Ok(TailStream { state, token: StreamToken(Vec::new()) })
    }
}

impl TailStream {
    /// Why the stream could not begin; none when it could.
    pub fn broken(&self) -> Option<&'static str> {
        match self.state {
            State::Broken(reason) => Some(reason),
            _ => None,
        }
    }

    /// The next event; waits up to about half a second and then tells `Idle`. `patience` as for `open`.
    /// Cancel-safe: dropping the future loses no event.
    ///
    /// # Errors
    /// `Unavailable` when MongoDB does not answer: open a new stream.
    pub async fn next(&mut self, patience: Duration) -> Result<TailEvent, StoreError> {
        if let State::Ready(_) = self.state
            && let State::Ready(mut stream) = std::mem::replace(&mut self.state, State::Lost)
        {
            self.state = State::Waiting(Box::pin(async move {
                let step = stream.next_if_any().await;
                (*stream, step)
            }));
        }
        let step = match &mut self.state {
            State::Waiting(step) => tokio::time::timeout(patience, step).await,
            State::Broken(reason) => {
                let reason = *reason;
                return Ok(self.bare(TailKind::Broken(reason)));
            }
            State::Ready(_) | State::Lost => return Err(lost()),
        };
        self.state = State::Lost;
        let Ok((stream, step)) = step else { return Err(lost()) };
        let event = match step {
            Ok(event) => event,
            Err(error) => match broken_by(&error) {
                Some(reason) => return Ok(self.break_off(reason)),
                None => return Err(StoreError::Unavailable(error)),
            },
        };
        if let Some(token) =
            stream.resume_token().as_ref().and_then(|token| mongodb::bson::serialize_to_vec(token).ok())
        {
            self.token = StreamToken(token);
        }
        let alive = stream.is_alive();
        self.state = State::Ready(Box::new(stream));
        match event {
            Some(event) => self.tell(&event),
            None if alive => Ok(self.bare(TailKind::Idle)),
            None => Ok(self.break_off("stream_ended")),
        }
    }

    fn bare(&self, kind: TailKind) -> TailEvent {
        TailEvent::bare(kind, self.token.clone())
    }

    fn break_off(&mut self, reason: &'static str) -> TailEvent {
        self.state = State::Broken(reason);
        self.bare(TailKind::Broken(reason))
    }

    fn tell(&self, raw: &RawDocumentBuf) -> Result<TailEvent, StoreError> {
        let operation = raw.get_str("operationType").map_err(|_| corrupt("it has no operation type"))?;
        let cluster_time = raw.get_timestamp("clusterTime").ok().map(cluster_time_of);
        if let Some(reason) = read::gone(operation) {
            return Ok(TailEvent { cluster_time, ..self.bare(TailKind::Gone(reason)) });
        }
        let kind = read::kind_of(operation, raw).unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "an event cannot be read");
            // Jobs are looked for now and then anyway; a change of a user is seen here or never.
            if read::is_of_users(raw) { TailKind::Unreadable } else { TailKind::Other }
        });
        let growth = match (&kind, operation) {
            (TailKind::User(_), "insert") => 1,
            (TailKind::User(_), "delete") => -1,
            _ => 0,
        };
        Ok(TailEvent {
            kind,
            department: read::department_of(raw),
            growth,
            cluster_time,
            wall_time: raw.get_datetime("wallTime").ok().map(|at| Timestamp::from_millis(at.timestamp_millis())),
            token: self.token.clone(),
            transaction: read::transaction_of(raw),
        })
    }
}

/// What the stream of some departments lets through.
fn pipeline(departments: &[DepartmentName]) -> Document {
    let names: Vec<&str> = departments.iter().map(DepartmentName::as_str).collect();
    let own = doc! {
        "ns.coll": { "$in": ["users", "backups", "restores", "barriers"] },
        "documentKey._id.department": { "$in": &names },
    };
    let settings = doc! { "ns.coll": "departments", "documentKey._id": { "$in": &names } };
    // Drops and renames of the users, of the whole database, and the end of the stream have no document key.
    let whole = doc! {
        "documentKey": { "$exists": false },
        "$or": [{ "ns.coll": "users" }, { "to.coll": "users" }, { "ns.coll": { "$exists": false } }],
    };
    doc! { "$match": { "$or": [own, settings, whole] } }
}

/// The reason of a stream that cannot go on, by the server's code.
fn broken_by(error: &mongodb::error::Error) -> Option<&'static str> {
    match command_code(error)? {
        136 => Some("stream_too_old"),
        // 260: not a resume token at all.
        260 | 280 => Some("token_of_another_stream"),
        286 => Some("history_lost"),
        _ => None,
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
}

fn corrupt(reason: &str) -> StoreError {
    StoreError::Corrupt { collection: "change stream", reason: reason.to_owned() }
}
