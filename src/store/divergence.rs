//! Diverged departments, as their heads say it: found by a leader, ended by an operator.

use futures::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{Bson, DateTime, Document, doc};

use super::StoreError;
use super::audit::update_recorded;
use super::documents::divergence::{divergence_document, request_document};
use super::documents::heads::{journal_array, read_head, source_document};
use super::documents::{date, timestamp};
use super::error::{read_within, write};
use super::heads::{Heads, cluster_time_now};
use crate::domain::audit::AuditRecord;
use crate::domain::cause::Cause;
use crate::domain::clock::Timestamp;
use crate::domain::divergence::{Divergence, RebaseRequest};
use crate::domain::epoch::Leadership;
use crate::domain::history::{Head, JournalCopy, Sequence, Source, Timeline};
use crate::domain::ids::DepartmentName;

/// Longest look of a page that also has something to show without it.
const LOOK_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// The divergences in the `heads` collection.
#[derive(Debug, Clone)]
pub struct Divergences {
    database: Database,
    heads: Heads,
}

/// Where a re-based history goes on.
#[derive(Debug, Clone)]
pub struct RebaseTo {
    /// Above every timeline on the targets.
    pub timeline: Timeline,
    /// At or above every sequence on the targets.
    pub sequence: Sequence,
    /// What the history comes from now.
    pub source: Source,
    /// How far each target holds the journal.
    pub journal: Vec<JournalCopy>,
}

impl Divergences {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), heads: Heads::new(database) }
    }

    /// Every diverged department.
    ///
    /// # Errors
    /// When MongoDB does not answer within a second.
    pub async fn list(&self) -> Result<Vec<Head>, StoreError> {
        let find = self.heads.heads.find(doc! { "diverged": { "$type": "object" } }).sort(doc! { "_id": 1 });
        let found: Vec<Document> = read_within(LOOK_WITHIN, async { find.await?.try_collect().await }).await?;
        found.iter().map(read_head).collect()
    }

    /// The divergence of a department, if it is diverged.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self, department: &DepartmentName) -> Result<Option<Divergence>, StoreError> {
        Ok(self.heads.get(department).await?.and_then(|head| head.diverged))
    }

    /// Records that the department is diverged, unless it is recorded already.
    ///
    /// # Errors
    /// `Fenced` when the head carries another epoch.
    pub async fn record(&self, leadership: &Leadership, divergence: &Divergence) -> Result<(), StoreError> {
        let found = doc! { "$literal": divergence_document(divergence) };
        let update = vec![doc! { "$set": { "diverged": { "$ifNull": ["$diverged", found] } } }];
        self.heads.update(leadership, update).await
    }

    /// Records the wish of an operator to re-base a diverged department; its leader sees it. The first wish counts.
    ///
    /// # Errors
    /// `Stale` when the department is not diverged.
    pub async fn request(
        &self,
        department: &DepartmentName,
        request: &RebaseRequest,
        record: &AuditRecord,
    ) -> Result<(), StoreError> {
        let filter = doc! { "_id": department.as_str(), "diverged": { "$type": "object" } };
        let wish = doc! { "$literal": request_document(request) };
        let update = vec![doc! { "$set": { "diverged.rebase": { "$ifNull": ["$diverged.rebase", wish] } } }];
        update_recorded(&self.database, "heads", filter, update, record).await
    }

    /// Goes on with the live records on a new timeline at the present cluster time, and records the gap `rebased`.
    /// Returns the new head.
    ///
    /// # Errors
    /// `Fenced` when the head carries another epoch.
    pub async fn rebase(&self, leadership: &Leadership, to: &RebaseTo, now: Timestamp) -> Result<Head, StoreError> {
        let at = cluster_time_now(&self.database).await?;
        let gap = doc! {
            "timeline": "$timeline", "after": "$sequence", "goes_on_after": to.sequence.0, "time": "$time", "found_at": date(now),
            "cause": "rebased",
        };
        let update = vec![doc! { "$set": {
            "timeline": to.timeline.0,
            "sequence": to.sequence.0,
            "source": { "$literal": source_document(&to.source) },
            "time": { "$max": ["$time", DateTime::from_millis(i64::from(at.seconds) * 1000)] },
            "cluster_time": timestamp(at),
            "token": Bson::Null,
            "journal": { "$literal": journal_array(&to.journal) },
            "gaps": { "$concatArrays": ["$gaps", [gap]] },
            "diverged": Bson::Null,
        } }];
        self.heads.updated(leadership, update).await
    }

    /// Gives every queued job of a department that has no cause one, or takes it away again. The cause only informs.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn explain_queued(&self, leadership: &Leadership, cause: Option<&Cause>) -> Result<(), StoreError> {
        let mut filter = doc! { "_id.department": leadership.department.as_str(), "state": "queued" };
        let set = if let Some(cause) = cause {
            filter.insert("cause", Bson::Null);
            doc! { "code": &cause.code, "message": &cause.message }.into()
        } else {
            filter.insert("cause", doc! { "$type": "object" });
            Bson::Null
        };
        for jobs in ["backups", "restores"] {
            let jobs = self.database.collection::<Document>(jobs);
            let update = doc! { "$set": { "cause": set.clone() } };
            write(jobs.update_many(super::fences::not_above(filter.clone(), leadership), update)).await?;
        }
        Ok(())
    }
}
