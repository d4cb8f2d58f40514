//! The backups document.

use mongodb::bson::{Bson, Document, doc};

use super::names::Named;
use super::{Fields, binary, cause, cause_of, date, executor, executor_of, long, opt_date, timestamp};
use crate::domain::backup::{Backup, BackupContent, BackupProgress, Base, Wish};
use crate::domain::copies::Copy;
use crate::domain::epoch::Epoch;
use crate::domain::history::{Chain, Sequence, Timeline};
use crate::domain::ids::{BackupId, DepartmentName};
use crate::store::StoreError;

/// The `_id` of a backup.
pub(in crate::store) fn backup_key(department: &DepartmentName, id: &BackupId) -> Document {
    doc! { "department": department.as_str(), "id": id.as_str() }
}

/// A backup as stored; `fence` is the epoch of the leader that writes it, 0 for a wish.
pub(in crate::store) fn backup_document(backup: &Backup, fence: Epoch) -> Document {
    doc! {
        "_id": backup_key(&backup.department, &backup.id),
        "fence": fence.0,
        "kind": backup.kind.name(),
        "state": backup.state.name(),
        "cause": cause(backup.cause.as_ref()),
        "requested_by": backup.requested_by.as_deref(),
        "requested_at": date(backup.requested_at),
        "slot": opt_date(backup.slot),
        "restore_id": backup.restore_id.as_ref().map(ToString::to_string),
        "executed_by": backup.executed_by.as_ref().map(executor),
        "attempt": i64::from(backup.attempt),
        "started_at": opt_date(backup.started_at),
        "finished_at": opt_date(backup.finished_at),
        "progress": progress_document(backup.progress),
        "content": backup.content.as_ref().map(content_document),
        "copies": copies_array(&backup.copies),
        "marker": Bson::Null,
        "revision": i64::from(backup.revision),
    }
}

/// How far an attempt has come.
pub(in crate::store) fn progress_document(progress: BackupProgress) -> Document {
    doc! {
        "records_done": long(progress.records_done),
        "records_total": long(progress.records_total),
        "bytes_done": long(progress.bytes_done),
    }
}

/// What a complete backup holds.
pub(in crate::store) fn content_document(content: &BackupContent) -> Document {
    doc! {
        "timeline": content.timeline.0,
        "sequence": content.sequence.0,
        "chain": binary(&content.chain.0),
        "taken_at": date(content.taken_at),
        "cluster_time": timestamp(content.cluster_time),
        "records": long(content.records),
        "balance": content.balance,
        "base": base_document(&content.base),
        "unchanged": content.unchanged,
    }
}

/// The snapshot that something begins with.
pub(super) fn base_document(base: &Base) -> Document {
    doc! {
        "snapshot": &base.snapshot,
        "sequence": base.sequence.0,
        "taken_at": date(base.taken_at),
        "records": long(base.records),
        "bytes": long(base.bytes),
        "root": &base.root,
    }
}

/// Reads the snapshot that something begins with.
pub(super) fn read_base(fields: &Fields<'_>, field: &str) -> Result<Base, StoreError> {
    let base = fields.sub(field)?;
    Ok(Base {
        snapshot: base.owned("snapshot")?,
        sequence: Sequence(base.int("sequence")?),
        taken_at: base.time("taken_at")?,
        records: base.count("records")?,
        bytes: base.count("bytes")?,
        root: base.owned("root")?,
    })
}

/// The copies of a backup.
pub(in crate::store) fn copies_array(copies: &[Copy]) -> Bson {
    let each = |copy: &Copy| {
        Bson::Document(doc! {
            "target": copy.target.as_str(),
            "state": copy.state.name(),
            "verified_at": opt_date(copy.verified_at),
            "cause": cause(copy.cause.as_ref()),
        })
    };
    Bson::Array(copies.iter().map(each).collect())
}

/// Reads a backup.
pub(in crate::store) fn read_backup(document: &Document) -> Result<Backup, StoreError> {
    let fields = Fields::of("backups", document);
    let key = fields.sub("_id")?;
    let progress = fields.sub("progress")?;
    Ok(Backup {
        id: key.parsed("id")?,
        department: key.parsed("department")?,
        kind: fields.named("kind")?,
        state: fields.named("state")?,
        cause: fields.opt("cause", cause_of)?,
        requested_by: fields.opt("requested_by", Fields::owned)?,
        requested_at: fields.time("requested_at")?,
        slot: fields.opt("slot", Fields::time)?,
        restore_id: fields.opt("restore_id", Fields::parsed)?,
        executed_by: fields.opt("executed_by", executor_of)?,
        attempt: u32::try_from(fields.count("attempt")?).unwrap_or(u32::MAX),
        started_at: fields.opt("started_at", Fields::time)?,
        finished_at: fields.opt("finished_at", Fields::time)?,
        progress: BackupProgress {
            records_done: progress.count("records_done")?,
            records_total: progress.count("records_total")?,
            bytes_done: progress.count("bytes_done")?,
        },
        content: fields.opt("content", read_content)?,
        held: fields.opt("held", read_wish)?,
        unwanted: fields.opt("unwanted", read_wish)?,
        revision: u32::try_from(fields.opt("revision", Fields::count)?.unwrap_or(0)).unwrap_or(u32::MAX),
        copies: fields.list("copies", |copy| {
            Ok(Copy {
                target: copy.parsed("target")?,
                state: copy.named("state")?,
                verified_at: copy.opt("verified_at", Fields::time)?,
                cause: copy.opt("cause", cause_of)?,
            })
        })?,
    })
}

/// That somebody asked for something.
pub(in crate::store) fn wish_document(wish: &Wish) -> Document {
    doc! { "by": &wish.by, "at": date(wish.at) }
}

fn read_wish(fields: &Fields<'_>, field: &str) -> Result<Wish, StoreError> {
    let wish = fields.sub(field)?;
    Ok(Wish { by: wish.owned("by")?, at: wish.time("at")? })
}

fn read_content(fields: &Fields<'_>, field: &str) -> Result<BackupContent, StoreError> {
    let content = fields.sub(field)?;
    Ok(BackupContent {
        timeline: Timeline(content.int("timeline")?),
        sequence: Sequence(content.int("sequence")?),
        chain: Chain(content.hash("chain")?),
        taken_at: content.time("taken_at")?,
        cluster_time: content.cluster_time("cluster_time")?,
        records: content.count("records")?,
        balance: content.int("balance")?,
        base: read_base(&content, "base")?,
        unchanged: content.flag("unchanged")?,
    })
}
