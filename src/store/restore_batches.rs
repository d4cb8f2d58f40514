//! The `restore_batches` collection: what each range of a restore did, and the transaction that does it.
//!
//! Rule: the writes of a range, its record here and the checkpoint in the restore commit together, under the fence; a
//! range that has been committed is never applied again.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, RawArrayBuf, RawBson, RawDocumentBuf, cstr, doc, rawdoc};
use mongodb::{Collection, Database};

use super::StoreError;
use super::documents::names::Named as _;
use super::documents::restores::{read_restore, restore_key};
use super::documents::users::{read_user, rev_bits, user_document};
use super::documents::{Fields, long};
use super::error::read;
use super::txn::Txn;
use crate::domain::department::DepartmentState;
use crate::domain::epoch::Leadership;
use crate::domain::ids::{RestoreId, UserId};
use crate::domain::range::{Decision, Range, Write};
use crate::domain::restore::{Conflict, RestoreState};
use crate::domain::user::{Rev, User};

const COLLECTION: &str = "restore_batches";
/// How often a range is read anew because somebody else wrote one of its ids or names in between.
const READS_MAX: u32 = 10;
/// Most writes of one command.
const COMMAND_RECORDS: usize = 1000;

/// The `restore_batches` collection.
#[derive(Debug, Clone)]
pub struct RestoreBatches {
    database: Database,
    pub(super) batches: Collection<Document>,
}

/// What became of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Its writes and the checkpoint are committed.
    Committed,
    /// Somebody asked to stop the restore; nothing was written.
    Cancelled,
    /// The department was deleted, so it takes no users; nothing was written.
    DepartmentDeleted,
}

impl RestoreBatches {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), batches: database.collection(COLLECTION) }
    }

    pub(super) const fn database(&self) -> &Database {
        &self.database
    }

    /// Applies a range: reads the holders of its ids and names, writes what is to be written, records it and moves the
    /// checkpoint, in one fenced transaction.
    ///
    /// # Errors
    /// `Fenced`; `Stale` when the checkpoint is not where the range begins: read the restore again.
    pub async fn apply(&self, leadership: &Leadership, range: &Range) -> Result<Applied, StoreError> {
        // Most restores create; then the unique indexes check what a read would.
        let mut blind = range.only_creates();
        let mut reads = 0;
        loop {
            match self.try_apply(leadership, range, blind).await {
                Err(StoreError::Taken(_)) if reads < READS_MAX => {
                    blind = false;
                    reads += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_apply(&self, leadership: &Leadership, range: &Range, blind: bool) -> Result<Applied, StoreError> {
        let mut txn = Txn::fenced(&self.database, leadership).await?;
        loop {
            let outcome = self.body(&mut txn, leadership, range, blind).await;
            if let Some(applied) = txn.finish(outcome).await? {
                return Ok(applied);
            }
        }
    }

    async fn body(
        &self,
        txn: &mut Txn,
        leadership: &Leadership,
        range: &Range,
        blind: bool,
    ) -> Result<Applied, StoreError> {
        let key = restore_key(&range.department, &range.restore);
        let found = txn.find("restores", doc! { "_id": key.clone() }).await?;
        let restore = found.first().map(read_restore).transpose()?.ok_or(StoreError::Stale)?;
        if restore.state != RestoreState::Applying || restore.progress.batches != range.number {
            return Err(StoreError::Stale);
        }
        if restore.cancel_requested {
            return Ok(Applied::Cancelled);
        }
        let active = doc! { "_id": range.department.as_str(), "state": DepartmentState::Active.name() };
        if txn.find("departments", active).await?.is_empty() {
            return Ok(Applied::DepartmentDeleted);
        }
        let decision = if blind {
            range.decide_blind()
        } else {
            let live = live_records(txn, range).await?;
            let names = holders(txn, range).await?;
            range.decide(&live, names)
        };
        write_all(txn, range, &decision.writes).await?;
        let batch = batch_document(leadership, range, &decision);
        txn.run_raw(rawdoc! { "insert": COLLECTION, "documents": [batch] }).await?;
        let set = doc! {
            "progress.pass": range.pass.name(),
            "progress.key": range.key.as_ref().map(UserId::as_str),
            "fence": leadership.epoch.0,
        };
        let add = doc! {
            "progress.batches": 1_i64,
            "progress.changes_done": long(range.done),
            "progress.changes_applied": long(decision.written()),
            "progress.conflicts": long(decision.conflicts.len() as u64),
        };
        txn.set("restores", doc! { "_id": key }, doc! { "$set": set, "$inc": add }).await?;
        Ok(Applied::Committed)
    }

    /// Conflicts of a restore after the `skip`-th, in the order in which they were met.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn conflicts(&self, restore: &RestoreId, skip: u64, limit: usize) -> Result<Vec<Conflict>, StoreError> {
        let pipeline = [
            doc! { "$match": { "_id.restore": restore.as_str() } },
            doc! { "$sort": { "_id.restore": 1, "_id.batch": 1 } },
            doc! { "$project": { "conflicts": 1 } },
            doc! { "$unwind": "$conflicts" },
            doc! { "$skip": long(skip) },
            doc! { "$limit": long(limit as u64) },
            doc! { "$replaceWith": "$conflicts" },
        ];
        let found: Vec<Document> = read(async { self.batches.aggregate(pipeline).await?.try_collect().await }).await?;
        found.iter().map(read_conflict).collect()
    }
}

/// The live records of a range's ids, in any department.
async fn live_records(txn: &mut Txn, range: &Range) -> Result<HashMap<UserId, User>, StoreError> {
    let ids = range.ids();
    let found = txn.find("users", doc! { "_id.id": { "$in": ids } }).await?;
    let mut live = HashMap::with_capacity(found.len());
    for document in found {
        let raw = RawDocumentBuf::try_from(&document)
            .map_err(|error| StoreError::Corrupt { collection: "users", reason: error.to_string() })?;
        let user = read_user(&raw)?;
        live.insert(user.id.clone(), user);
    }
    Ok(live)
}

/// Who holds the names that a range wants to give.
async fn holders(txn: &mut Txn, range: &Range) -> Result<HashMap<String, UserId>, StoreError> {
    let names = range.names();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let filter = doc! { "_id.department": range.department.as_str(), "name": { "$in": names } };
    let mut holders = HashMap::new();
    for document in txn.find("users", filter).await? {
        let fields = Fields::of("users", &document);
        holders.insert(fields.owned("name")?, fields.sub("_id")?.parsed("id")?);
    }
    Ok(holders)
}

/// Writes in order; neighbours of one kind share a command, which a long circle fills more than once.
async fn write_all(txn: &mut Txn, range: &Range, writes: &[Write]) -> Result<(), StoreError> {
    let same_kind = |a: &Write, b: &Write| std::mem::discriminant(a) == std::mem::discriminant(b);
    for run in writes.chunk_by(same_kind).flat_map(|run| run.chunks(COMMAND_RECORDS)) {
        let mut statements = RawArrayBuf::new();
        for write in run {
            statements.push(statement(range, write));
        }
        let command = match run.first() {
            Some(Write::Insert(_)) => rawdoc! { "insert": "users", "documents": statements },
            Some(Write::Replace { .. }) => rawdoc! { "update": "users", "updates": statements },
            _ => rawdoc! { "delete": "users", "deletes": statements },
        };
        let reply = txn.run_raw(command).await?;
        // The guards were read in this very snapshot, so all of them hold or the transaction conflicts.
        if reply.get_i32("n").ok().and_then(|n| usize::try_from(n).ok()) != Some(run.len()) {
            return Err(StoreError::Stale);
        }
    }
    Ok(())
}

/// Encoded at once: a restore writes millions of them.
fn statement(range: &Range, write: &Write) -> RawDocumentBuf {
    let department = range.department.as_str();
    let guarded = |id: &UserId, guard| {
        rawdoc! { "_id": { "department": department, "id": id.as_str() }, "rev": rev_bits(guard) }
    };
    match write {
        Write::Insert(user) => user_document(user),
        Write::Replace { user, guard } => rawdoc! { "q": guarded(&user.id, *guard), "u": user_document(user) },
        Write::Delete { id, guard } => rawdoc! { "q": guarded(id, *guard), "limit": 1 },
    }
}

/// What the range did: ids with the revs before and after, and what the plan did not know, which is what an undo needs.
fn batch_document(leadership: &Leadership, range: &Range, decision: &Decision) -> RawDocumentBuf {
    let bits = |rev: Option<Rev>| rev.map_or(RawBson::Null, |rev| RawBson::Int64(rev_bits(rev)));
    // What no plan and no safety backup knows: the first value of each, since a circle may write a record twice.
    let mut overwritten: HashMap<&UserId, &User> = decision.overwritten.iter().map(|user| (&user.id, user)).collect();
    let mut records = RawArrayBuf::new();
    for write in &decision.writes {
        let (id, before, after) = match write {
            Write::Insert(user) => (&user.id, None, Some(user.rev)),
            Write::Replace { user, guard } => (&user.id, Some(*guard), Some(user.rev)),
            Write::Delete { id, guard } => (id, Some(*guard), None),
        };
        let mut record = rawdoc! { "id": id.as_str(), "before": bits(before), "after": bits(after) };
        if let Some(value) = overwritten.remove(id) {
            record.append(cstr!("value"), user_document(value));
        }
        records.push(record);
    }
    let mut conflicts = RawArrayBuf::new();
    for conflict in &decision.conflicts {
        conflicts.push(conflict_document(conflict));
    }
    rawdoc! {
        "_id": {
            "department": range.department.as_str(),
            "restore": range.restore.as_str(),
            "batch": long(range.number),
        },
        "epoch": leadership.epoch.0,
        "records": records,
        "conflicts": conflicts,
    }
}

fn conflict_document(conflict: &Conflict) -> RawDocumentBuf {
    rawdoc! {
        "user_id": conflict.user_id.as_str(),
        "action": conflict.action.name(),
        "cause": conflict.cause.name(),
        "overwritten": conflict.overwritten,
    }
}

fn read_conflict(document: &Document) -> Result<Conflict, StoreError> {
    let fields = Fields::of(COLLECTION, document);
    Ok(Conflict {
        user_id: fields.parsed("user_id")?,
        action: fields.named("action")?,
        cause: fields.named("cause")?,
        overwritten: document.get("overwritten").and_then(Bson::as_bool).unwrap_or(false),
    })
}
