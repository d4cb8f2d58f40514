//! What restores need of the backups and of the journal, so that retention leaves it alone.
//!
//! Rules: an open restore needs what it reads: its backup, or the newest backup up to its moment, in whichever department
//! that lies. A restore that has ended needs its safety backup alone, since an undo reads that and its own batches.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};

use super::StoreError;
use super::documents::Fields;
use super::error::read;
use super::txn::Txn;
use crate::domain::ids::RestoreId;
use crate::domain::retention::Pin;

/// States of a restore that has not ended.
pub(super) const OPEN: [&str; 4] = ["queued", "planning", "planned", "applying"];

/// What restores need.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// Backups by id, each with a restore that needs it; an open one, where there is one.
    pub(super) backups: HashMap<String, Pin>,
    /// Departments whose journal is read from the empty beginning.
    pub(super) beginnings: HashSet<String>,
}

/// Where to look: in the database as it is now, or as a transaction sees it.
#[derive(Debug)]
pub(super) enum Seen<'a> {
    Now(&'a Database),
    In(&'a mut Txn),
}

/// The fields of a restore that say what it needs.
pub(super) fn fields() -> Document {
    doc! {
        "state": 1, "finished_at": 1, "progress.batches": 1, "safety_backup_id": 1, "request.backup_id": 1, "request.undo_of": 1, "request.from_department": 1,
        "request.at": 1, "request.sequence": 1, "point": 1,
    }
}

impl Pins {
    /// What these restores need. One that has ended can be undone for so long.
    pub(super) async fn of(
        mut seen: Seen<'_>,
        restores: &[Document],
        undo_lifetime: Duration,
    ) -> Result<Self, StoreError> {
        let mut pins = Self::default();
        for restore in restores {
            let fields = Fields::of("restores", restore);
            let id: RestoreId = fields.sub("_id")?.parsed("id")?;
            let open = OPEN.contains(&fields.text("state")?);
            // One that has ended and wrote nothing has nothing to take back.
            let wrote = fields.sub("progress")?.count("batches")? > 0;
            if let (Ok(safety), true) = (restore.get_str("safety_backup_id"), open || wrote) {
                let ended = if open { None } else { Some(fields.time("finished_at")?) };
                let until = ended.map(|ended| ended.later_by(undo_lifetime));
                pins.add(safety, Pin { restore: id.clone(), until });
            }
            if open {
                pins.source(&mut seen, restore, &id).await?;
            }
        }
        Ok(pins)
    }

    async fn source(&mut self, seen: &mut Seen<'_>, restore: &Document, id: &RestoreId) -> Result<(), StoreError> {
        let Ok(request) = restore.get_document("request") else { return Ok(()) };
        if let Ok(backup) = request.get_str("backup_id") {
            self.add(backup, Pin::open(id.clone()));
        } else if let Ok(undone) = request.get_str("undo_of") {
            let found =
                vec![doc! { "$match": { "_id.id": undone } }, doc! { "$project": { "backup": "$safety_backup_id" } }];
            self.add_all(&seen.aggregate("restores", found).await?, id);
        } else if let Ok(department) = request.get_str("from_department") {
            let point = restore.get_document("point").ok();
            let from_a_backup = point.is_none_or(|point| point.get_document("base").is_ok());
            let found = seen.aggregate("backups", newest(department, request, point)).await?;
            if found.is_empty() || !from_a_backup {
                self.beginnings.insert(department.to_owned());
            }
            self.add_all(&found, id);
        }
        Ok(())
    }

    fn add_all(&mut self, found: &[Document], id: &RestoreId) {
        for backup in found.iter().filter_map(|found| found.get_str("backup").ok()) {
            self.add(backup, Pin::open(id.clone()));
        }
    }

    fn add(&mut self, backup: &str, pin: Pin) {
        let weaker = self.backups.get(backup).is_some_and(|other| other.is_open() || other.until > pin.until);
        if pin.is_open() || !weaker {
            self.backups.insert(backup.to_owned(), pin);
        }
    }
}

/// The newest backup up to a moment. Which line of history it means is not known before it was looked up, so until then it
/// is the newest one of each.
fn newest(department: &str, request: &Document, point: Option<&Document>) -> Vec<Document> {
    let mut complete = doc! { "_id.department": department, "state": "complete" };
    let value = |of: &Document, field: &str| of.get(field).cloned().unwrap_or(Bson::Null);
    if let Some(point) = point {
        complete.insert("content.timeline", value(point, "timeline"));
        complete.insert("content.sequence", doc! { "$lte": value(point, "sequence") });
        if let Ok(base) = point.get_document("base") {
            complete.insert("content.base.snapshot", value(base, "snapshot"));
        }
    } else if let Some(at @ Bson::DateTime(_)) = request.get("at") {
        complete.insert("content.taken_at", doc! { "$lte": at });
    } else {
        complete.insert("content.sequence", doc! { "$lte": value(request, "sequence") });
    }
    vec![
        doc! { "$match": complete },
        doc! { "$sort": { "content.sequence": -1, "finished_at": -1 } },
        doc! { "$group": { "_id": "$content.timeline", "backup": { "$first": "$_id.id" } } },
    ]
}

impl Seen<'_> {
    /// The first thousand answers, which is more than a department has lines of history.
    async fn aggregate(&mut self, collection: &str, pipeline: Vec<Document>) -> Result<Vec<Document>, StoreError> {
        let mut command = doc! { "aggregate": collection, "pipeline": pipeline, "cursor": { "batchSize": 1000 } };
        let reply = match self {
            Self::Now(database) => {
                command.insert("readConcern", doc! { "level": "majority" });
                read(database.run_command(command)).await?
            }
            Self::In(txn) => txn.run(command).await?,
        };
        let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        let found = batch.map(|batch| batch.iter().filter_map(Bson::as_document).cloned().collect());
        Ok(found.unwrap_or_default())
    }
}
