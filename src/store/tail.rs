//! The change stream of one department: its users, its jobs, and every event without a document key.
//!
//! Rule: the order of events is the truth. Nothing is looked up; a foreign update is told by its own description.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use mongodb::Database;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;

use super::StoreError;
use super::barriers::TICK;
use super::documents::cluster_time_of;
use super::documents::extjson::canonical;
use super::documents::timestamp;
use super::documents::users::{read_key, read_user};
use super::error::{command_code, read_within};
use crate::domain::clock::Timestamp;
use crate::domain::history::{Change, ClusterTime, StreamToken};
use crate::domain::ids::{BarrierId, DepartmentName};

/// Opens change streams.
#[derive(Debug, Clone)]
pub struct Tail {
    database: Database,
}

/// Where a stream begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailStart {
    /// After the event of this token.
    After(StreamToken),
    /// At this cluster time, its own events included.
    At(ClusterTime),
}

/// An open change stream of one department.
pub struct TailStream {
    state: State,
    department: DepartmentName,
    token: StreamToken,
}

impl fmt::Debug for TailStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailStream").field("department", &self.department).finish_non_exhaustive()
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
    /// The department's own document changed (policy, state, schedule).
    Department,
    /// Something that asks for nothing.
    Other,
    /// Nothing more for now: everything up to the token has been told.
    Idle,
    /// The stream is over, for this reason: `collection_dropped`, `collection_renamed`, `database_dropped`,
    /// `invalidated`, `stream_ended`, `history_lost` (286), `token_of_another_stream` (280),
    /// `stream_too_old` (136).
    Broken(&'static str),
}

impl Tail {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Opens the stream of a department; `patience` is how long a step may take. Usually it is over in half a second, but the
    /// server answers only when it has found something or is at the end of the oplog, and what other collections wrote
    /// may be long: so a caller that hears `Unavailable` has to come with more patience, else it never gets past that.
    ///
    /// # Errors
    /// When MongoDB does not answer. A start that the oplog no longer has is told by a `Broken` event instead.
    pub async fn open(
        &self,
        department: &DepartmentName,
        start: &TailStart,
        patience: Duration,
    ) -> Result<TailStream, StoreError> {
        let mut watch =
            self.database.watch().pipeline([pipeline(department)]).max_await_time(Duration::from_millis(500));
        let mut token = StreamToken(Vec::new());
        let mut state = None;
        match start {
            TailStart::At(time) => watch = watch.start_at_operation_time(timestamp(*time)),
            TailStart::After(after) => {
                token = after.clone();
                match mongodb::bson::deserialize_from_slice::<ResumeToken>(&after.0) {
                    Ok(resume) => watch = watch.start_after(resume),
                    Err(_) => state = Some(State::Broken("token_of_another_stream")),
                }
            }
        }
        if state.is_none() {
            state = Some(match read_within(patience, watch).await {
                Ok(stream) => State::Ready(Box::new(stream.with_type::<RawDocumentBuf>())),
                Err(StoreError::Other(error)) => match broken_by(&error) {
                    Some(reason) => State::Broken(reason),
                    None => return Err(StoreError::Other(error)),
                },
                Err(error) => return Err(error),
            });
        }
        Ok(TailStream { state: state.unwrap_or(State::Lost), department: department.clone(), token })
    }
}

impl TailStream {
    /// The next event; waits up to about half a second and then tells `Idle`. `patience` as for `open`.
    /// Cancel-safe: dropping the future loses no event.
    ///
    /// # Errors
    /// `Unavailable` when MongoDB does not answer: open a new stream after the last token.
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
        TailEvent { kind, cluster_time: None, wall_time: None, token: self.token.clone(), growth: 0, transaction: None }
    }

    fn break_off(&mut self, reason: &'static str) -> TailEvent {
        self.state = State::Broken(reason);
        self.bare(TailKind::Broken(reason))
    }

    fn tell(&mut self, raw: &RawDocumentBuf) -> Result<TailEvent, StoreError> {
        let operation = raw.get_str("operationType").map_err(|_| corrupt("it has no operation type"))?;
        let reason = match operation {
            "drop" => Some("collection_dropped"),
            "rename" => Some("collection_renamed"),
            "dropDatabase" => Some("database_dropped"),
            "invalidate" => Some("invalidated"),
            _ => None,
        };
        if let Some(reason) = reason {
            return Ok(self.break_off(reason));
        }
        let kind = kind_of(operation, raw)?;
        let growth = match (&kind, operation) {
            (TailKind::User(_), "insert") => 1,
            (TailKind::User(_), "delete") => -1,
            _ => 0,
        };
        Ok(TailEvent {
            kind,
            growth,
            cluster_time: raw.get_timestamp("clusterTime").ok().map(cluster_time_of),
            wall_time: raw.get_datetime("wallTime").ok().map(|at| Timestamp::from_millis(at.timestamp_millis())),
            token: self.token.clone(),
            transaction: transaction_of(raw),
        })
    }
}

/// What the stream of a department lets through.
fn pipeline(department: &DepartmentName) -> Document {
    let name = department.as_str();
    let own = doc! {
        "ns.coll": { "$in": ["users", "backups", "restores", "barriers"] },
        "documentKey._id.department": name,
    };
    let settings = doc! { "ns.coll": "departments", "documentKey._id": name };
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

fn kind_of(operation: &str, event: &RawDocumentBuf) -> Result<TailKind, StoreError> {
    let collection = event.get_document("ns").and_then(|ns| ns.get_str("coll")).map_err(|_| corrupt("no namespace"))?;
    match collection {
        "users" => change_of(operation, event).map(TailKind::User),
        "backups" => Ok(TailKind::Backup { marker: marker_of(event) }),
        "restores" => Ok(TailKind::Restore),
        "barriers" if is_asked(operation, event) => Ok(barrier_of(event)?.map_or(TailKind::Other, TailKind::Barrier)),
        "barriers" => Ok(TailKind::Other),
        _ => Ok(TailKind::Department),
    }
}

fn marker_of(event: &RawDocumentBuf) -> Option<String> {
    let updated = event.get_document("updateDescription").ok()?.get_document("updatedFields").ok()?;
    updated.get_str("marker").ok().map(str::to_owned)
}

/// A barrier is asked for when it is made, and again by each new leader; its receipt asks for nothing.
fn is_asked(operation: &str, event: &RawDocumentBuf) -> bool {
    let updated = || event.get_document("updateDescription").ok()?.get_document("updatedFields").ok();
    operation == "insert" || updated().is_some_and(|fields| fields.get("asked").is_ok_and(|asked| asked.is_some()))
}

/// The barrier that was asked for; none for a tick, whose first one is an insert too.
fn barrier_of(event: &RawDocumentBuf) -> Result<Option<BarrierId>, StoreError> {
    let key = event.get_document("documentKey").and_then(|key| key.get_document("_id"));
    let id = key.and_then(|key| key.get_str("id")).map_err(|_| corrupt("a barrier has no id"))?;
    if id == TICK {
        return Ok(None);
    }
    id.parse().map(Some).map_err(|_| corrupt("the id of a barrier is not valid"))
}

/// Session and number of the transaction of an event; only events of transactions have them.
fn transaction_of(event: &RawDocumentBuf) -> Option<Vec<u8>> {
    let number = event.get_i64("txnNumber").ok()?;
    let mut id = event.get_document("lsid").ok()?.as_bytes().to_vec();
    id.extend_from_slice(&number.to_le_bytes());
    Some(id)
}

fn change_of(operation: &str, event: &RawDocumentBuf) -> Result<Change, StoreError> {
    let key = event.get_document("documentKey").and_then(|key| key.get_document("_id"));
    let (_, id) = read_key(key.map_err(|_| corrupt("it has no document key"))?)?;
    match operation {
        "insert" | "replace" => {
            let document = event.get_document("fullDocument").map_err(|_| corrupt("it has no document"))?;
            match read_user(document) {
                Ok(user) => Ok(Change::Put(user)),
                // Written past the validator by somebody else: kept as it is, never left out.
                Err(_) => Ok(Change::Patch(id, text_of(document, "fullDocument")?)),
            }
        }
        "delete" => Ok(Change::Delete(id)),
        _ => {
            let update = event.get_document("updateDescription").map_err(|_| corrupt("it has no description"))?;
            Ok(Change::Patch(id, text_of(update, "updateDescription")?))
        }
    }
}

fn text_of(raw: &mongodb::bson::RawDocument, name: &str) -> Result<String, StoreError> {
    let document = Document::try_from(raw).map_err(|_| corrupt("it is not valid BSON"))?;
    Ok(serde_json::json!({ name: canonical(&document) }).to_string())
}
