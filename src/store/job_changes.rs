//! The changes of all jobs of the database, as they are made: backups and restores, each as it is now.
//!
//! Rule: this only shows progress. Whoever acts on a job reads it from its collection.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ChangeStreamEvent;
use mongodb::options::FullDocumentType;

use super::documents::backups::read_backup;
use super::documents::restores::read_restore;
use super::error::{LONG_READ_WITHIN, read, read_within};
use super::{Store, StoreError};
use crate::domain::backup::Backup;
use crate::domain::restore::Restore;

/// How long the server waits for a change before it says that there is none.
const AWAIT: Duration = Duration::from_millis(500);

/// A job as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A backup.
    Backup(Box<Backup>),
    /// A restore, without the users that it names.
    Restore(Box<Restore>),
}

/// An open stream of changes.
pub struct JobChanges {
    stream: ChangeStream<ChangeStreamEvent<Document>>,
}

impl std::fmt::Debug for JobChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JobChanges")
    }
}

impl Store {
    /// Opens a stream of the changes of all jobs, from now on.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn job_changes(&self) -> Result<JobChanges, StoreError> {
        let jobs = doc! {
            "ns.coll": { "$in": ["backups", "restores"] },
            "operationType": { "$in": ["insert", "update", "replace"] },
        };
        // Thousands of ids, which nobody looks at here, in each step of a restore.
        let pipeline = [doc! { "$match": jobs }, doc! { "$unset": "fullDocument.request.users" }];
        let watch = self.database.watch().pipeline(pipeline).max_await_time(AWAIT);
        let stream = read(watch.full_document(FullDocumentType::UpdateLookup)).await?;
        Ok(JobChanges { stream })
    }
}

impl JobChanges {
    /// The next change; none when there was none for a while.
    ///
    /// # Errors
    /// When the stream cannot go on.
    pub async fn next(&mut self) -> Result<Option<Job>, StoreError> {
        // The server looks through whatever else was written before it answers.
        let Some(event) = read_within(LONG_READ_WITHIN, self.stream.next_if_any()).await? else { return Ok(None) };
        // A document that is gone by now has no end to be told.
        let Some(document) = event.full_document else { return Ok(None) };
        let restores = event.ns.and_then(|ns| ns.coll).is_some_and(|collection| collection == "restores");
        if restores {
            read_restore(&document).map(|restore| Some(Job::Restore(Box::new(restore))))
        } else {
            read_backup(&document).map(|backup| Some(Job::Backup(Box::new(backup))))
        }
    }
}
