//! What of a department's history can be read: its recovery window, and the complete backups that mark it.
//!
//! Rule: the window is computed from the head and the catalogue each time, so it can never disagree with them.

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};

use super::StoreError;
use super::documents::backups::read_backup;
use super::documents::date;
use super::documents::names::Named as _;
use super::error::read;
use super::heads::Heads;
use crate::domain::backup::{BackupContent, BackupState};
use crate::domain::clock::Timestamp;
use crate::domain::history::{Head, Sequence, Timeline};
use crate::domain::ids::DepartmentName;
use crate::domain::window::{Moment, Place, RecoveryWindow, Stretch};

/// Reads recovery windows.
#[derive(Debug, Clone)]
pub struct Windows {
    heads: Heads,
    backups: Collection<Document>,
}

impl Windows {
    pub(super) fn new(database: &Database) -> Self {
        Self { heads: Heads::new(database), backups: database.collection("backups") }
    }

    /// The recovery window of a department; empty where nothing can be restored yet.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self, department: &DepartmentName) -> Result<RecoveryWindow, StoreError> {
        match self.heads.get(department).await? {
            Some(head) => self.of(&head).await,
            None => Ok(RecoveryWindow::default()),
        }
    }

    /// The recovery window that a head and the catalogue make.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn of(&self, head: &Head) -> Result<RecoveryWindow, StoreError> {
        let first = head.begin.map_or(Timeline(1), |place| place.timeline);
        let mut window = RecoveryWindow::default();
        for timeline in (first.0..=head.timeline.0).map(Timeline) {
            let begin = head.begin.filter(|place| place.timeline == timeline);
            let from = match begin {
                Some(place) => Some(place),
                None => self.first_of(&head.department, timeline).await?,
            };
            let gap = head.gaps.iter().find(|gap| gap.timeline == timeline);
            let through = match gap {
                Some(gap) => Place { timeline, sequence: gap.after, time: gap.time },
                None => head.place(),
            };
            // Whatever came before the first stretch is out of the window already, gaps included.
            if from.is_some() || !window.stretches.is_empty() {
                window.gaps.extend(gap.cloned());
            }
            // A backup is listed after the head has passed it; this head may have been read before that.
            window.stretches.extend(from.filter(|from| from.sequence <= through.sequence).map(|from| {
                let time = through.time.max(from.time);
                Stretch { from, through: Place { time, ..through } }
            }));
        }
        Ok(window)
    }

    /// The place of the earliest complete backup of a timeline.
    async fn first_of(&self, department: &DepartmentName, timeline: Timeline) -> Result<Option<Place>, StoreError> {
        let first = self.one(complete(department, timeline), doc! { "content.sequence": 1 }).await?;
        Ok(first.map(|content| Place { timeline, sequence: content.sequence, time: content.taken_at }))
    }

    /// The newest complete backup of a timeline at or before a moment.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn newest_at(
        &self,
        department: &DepartmentName,
        timeline: Timeline,
        moment: Moment,
    ) -> Result<Option<BackupContent>, StoreError> {
        let mut filter = complete(department, timeline);
        let order = match moment {
            Moment::Time(at) => {
                filter.insert("content.taken_at", doc! { "$lte": date(at) });
                doc! { "content.taken_at": -1, "content.sequence": -1 }
            }
            Moment::Sequence(Sequence(at)) => {
                filter.insert("content.sequence", doc! { "$lte": at });
                doc! { "content.sequence": -1 }
            }
        };
        self.one(filter, order).await
    }

    /// The oldest complete backup of a timeline at or after a sequence.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn oldest_from(
        &self,
        department: &DepartmentName,
        timeline: Timeline,
        from: Sequence,
    ) -> Result<Option<BackupContent>, StoreError> {
        let mut filter = complete(department, timeline);
        filter.insert("content.sequence", doc! { "$gte": from.0 });
        self.one(filter, doc! { "content.sequence": 1 }).await
    }

    /// The complete backups of a department from after a time and before a place, newest first.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn kept_between(
        &self,
        department: &DepartmentName,
        after: Timestamp,
        before: Place,
    ) -> Result<Vec<BackupContent>, StoreError> {
        let filter = doc! {
            "_id.department": department.as_str(),
            "state": BackupState::Complete.name(),
            "content.taken_at": { "$gt": date(after) },
            "$or": [
                { "content.timeline": { "$lt": before.timeline.0 } },
                { "content.timeline": before.timeline.0, "content.sequence": { "$lt": before.sequence.0 } },
            ],
        };
        let find = self.backups.find(filter).sort(doc! { "content.timeline": -1, "content.sequence": -1 });
        let found: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        let contents = found.iter().map(|document| Ok(read_backup(document)?.content));
        contents.filter_map(Result::transpose).collect()
    }

    async fn one(&self, filter: Document, sort: Document) -> Result<Option<BackupContent>, StoreError> {
        let find = self.backups.find(filter).sort(sort).limit(1);
        let found: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        Ok(found.first().map(read_backup).transpose()?.and_then(|backup| backup.content))
    }
}

fn complete(department: &DepartmentName, timeline: Timeline) -> Document {
    doc! {
        "_id.department": department.as_str(),
        "state": BackupState::Complete.name(),
        "content.timeline": timeline.0,
    }
}
