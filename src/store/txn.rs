//! Transactions of a leader: everything in one commit, the fence compared and really modified as the last statement.
//!
//! Use it so; the body may run several times, so it must not keep anything from a run that did not commit:
//!
//! ```text
//! let mut txn = Txn::fenced(&self.database, leadership).await?;
//! loop {
//!     let outcome = body(&mut txn).await;                     // Result<T, StoreError>
//!     if let Some(value) = txn.finish(outcome).await? { return Ok(value); }
//! }
//! ```

use std::time::Duration;

use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::{ErrorKind, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::{ReadConcern, WriteConcern};
use mongodb::{ClientSession, Database};

use super::StoreError;
use super::error::{DUPLICATE_KEY, WRITE_WITHIN, read, write};
use super::fences::{COLLECTION as FENCES, exact_epoch, is_fenced};
use super::meter::{self, Operation};
use crate::domain::epoch::Leadership;

/// How often a body is run before its transient error is told.
const ATTEMPTS_MAX: u32 = 8;
/// How often a commit is repeated when its outcome is not known.
const COMMITS_MAX: u32 = 3;
/// How long the server may take to commit.
const COMMIT_WITHIN: Duration = Duration::from_secs(4);

/// One transaction, begun again after a transient error.
#[derive(Debug)]
pub(super) struct Txn {
    session: ClientSession,
    database: Database,
    leadership: Option<Leadership>,
    attempt: u32,
}

impl Txn {
    /// Begins a transaction that commits only while the leadership holds.
    pub(super) async fn fenced(database: &Database, leadership: &Leadership) -> Result<Self, StoreError> {
        Self::begin(database, Some(leadership.clone())).await
    }

    /// Begins a transaction of a handler, which leads nothing.
    pub(super) async fn plain(database: &Database) -> Result<Self, StoreError> {
        Self::begin(database, None).await
    }

    async fn begin(database: &Database, leadership: Option<Leadership>) -> Result<Self, StoreError> {
        let session = read(database.client().start_session()).await?;
        let mut txn = Self { session, database: database.clone(), leadership, attempt: 0 };
        txn.start().await?;
        Ok(txn)
    }

    async fn start(&mut self) -> Result<(), StoreError> {
        self.attempt += 1;
        let concern = WriteConcern::builder().w(mongodb::options::Acknowledgment::Majority).journal(true).build();
        let start = self.session.start_transaction().read_concern(ReadConcern::snapshot()).write_concern(concern);
        read(start.max_commit_time(COMMIT_WITHIN)).await
    }

    /// The session, for the driver's own operations (`collection.find(..).session(txn.session())`).
    pub(super) fn session(&mut self) -> &mut ClientSession {
        &mut self.session
    }

    /// Runs a raw command in the transaction (`update`, `insert`, `delete`, `findAndModify`) and returns its reply.
    /// A write error inside the reply is an error: MongoDB has aborted the transaction then.
    pub(super) async fn run(&mut self, command: Document) -> Result<Document, StoreError> {
        let invalid = |error| StoreError::Other(mongodb::error::Error::custom(format!("write a command: {error}")));
        self.run_raw(RawDocumentBuf::try_from(&command).map_err(invalid)?).await
    }

    /// The same for a command that is encoded already.
    pub(super) async fn run_raw(&mut self, command: RawDocumentBuf) -> Result<Document, StoreError> {
        let reply = write(self.database.run_raw_command(command).session(&mut self.session)).await?;
        let first = reply.get_array("writeErrors").ok().and_then(|errors| errors.first()).and_then(Bson::as_document);
        let Some(error) = first else { return Ok(reply) };
        let message = error.get_str("errmsg").unwrap_or_default();
        let code = error.get_i32("code").unwrap_or_default();
        if code == DUPLICATE_KEY {
            return Err(StoreError::taken_from_message(message));
        }
        // The message may hold values of the record; the code says enough.
        Err(StoreError::Other(mongodb::error::Error::custom(format!("write error {code} in a transaction"))))
    }

    /// All documents of a collection that match, as the transaction sees them.
    pub(super) async fn find(&mut self, collection: &str, filter: Document) -> Result<Vec<Document>, StoreError> {
        let found = self.database.collection::<Document>(collection);
        let session = self.session();
        read(async move {
            let mut cursor = found.find(filter).session(&mut *session).await?;
            let mut documents = Vec::new();
            while let Some(document) = cursor.next(session).await {
                documents.push(document?);
            }
            Ok(documents)
        })
        .await
    }

    /// Sets fields of one document that matches; returns it as it is after that, or `Stale` when none matches.
    pub(super) async fn set(
        &mut self,
        collection: &str,
        filter: Document,
        update: Document,
    ) -> Result<Document, StoreError> {
        let command = doc! { "findAndModify": collection, "query": filter, "update": update, "new": true };
        let reply = self.run(command).await?;
        reply.get_document("value").cloned().map_err(|_| StoreError::Stale)
    }

    /// Inserts one document.
    pub(super) async fn insert(&mut self, collection: &str, document: Document) -> Result<(), StoreError> {
        self.run(doc! { "insert": collection, "documents": [document] }).await.map(drop)
    }

    /// Ends this run: commits and returns the value, or begins anew after a transient error and returns nothing.
    ///
    /// # Errors
    /// `Fenced` when the leadership is over; the error of the body; `OutcomeUnknown` when the commit got no answer.
    pub(super) async fn finish<T>(&mut self, outcome: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        let ended = match outcome {
            Ok(value) => self.seal().await.map(|()| value),
            Err(error) => Err(error),
        };
        match ended {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_transient() && self.attempt < ATTEMPTS_MAX => {
                meter::retried();
                self.abort().await;
                // A little longer each time, so that two writers of the same records get past each other.
                tokio::time::sleep(Duration::from_millis(5 << self.attempt.min(6))).await;
                self.start().await?;
                Ok(None)
            }
            Err(error) => {
                self.abort().await;
                Err(self.told(error).await)
            }
        }
    }

    /// The fence as the last statement, then the commit.
    async fn seal(&mut self) -> Result<(), StoreError> {
        if let Some(leadership) = self.leadership.clone() {
            let query = exact_epoch(doc! { "_id": leadership.department.as_str() }, &leadership);
            let command = doc! { "findAndModify": FENCES, "query": query, "update": { "$inc": { "ops": 1_i64 } } };
            let reply = self.run(command).await?;
            if reply.get_document("value").is_err() {
                return Err(StoreError::Fenced(leadership.epoch));
            }
        }
        let began = std::time::Instant::now();
        let outcome = self.commit().await;
        meter::done(Operation::Commit, began, &outcome);
        outcome
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match tokio::time::timeout(WRITE_WITHIN, self.session.commit_transaction()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => mongodb::error::Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut)),
            };
            let broken_off = matches!(*error.kind, ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. });
            let unknown = error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) || broken_off;
            if !unknown {
                return Err(StoreError::of_write(error));
            }
            if tries >= COMMITS_MAX {
                return Err(StoreError::OutcomeUnknown(error));
            }
        }
    }

    /// Best effort: a transaction that is not aborted ends by its lifetime.
    async fn abort(&mut self) {
        let within = Duration::from_secs(1);
        if let Ok(Err(error)) = tokio::time::timeout(within, self.session.abort_transaction()).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "abort a transaction");
        }
    }

    /// A guard that failed may have failed because somebody else leads: then that is the news.
    async fn told(&self, error: StoreError) -> StoreError {
        let Some(leadership) = &self.leadership else { return error };
        if !matches!(error, StoreError::Stale | StoreError::Taken(_)) {
            return error;
        }
        match is_fenced(&self.database, leadership).await {
            Ok(true) => StoreError::Fenced(leadership.epoch),
            _ => error,
        }
    }
}
