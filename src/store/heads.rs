//! The `heads` collection: how far the history of each department goes, moved by compare-and-set.

use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::{ReturnDocument, UpdateModifications};
use mongodb::{Collection, Database};

use super::StoreError;
use super::documents::damage::damage_array;
use super::documents::heads::{
    drift_document, fresh_head, journal_array, place_document, position_document, read_head, source_document,
};
use super::documents::{cluster_time_of, date, opt_date, timestamp};
use super::error::{read, write};
use super::fences::exact_epoch;
use crate::domain::clock::Timestamp;
use crate::domain::damage::JournalDamage;
use crate::domain::drift::Drift;
use crate::domain::epoch::{Epoch, Leadership};
use crate::domain::history::{Chain, ClusterTime, Head, JournalCopy, Position, Source};
use crate::domain::ids::DepartmentName;
use crate::domain::window::Place;

/// The `heads` collection.
#[derive(Debug, Clone)]
pub struct Heads {
    database: Database,
    pub(super) heads: Collection<Document>,
}

/// The present cluster time. Whatever begins after this call has a later one.
pub(super) async fn cluster_time_now(database: &Database) -> Result<ClusterTime, StoreError> {
    let reply = read(database.run_command(doc! { "ping": 1 })).await?;
    let stamp = reply.get_document("$clusterTime").and_then(|time| time.get_timestamp("clusterTime"));
    stamp.map(cluster_time_of).map_err(|_| StoreError::Unsupported(super::NOT_A_REPLICA_SET.to_owned()))
}

impl Heads {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), heads: database.collection("heads") }
    }

    /// The head of a department.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self, department: &DepartmentName) -> Result<Option<Head>, StoreError> {
        let found = read(self.heads.find_one(doc! { "_id": department.as_str() })).await?;
        found.as_ref().map(read_head).transpose()
    }

    /// Changes the head, if it still has this epoch.
    pub(super) async fn update(
        &self,
        leadership: &Leadership,
        update: impl Into<UpdateModifications>,
    ) -> Result<(), StoreError> {
        let filter = exact_epoch(doc! { "_id": leadership.department.as_str() }, leadership);
        let done = write(self.heads.update_one(filter, update)).await?;
        if done.matched_count == 0 { Err(StoreError::Fenced(leadership.epoch)) } else { Ok(()) }
    }

    /// The same, and returns the new head.
    pub(super) async fn updated(
        &self,
        leadership: &Leadership,
        update: impl Into<UpdateModifications>,
    ) -> Result<Head, StoreError> {
        let filter = exact_epoch(doc! { "_id": leadership.department.as_str() }, leadership);
        let moved = self.heads.find_one_and_update(filter, update).return_document(ReturnDocument::After);
        match write(moved).await? {
            Some(head) => read_head(&head),
            None => Err(StoreError::Fenced(leadership.epoch)),
        }
    }

    /// Raises the head's epoch and reads it, in one command, with the epoch that it had before. Makes the head (timeline 1,
    /// sequence 0, at the present cluster time) where there is none.
    ///
    /// # Errors
    /// `Fenced` when the head carries a higher epoch.
    pub async fn take(&self, leadership: &Leadership, source: &Source) -> Result<(Head, Epoch), StoreError> {
        let at = cluster_time_now(&self.database).await?;
        let mut filter = doc! { "_id": leadership.department.as_str() };
        if !cfg!(feature = "unfenced") {
            filter.insert("epoch", doc! { "$lte": leadership.epoch.0 });
        }
        let update = doc! { "$set": { "epoch": leadership.epoch.0 }, "$setOnInsert": fresh_head(source, at) };
        let take = self.heads.find_one_and_update(filter, update).upsert(true).return_document(ReturnDocument::Before);
        match write(take).await {
            Ok(Some(head)) => {
                let mut head = read_head(&head)?;
                let before = std::mem::replace(&mut head.epoch, leadership.epoch);
                Ok((head, before))
            }
            Ok(None) => match self.get(&leadership.department).await? {
                Some(head) if head.epoch == leadership.epoch => Ok((head, Epoch(0))),
                _ => Err(StoreError::Fenced(leadership.epoch)),
            },
            // The upsert found a head that the filter did not: it carries a higher epoch.
            Err(StoreError::Taken(_)) => Err(StoreError::Fenced(leadership.epoch)),
            Err(error) => Err(error),
        }
    }

    /// Moves the head to a position if it still has this epoch and chain, and records how far each target holds the
    /// journal, and since when more is waiting.
    ///
    /// # Errors
    /// `Fenced` when it has not.
    pub async fn advance(
        &self,
        leadership: &Leadership,
        from: &Chain,
        (to, behind_since): (&Position, Option<Timestamp>),
        journal: &[JournalCopy],
    ) -> Result<(), StoreError> {
        let filter = doc! { "_id": leadership.department.as_str(), "chain": super::documents::binary(&from.0) };
        let mut set = position_document(to);
        set.insert("journal", journal_array(journal));
        set.insert("behind_since", opt_date(behind_since));
        let update = doc! { "$set": set };
        let done = write(self.heads.update_one(exact_epoch(filter, leadership), update)).await?;
        if done.matched_count > 0 {
            return Ok(());
        }
        // Our own move, whose answer was lost, or another leader.
        let head = self.get(&leadership.department).await?;
        let moved = head.is_some_and(|head| head.epoch == leadership.epoch && head.position == *to);
        if moved { Ok(()) } else { Err(StoreError::Fenced(leadership.epoch)) }
    }

    /// Records how far each target holds the journal, if the head still has this epoch.
    ///
    /// # Errors
    /// `Fenced` when it has not.
    pub async fn set_journal(&self, leadership: &Leadership, journal: &[JournalCopy]) -> Result<(), StoreError> {
        self.update(leadership, doc! { "$set": doc! { "journal": journal_array(journal) } }).await
    }

    /// Goes on at the present cluster time, with a source that had no users when its gap was recorded. Returns the new head.
    ///
    /// # Errors
    /// `Fenced` when the head carries another epoch.
    pub async fn settle(&self, leadership: &Leadership, source: &Source) -> Result<Head, StoreError> {
        let at = cluster_time_now(&self.database).await?;
        let update = doc! {
            "$set": { "source": source_document(source), "cluster_time": timestamp(at), "token": Bson::Null },
            "$max": { "time": DateTime::from_millis(i64::from(at.seconds) * 1000) },
        };
        self.updated(leadership, update).await
    }

    /// Moves the beginning of the whole history, if the head still has this epoch. Nothing before it is offered any more.
    ///
    /// # Errors
    /// `Fenced` when it has not.
    pub async fn set_begin(&self, leadership: &Leadership, begin: Place) -> Result<(), StoreError> {
        self.update(leadership, doc! { "$set": doc! { "begin": place_document(begin) } }).await
    }

    /// Records since when captured changes wait for the write quorum, if the head still has this epoch.
    ///
    /// # Errors
    /// `Fenced` when it has not.
    pub async fn set_behind(&self, leadership: &Leadership, since: Timestamp) -> Result<(), StoreError> {
        self.update(leadership, doc! { "$set": doc! { "behind_since": date(since) } }).await
    }

    /// Records what a comparison with the live records found, if the head still has this epoch.
    ///
    /// # Errors
    /// `Fenced` when it has not.
    pub async fn set_drift(&self, leadership: &Leadership, drift: &Drift) -> Result<(), StoreError> {
        self.update(leadership, doc! { "$set": doc! { "drift": drift_document(drift) } }).await
    }

    /// Records where the journal breaks on targets, if the head still has this epoch.
    ///
    /// # Errors
    /// `Fenced` when it has not.
    pub async fn set_damage(&self, leadership: &Leadership, damage: &[JournalDamage]) -> Result<(), StoreError> {
        self.update(leadership, doc! { "$set": doc! { "damage": damage_array(damage) } }).await
    }

    /// Starts a new timeline at the present cluster time after a break of the stream; records the gap with its cause.
    /// Sequence and chain go on. Returns the new head.
    ///
    /// # Errors
    /// `Fenced` when the head carries another epoch.
    pub async fn rebase(
        &self,
        leadership: &Leadership,
        source: &Source,
        cause: &str,
        now: Timestamp,
    ) -> Result<Head, StoreError> {
        let at = cluster_time_now(&self.database).await?;
        let gap = doc! { "timeline": "$timeline", "after": "$sequence", "time": "$time", "found_at": date(now), "cause": { "$literal": cause } };
        let update = vec![doc! { "$set": {
            "timeline": { "$add": ["$timeline", 1_i64] },
            "source": { "$literal": source_document(source) },
            "time": { "$max": ["$time", DateTime::from_millis(i64::from(at.seconds) * 1000)] },
            "cluster_time": timestamp(at),
            "token": Bson::Null,
            "gaps": { "$concatArrays": ["$gaps", [gap]] },
        } }];
        self.updated(leadership, update).await
    }
}
