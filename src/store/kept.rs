//! What retention needs of the `backups` and `restores` collections: which backups there are, who needs them, and what they
//! need; and their deletion.
//!
//! Rule: a hold, and a restore that is open, count at the moment of the drop: it is compared in the same transaction.

use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::{Collection, Database};

use super::StoreError;
use super::documents::backups::backup_key;
use super::documents::{Fields, cause as cause_document, date};
use super::error::{LONG_READ_WITHIN, read, read_within, write};
use super::fences::not_above;
use super::heads::Heads;
use super::pins::{self, OPEN, Pins, Seen};
use super::txn::Txn;
use crate::domain::cause::Cause;
use crate::domain::clock::Timestamp;
use crate::domain::epoch::Leadership;
use crate::domain::history::{Sequence, Timeline};
use crate::domain::ids::{BackupId, DepartmentName, TargetName};
use crate::domain::retention::{Pin, Point};
use crate::domain::window::Place;

/// Backups as retention sees them.
#[derive(Debug, Clone)]
pub struct Kept {
    pub(super) database: Database,
    pub(super) backups: Collection<Document>,
    restores: Collection<Document>,
}

/// The names of targets as stored.
pub(super) fn names(targets: &[TargetName]) -> Vec<&str> {
    targets.iter().map(TargetName::as_str).collect()
}

impl Kept {
    pub(super) fn new(database: &Database) -> Self {
        Self {
            database: database.clone(),
            backups: database.collection("backups"),
            restores: database.collection("restores"),
        }
    }

    /// The complete backups of a department, who needs each, and the department's present time: a clock that went ahead
    /// alone does not make it later. A restore that has ended can be undone for so long.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn points(
        &self,
        department: &DepartmentName,
        undo_lifetime: Duration,
        clock: Timestamp,
    ) -> Result<Points, StoreError> {
        let filter = doc! { "_id.department": department.as_str(), "state": "complete" };
        let fields = doc! {
            "content.timeline": 1, "content.sequence": 1, "content.taken_at": 1, "finished_at": 1, "held.at": 1,
            "unwanted.at": 1,
        };
        let find = self.backups.find(filter).projection(fields);
        let found: Vec<Document> = read_within(LONG_READ_WITHIN, async { find.await?.try_collect().await }).await?;
        let mut points = found.iter().map(read_point).collect::<Result<Vec<_>, _>>()?;
        let head = Heads::new(&self.database).get(department).await?;
        let time = head.as_ref().map(|head| head.position.time);
        let latest = points.iter().map(|point| point.taken_at).chain(time).max();
        let now = latest.map_or(clock, |latest| latest.min(clock));
        let pins = self.pins(department, undo_lifetime, clock).await?;
        for point in &mut points {
            point.pinned_by = pins.backups.get(point.id.as_str()).cloned();
        }
        pin_begin(&mut points, head.and_then(|head| head.begin));
        let from_beginning = pins.beginnings.contains(department.as_str());
        Ok(Points { points, now, from_beginning })
    }

    /// What restores need: what open ones of any department read, and the undo points of those of this department that
    /// can still be undone.
    async fn pins(
        &self,
        department: &DepartmentName,
        undo_lifetime: Duration,
        clock: Timestamp,
    ) -> Result<Pins, StoreError> {
        let since = date(clock.earlier_by(undo_lifetime));
        let ended = doc! { "_id.department": department.as_str(), "finished_at": { "$gte": since } };
        let filter = doc! { "$or": [{ "state": { "$in": OPEN.as_slice() } }, ended] };
        let find = self.restores.find(filter).projection(pins::fields());
        let found: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        Pins::of(Seen::Now(&self.database), &found, undo_lifetime).await
    }

    /// The restore that needs a backup.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn pin_of(
        &self,
        (department, id): (&DepartmentName, &BackupId),
        undo_lifetime: Duration,
        clock: Timestamp,
    ) -> Result<Option<Pin>, StoreError> {
        Ok(self.pins(department, undo_lifetime, clock).await?.backups.remove(id.as_str()))
    }

    /// Makes complete backups deleted, each with its cause, unless somebody holds them or an open restore needs them now.
    /// Every target has to hear of it.
    ///
    /// # Errors
    /// `Fenced`.
    pub async fn drop(
        &self,
        leadership: &Leadership,
        backups: &[(BackupId, Cause)],
        targets: &[TargetName],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut txn = Txn::fenced(&self.database, leadership).await?;
        loop {
            let outcome = drop_all(&mut txn, leadership, backups, targets, now).await;
            if let Some(()) = txn.finish(outcome).await? {
                return Ok(());
            }
        }
    }

    /// Makes failed and cancelled backups deleted that ended before a moment, or that somebody asked to delete. Targets hear
    /// of it like of the others: an attempt may have told some of them that it was complete.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn drop_failed(
        &self,
        leadership: &Leadership,
        before: Timestamp,
        targets: &[TargetName],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let filter = doc! {
            "_id.department": leadership.department.as_str(),
            "state": { "$in": ["failed", "cancelled"] },
            "$or": [{ "finished_at": { "$lt": date(before) } }, { "unwanted": { "$exists": true } }],
        };
        let set = doc! {
            "state": "deleted",
            "deleted_at": date(now),
            "untold": names(targets),
            "fence": leadership.epoch.0,
        };
        let update = doc! { "$set": set, "$inc": { "revision": 1_i64 } };
        write(self.backups.update_many(not_above(filter, leadership), update)).await.map(drop)
    }

    /// Snapshots that the complete backups of a department begin with, each with the ranges of the journal that they need
    /// on top of it, as (timeline, after, through).
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn needs(&self, department: &DepartmentName) -> Result<Vec<Need>, StoreError> {
        let filter = doc! { "_id.department": department.as_str(), "state": "complete" };
        let fields = doc! { "content.timeline": 1, "content.sequence": 1, "content.base": 1 };
        let find = self.backups.find(filter).projection(fields);
        let found: Vec<Document> = read_within(LONG_READ_WITHIN, async { find.await?.try_collect().await }).await?;
        let each = |document: &Document| {
            let fields = Fields::of("backups", document);
            let (id, content) = (fields.sub("_id")?.parsed("id")?, fields.sub("content")?);
            let base = content.sub("base")?;
            Ok(Need {
                id,
                timeline: Timeline(content.int("timeline")?),
                snapshot: base.owned("snapshot")?,
                base: Sequence(base.int("sequence")?),
                base_time: base.time("taken_at")?,
                through: Sequence(content.int("sequence")?),
            })
        };
        found.iter().map(each).collect()
    }
}

/// What retention decides on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Points {
    /// The complete backups of a department.
    pub points: Vec<Point>,
    /// The department's present time.
    pub now: Timestamp,
    /// Whether an open restore reads the journal from the empty beginning.
    pub from_beginning: bool,
}

/// What one complete backup needs on the targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The backup.
    pub id: BackupId,
    /// Its line of history.
    pub timeline: Timeline,
    /// Path of the manifest of its snapshot.
    pub snapshot: String,
    /// The sequence of its snapshot: it needs the journal after that …
    pub base: Sequence,
    /// The department's time at that sequence.
    pub base_time: Timestamp,
    /// … through this one.
    pub through: Sequence,
}

/// A restore that reads from before the beginning of the whole history also reads on from there, so the backup that the
/// beginning stands on is needed too, and what lies in between tells what was last known of users that are gone.
fn pin_begin(points: &mut [Point], begin: Option<Place>) {
    let Some(begin) = begin.map(|begin| (begin.timeline, begin.sequence)) else { return };
    let place = |point: &Point| (point.timeline, point.sequence);
    let open = |point: &Point| point.pinned_by.clone().filter(Pin::is_open);
    let pinned = points.iter().filter(|point| place(point) < begin && open(point).is_some()).min_by_key(|it| place(it));
    if let Some((first, pin)) = pinned.and_then(|point| Some((place(point), open(point)?))) {
        for point in points.iter_mut().filter(|point| (first..=begin).contains(&place(point))) {
            if open(point).is_none() {
                point.pinned_by = Some(pin.clone());
            }
        }
    }
}

fn read_point(document: &Document) -> Result<Point, StoreError> {
    let fields = Fields::of("backups", document);
    let content = fields.sub("content")?;
    Ok(Point {
        id: fields.sub("_id")?.parsed("id")?,
        timeline: Timeline(content.int("timeline")?),
        sequence: Sequence(content.int("sequence")?),
        taken_at: content.time("taken_at")?,
        finished_at: fields.time("finished_at")?,
        held: document.contains_key("held"),
        unwanted: document.contains_key("unwanted"),
        pinned_by: None,
    })
}

async fn drop_all(
    txn: &mut Txn,
    leadership: &Leadership,
    backups: &[(BackupId, Cause)],
    targets: &[TargetName],
    now: Timestamp,
) -> Result<(), StoreError> {
    let open = txn.find("restores", doc! { "state": { "$in": OPEN.as_slice() } }).await?;
    let pinned = Pins::of(Seen::In(txn), &open, Duration::ZERO).await?.backups;
    let free = backups.iter().filter(|(id, _)| !pinned.contains_key(id.as_str()));
    let updates: Vec<Bson> = free
        .map(|(id, cause)| {
            let filter = doc! {
                "_id": backup_key(&leadership.department, id),
                "state": "complete",
                "held": { "$exists": false },
            };
            let set = doc! {
                "state": "deleted",
                "cause": cause_document(Some(cause)),
                "deleted_at": date(now),
                "untold": names(targets),
                "fence": leadership.epoch.0,
            };
            Bson::Document(doc! { "q": filter, "u": { "$set": set, "$inc": { "revision": 1_i64 } } })
        })
        .collect();
    if updates.is_empty() {
        return Ok(());
    }
    txn.run(doc! { "update": "backups", "updates": updates }).await.map(drop)
}
