//! Writes a database anew from what targets tell.
//!
//! Rule: the record `rebuild` among the migrations stands from before the first write to after the last; no replica
//! starts on a database that has it, so nothing leads and nothing is half.

use mongodb::bson::{Bson, Document, doc};

use super::documents::backups::backup_document;
use super::documents::departments::department_document;
use super::documents::heads::{fresh_head, gap_document, journal_array, place_document};
use super::documents::{binary, date};
use super::error::{read, write};
use super::heads::cluster_time_now;
use super::migrate::{Lock, REBUILD};
use super::{Store, StoreError};
use crate::domain::backup::Backup;
use crate::domain::clock::Timestamp;
use crate::domain::department::Department;
use crate::domain::epoch::Epoch;
use crate::domain::history::{Chain, Gap, JournalCopy, Sequence, Timeline};
use crate::domain::window::Place;

/// What must be empty.
const COLLECTIONS: [&str; 7] = ["users", "departments", "heads", "backups", "restores", "repository", "fences"];

/// What became of the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The database was empty.
    Fresh,
    /// A rebuild by the same plan goes on.
    Continued,
    /// A rebuild by another plan was broken off here.
    OtherPlan,
    /// The database holds something; its name.
    Occupied(String),
}

/// Where the history of a rebuilt department goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltHead {
    /// Above every epoch that the targets show.
    pub epoch: Epoch,
    /// A new one.
    pub timeline: Timeline,
    /// The last sequence.
    pub sequence: Sequence,
    /// The chain to go on from.
    pub chain: Chain,
    /// The department's time at that point.
    pub time: Timestamp,
    /// Number of users.
    pub balance: i64,
    /// The earliest place from which the journal is whole.
    pub begin: Option<Place>,
    /// Where each timeline before it ends.
    pub gaps: Vec<Gap>,
    /// The targets that hold the journal up to there.
    pub journal: Vec<JournalCopy>,
}

impl Store {
    /// Begins a rebuild of an empty database: marks it and applies the migrations.
    ///
    /// # Errors
    /// As `Store::migrate`.
    pub async fn begin_rebuild(&self, plan: &str, now: Timestamp) -> Result<Begun, StoreError> {
        let lock = Lock::take(&self.database).await?;
        let outcome = self.begin_locked(&lock, plan, now).await;
        lock.free().await;
        outcome
    }

    async fn begin_locked(&self, lock: &Lock, plan: &str, now: Timestamp) -> Result<Begun, StoreError> {
        let migrations = self.database.collection::<Document>("migrations");
        let found = read(migrations.find_one(doc! { "_id": REBUILD })).await?;
        let begun = match found {
            Some(marker) if marker.get_str("plan").is_ok_and(|known| known == plan) => Begun::Continued,
            Some(_) => return Ok(Begun::OtherPlan),
            None => {
                for name in COLLECTIONS {
                    let collection = self.database.collection::<Document>(name);
                    if read(collection.find_one(doc! {}).projection(doc! { "_id": 1 })).await?.is_some() {
                        return Ok(Begun::Occupied(name.to_owned()));
                    }
                }
                write(migrations.insert_one(doc! { "_id": REBUILD, "plan": plan, "begun_at": date(now) })).await?;
                Begun::Fresh
            }
        };
        self.apply_all(lock, now, true).await?;
        Ok(begun)
    }

    /// Writes backups as they are; those that are there already stay.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn rebuild_backups(&self, backups: &[(Backup, Epoch)]) -> Result<(), StoreError> {
        for (backup, fence) in backups {
            let document = backup_document(backup, *fence);
            let key = document.get_document("_id").cloned().unwrap_or_default();
            let collection = self.database.collection::<Document>("backups");
            write(collection.replace_one(doc! { "_id": key }, document).upsert(true)).await?;
        }
        Ok(())
    }

    /// Writes a department with its fence and its head, which goes on from the present cluster time: after its users.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn rebuild_department(&self, department: &Department, head: &RebuiltHead) -> Result<(), StoreError> {
        let at = cluster_time_now(&self.database).await?;
        let mut document = fresh_head(&self.source().await?, at);
        let time = head.time.max(Timestamp::from_millis(i64::from(at.seconds) * 1000));
        let gaps = head.gaps.iter().map(|gap| Bson::Document(gap_document(gap)));
        document.insert("epoch", head.epoch.0);
        document.insert("timeline", head.timeline.0);
        document.insert("sequence", head.sequence.0);
        document.insert("chain", binary(&head.chain.0));
        document.insert("time", date(time));
        document.insert("balance", head.balance);
        document.insert("gaps", gaps.collect::<Vec<Bson>>());
        document.insert("begin", head.begin.map_or(Bson::Null, |place| Bson::Document(place_document(place))));
        document.insert("journal", journal_array(&head.journal));
        let fence = doc! {
            "epoch": head.epoch.0, "zxid": 0_i64, "owner": "vault", "claim": "vault", "ops": 0_i64,
        };
        let key = doc! { "_id": department.name.as_str() };
        for (name, document) in
            [("fences", fence), ("heads", document), ("departments", department_document(department))]
        {
            let collection = self.database.collection::<Document>(name);
            write(collection.replace_one(key.clone(), document).upsert(true)).await?;
        }
        Ok(())
    }

    /// Ends a rebuild: replicas may start.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn end_rebuild(&self) -> Result<(), StoreError> {
        let migrations = self.database.collection::<Document>("migrations");
        write(migrations.delete_one(doc! { "_id": REBUILD })).await.map(drop)
    }
}
