//! The `condemned` collection: names of objects that nothing may refer to any more, and the targets that still hold them.
//!
//! Rules: a name is condemned in a fenced transaction that fails when a backup became complete since it was decided; the
//! transaction that completes a backup refuses condemned names. So of the two, one sees the other.

use std::collections::HashSet;

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::{Collection, Database};

use super::StoreError;
use super::documents::{Fields, date};
use super::error::{read, write};
use super::fences::not_above;
use super::kept::names;
use super::txn::Txn;
use crate::domain::backup::BackupContent;
use crate::domain::clock::Timestamp;
use crate::domain::epoch::Leadership;
use crate::domain::history::{Sequence, Timeline};
use crate::domain::ids::{DepartmentName, TargetName};

/// Names of one question to MongoDB.
const ASKED_AT_ONCE: usize = 1000;

/// The `condemned` collection.
#[derive(Debug, Clone)]
pub struct Condemned {
    database: Database,
    condemned: Collection<Document>,
}

/// A condemned name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// Path of the object.
    pub path: String,
    /// It may be deleted from here on; names are deleted in the order of this.
    pub after: Timestamp,
    /// For a segment: its line of history, and its first and last change.
    pub segment: Option<(Timeline, Sequence, Sequence)>,
    /// For a segment that was merged: the one that a target must hold before this one is deleted from it.
    pub replaced_by: Option<String>,
}

fn key(department: &DepartmentName, path: &str) -> Document {
    doc! { "department": department.as_str(), "name": path }
}

impl Condemned {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), condemned: database.collection("condemned") }
    }

    /// Condemns names, if the department still has exactly so many complete backups, or however many where that does not
    /// matter. Tells whether it did.
    ///
    /// # Errors
    /// `Fenced`.
    pub async fn condemn(
        &self,
        leadership: &Leadership,
        complete: Option<usize>,
        doomed: &[Doomed],
        targets: &[TargetName],
    ) -> Result<bool, StoreError> {
        let updates: Vec<Bson> = doomed.iter().map(|doomed| insertion(leadership, doomed, targets)).collect();
        let count = doc! {
            "aggregate": "backups",
            "pipeline": [
                { "$match": { "_id.department": leadership.department.as_str(), "state": "complete" } },
                { "$group": { "_id": Bson::Null, "count": { "$sum": 1_i64 } } },
            ],
            "cursor": {},
        };
        let mut txn = Txn::fenced(&self.database, leadership).await?;
        loop {
            let outcome = match txn.run(count.clone()).await.map(|reply| counted(&reply)) {
                Ok(count) if complete.is_none_or(|complete| i64::try_from(complete) == Ok(count)) => {
                    txn.run(doc! { "update": "condemned", "updates": updates.clone() }).await.map(|_| true)
                }
                Ok(_) => Ok(false),
                Err(error) => Err(error),
            };
            if let Some(done) = txn.finish(outcome).await? {
                return Ok(done);
            }
        }
    }

    /// Which of these names are condemned.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn among(&self, department: &DepartmentName, paths: &[String]) -> Result<HashSet<String>, StoreError> {
        let mut found = HashSet::new();
        for some in paths.chunks(ASKED_AT_ONCE) {
            let keys: Vec<Document> = some.iter().map(|path| key(department, path)).collect();
            let find = self.condemned.find(doc! { "_id": { "$in": keys } }).projection(doc! { "_id": 1 });
            let documents: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
            for document in &documents {
                found.insert(Fields::of("condemned", document).sub("_id")?.owned("name")?);
            }
        }
        Ok(found)
    }

    /// What a target must hold in the place of a merged segment; nothing when that has expired too.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn replacement(&self, department: &DepartmentName, path: &str) -> Result<Option<String>, StoreError> {
        let mut path = path.to_owned();
        loop {
            let found = read(self.condemned.find_one(doc! { "_id": key(department, &path) })).await?;
            match found.as_ref().map(read_doomed).transpose()? {
                None => return Ok(Some(path)),
                Some(Doomed { replaced_by: Some(next), .. }) if next != path => path = next,
                Some(_) => return Ok(None),
            }
        }
    }

    /// Names that a target may still hold and that may be deleted now, in the order in which to delete them.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn due(
        &self,
        department: &DepartmentName,
        target: &TargetName,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<Doomed>, StoreError> {
        let filter = doc! {
            "_id.department": department.as_str(),
            "left": target.as_str(),
            "after": { "$lte": date(now) },
        };
        let find = self.condemned.find(filter).sort(doc! { "after": 1, "_id.name": 1 }).limit(limit);
        let found: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        found.iter().map(read_doomed).collect()
    }

    /// Records that a target no longer holds these names. One that no target holds is forgotten at `expires_at`.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn gone(
        &self,
        leadership: &Leadership,
        target: &TargetName,
        paths: &[String],
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let keys: Vec<Document> = paths.iter().map(|path| key(&leadership.department, path)).collect();
        let left = doc! { "$setDifference": ["$left", [target.as_str()]] };
        let nowhere = doc! { "$eq": ["$left", []] };
        let update = vec![
            doc! { "$set": { "left": left, "fence": leadership.epoch.0 } },
            doc! { "$set": { "expires_at": { "$cond": [nowhere, date(expires_at), "$$REMOVE"] } } },
        ];
        let filter = not_above(doc! { "_id": { "$in": keys } }, leadership);
        write(self.condemned.update_many(filter, update)).await.map(drop)
    }

    /// Waits for no target that is not configured: what it holds is found again if it ever comes back.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn forget_targets(&self, leadership: &Leadership, targets: &[TargetName]) -> Result<(), StoreError> {
        let department = leadership.department.as_str();
        let other = doc! { "$elemMatch": { "$nin": names(targets) } };
        let pull = |field: &str| doc! { "$pull": { field: { "$nin": names(targets) } } };
        let filter = doc! { "_id.department": department, "left": &other };
        write(self.condemned.update_many(not_above(filter, leadership), pull("left"))).await?;
        let filter = doc! { "_id.department": department, "untold": &other };
        let backups = self.database.collection::<Document>("backups");
        write(backups.update_many(not_above(filter, leadership), pull("untold"))).await.map(drop)
    }
}

/// Refuses what refers to a condemned name: the snapshot, its chunks, and the journal after it. Part of the transaction that
/// completes a backup.
pub(super) async fn refuse(
    txn: &mut Txn,
    department: &DepartmentName,
    content: &BackupContent,
    chunks: &[String],
) -> Result<(), StoreError> {
    let base = &content.base;
    let paths: Vec<&str> = chunks.iter().map(String::as_str).chain([base.snapshot.as_str()]).collect();
    for some in paths.chunks(ASKED_AT_ONCE) {
        let keys: Vec<Document> = some.iter().map(|path| key(department, path)).collect();
        if !txn.find("condemned", doc! { "_id": { "$in": keys } }).await?.is_empty() {
            return Err(StoreError::Condemned);
        }
    }
    // A merged segment is replaced by one that says the same.
    let journal = doc! {
        "_id.department": department.as_str(),
        "timeline": content.timeline.0,
        "last": { "$gt": base.sequence.0 },
        "first": { "$lte": content.sequence.0 },
        "replaced_by": Bson::Null,
    };
    let found = txn.find("condemned", journal).await?;
    if found.is_empty() { Ok(()) } else { Err(StoreError::Condemned) }
}

fn counted(reply: &Document) -> i64 {
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let first = batch.ok().and_then(|batch| batch.first()).and_then(Bson::as_document);
    first.and_then(|group| group.get_i64("count").ok()).unwrap_or(0)
}

fn insertion(leadership: &Leadership, doomed: &Doomed, targets: &[TargetName]) -> Bson {
    let mut fields = doc! {
        "fence": leadership.epoch.0,
        "after": date(doomed.after),
        "left": names(targets),
        "replaced_by": doomed.replaced_by.as_deref(),
    };
    if let Some((timeline, first, last)) = doomed.segment {
        fields.extend(doc! { "timeline": timeline.0, "first": first.0, "last": last.0 });
    }
    let filter = doc! { "_id": key(&leadership.department, &doomed.path) };
    Bson::Document(doc! { "q": filter, "u": { "$setOnInsert": fields }, "upsert": true })
}

fn read_doomed(document: &Document) -> Result<Doomed, StoreError> {
    let fields = Fields::of("condemned", document);
    let segment = match fields.opt("timeline", Fields::int)? {
        Some(timeline) => Some((Timeline(timeline), Sequence(fields.int("first")?), Sequence(fields.int("last")?))),
        None => None,
    };
    Ok(Doomed {
        path: fields.sub("_id")?.owned("name")?,
        after: fields.time("after")?,
        segment,
        replaced_by: fields.opt("replaced_by", Fields::owned)?,
    })
}
