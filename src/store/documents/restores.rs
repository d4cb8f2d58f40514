//! The restores document.

use mongodb::bson::{Bson, Document, doc};

use super::backups::{base_document, read_base};
use super::names::Named;
use super::{Fields, binary, cause, cause_of, date, executor, executor_of, long, opt_date};
use crate::domain::history::{Chain, Sequence, Timeline};
use crate::domain::ids::{DepartmentName, RestoreId, UserId};
use crate::domain::restore::{Plan, PlanSample, Restore, RestorePoint, RestoreProgress, RestoreRequest, RestoreSource};
use crate::domain::window::Moment;
use crate::store::StoreError;

/// The `_id` of a restore.
pub(in crate::store) fn restore_key(department: &DepartmentName, id: &RestoreId) -> Document {
    doc! { "department": department.as_str(), "id": id.as_str() }
}

/// A restore as stored; nobody has taken it up yet.
pub(in crate::store) fn restore_document(restore: &Restore) -> Document {
    doc! {
        "_id": restore_key(&restore.department, &restore.id),
        "fence": 0_i64,
        "request": request_document(&restore.request),
        "state": restore.state.name(),
        "cause": cause(restore.cause.as_ref()),
        "requested_by": &restore.requested_by,
        "requested_at": date(restore.requested_at),
        "apply": restore.apply,
        "cancel_requested": restore.cancel_requested,
        "executed_by": restore.executed_by.as_ref().map(executor),
        "safety_backup_id": restore.safety_backup_id.as_ref().map(ToString::to_string),
        "point": restore.point.as_ref().map(point_document),
        "undone_by": restore.undone_by.as_ref().map(ToString::to_string),
        "plan": restore.plan.as_ref().map(plan_document),
        "progress": progress_document(&restore.progress),
        "started_at": opt_date(restore.started_at),
        "finished_at": opt_date(restore.finished_at),
    }
}

fn request_document(request: &RestoreRequest) -> Document {
    let users = request.users.as_ref().map(|ids| ids.iter().map(UserId::to_string).collect::<Vec<_>>());
    let mut document = source_document(&request.source);
    document.extend(doc! {
        "into": request.into.as_ref().map(DepartmentName::to_string),
        "users": users,
        "mode": request.mode.name(),
        "credentials": request.credentials.name(),
        "locked": request.locked.name(),
        "on_conflict": request.on_conflict.name(),
    });
    document
}

/// The fields that say where the wanted records come from: each source has its own.
fn source_document(source: &RestoreSource) -> Document {
    match source {
        RestoreSource::Backup(id) => doc! { "backup_id": id.as_str() },
        RestoreSource::Undo(id) => doc! { "undo_of": id.as_str() },
        RestoreSource::Moment(department, Moment::Time(at)) => {
            doc! { "from_department": department.as_str(), "at": date(*at) }
        }
        RestoreSource::Moment(department, Moment::Sequence(sequence)) => {
            doc! { "from_department": department.as_str(), "sequence": sequence.0 }
        }
    }
}

/// The point that a moment was found to be.
pub(in crate::store) fn point_document(point: &RestorePoint) -> Document {
    doc! {
        "department": point.department.as_str(),
        "timeline": point.timeline.0,
        "sequence": point.sequence.0,
        "chain": binary(&point.chain.0),
        "time": date(point.time),
        "base": point.base.as_ref().map(base_document),
    }
}

fn read_point(fields: &Fields<'_>, field: &str) -> Result<RestorePoint, StoreError> {
    let point = fields.sub(field)?;
    Ok(RestorePoint {
        department: point.parsed("department")?,
        timeline: Timeline(point.int("timeline")?),
        sequence: Sequence(point.int("sequence")?),
        chain: Chain(point.hash("chain")?),
        time: point.time("time")?,
        base: point.opt("base", read_base)?,
    })
}

fn read_source(fields: &Fields<'_>) -> Result<RestoreSource, StoreError> {
    if let Some(id) = fields.opt("undo_of", Fields::parsed)? {
        return Ok(RestoreSource::Undo(id));
    }
    if let Some(department) = fields.opt("from_department", Fields::parsed)? {
        let moment = match fields.opt("at", Fields::time)? {
            Some(at) => Moment::Time(at),
            None => Moment::Sequence(Sequence(fields.int("sequence")?)),
        };
        return Ok(RestoreSource::Moment(department, moment));
    }
    fields.parsed("backup_id").map(RestoreSource::Backup)
}

/// A plan as stored.
pub(in crate::store) fn plan_document(plan: &Plan) -> Document {
    let sample = |sample: &PlanSample| {
        Bson::Document(doc! {
            "action": sample.action.name(),
            "user_id": sample.user_id.as_str(),
            "renumbered_from": sample.renumbered_from.as_ref().map(UserId::to_string),
            "name": &sample.name,
            "fields": sample.fields.clone(),
        })
    };
    doc! {
        "creates": long(plan.creates),
        "updates": long(plan.updates),
        "deletes": long(plan.deletes),
        "renames": long(plan.renames),
        "unchanged": long(plan.unchanged),
        "security_kept": long(plan.security_kept),
        "renumbered": long(plan.renumbered),
        "noted": long(plan.noted),
        "conflicts": long(plan.conflicts),
        "missing_users": plan.missing_users.iter().map(UserId::to_string).collect::<Vec<_>>(),
        "hash": &plan.hash,
        "samples": plan.samples.iter().map(sample).collect::<Vec<_>>(),
        "computed_at": date(plan.computed_at),
    }
}

/// How far the application has come.
pub(in crate::store) fn progress_document(progress: &RestoreProgress) -> Document {
    doc! {
        "pass": progress.pass.name(),
        "key": progress.key.as_ref().map(ToString::to_string),
        "batches": long(progress.batches),
        "changes_done": long(progress.changes_done),
        "changes_total": long(progress.changes_total),
        "changes_applied": long(progress.changes_applied),
        "conflicts": long(progress.conflicts),
    }
}

/// Reads a restore.
pub(in crate::store) fn read_restore(document: &Document) -> Result<Restore, StoreError> {
    let fields = Fields::of("restores", document);
    let key = fields.sub("_id")?;
    Ok(Restore {
        id: key.parsed("id")?,
        department: key.parsed("department")?,
        request: read_request(&fields.sub("request")?)?,
        state: fields.named("state")?,
        cause: fields.opt("cause", cause_of)?,
        requested_by: fields.owned("requested_by")?,
        requested_at: fields.time("requested_at")?,
        apply: fields.flag("apply")?,
        cancel_requested: fields.flag("cancel_requested")?,
        executed_by: fields.opt("executed_by", executor_of)?,
        safety_backup_id: fields.opt("safety_backup_id", Fields::parsed)?,
        point: fields.opt("point", read_point)?,
        undone_by: fields.opt("undone_by", Fields::parsed)?,
        plan: fields.opt("plan", |fields, field| read_plan(&fields.sub(field)?))?,
        progress: read_progress(&fields.sub("progress")?)?,
        started_at: fields.opt("started_at", Fields::time)?,
        finished_at: fields.opt("finished_at", Fields::time)?,
    })
}

fn read_request(fields: &Fields<'_>) -> Result<RestoreRequest, StoreError> {
    Ok(RestoreRequest {
        source: read_source(fields)?,
        into: fields.opt("into", Fields::parsed)?,
        users: fields.opt("users", |fields, field| fields.texts(field, |text| text.parse().ok()))?,
        mode: fields.named("mode")?,
        credentials: fields.named("credentials")?,
        locked: fields.named("locked")?,
        on_conflict: fields.named("on_conflict")?,
    })
}

fn read_plan(fields: &Fields<'_>) -> Result<Plan, StoreError> {
    Ok(Plan {
        creates: fields.count("creates")?,
        updates: fields.count("updates")?,
        deletes: fields.count("deletes")?,
        renames: fields.count("renames")?,
        unchanged: fields.count("unchanged")?,
        security_kept: fields.count("security_kept")?,
        renumbered: fields.opt("renumbered", Fields::count)?.unwrap_or(0),
        noted: fields.opt("noted", Fields::count)?.unwrap_or(0),
        conflicts: fields.opt("conflicts", Fields::count)?.unwrap_or(0),
        missing_users: fields
            .opt("missing_users", |fields, field| fields.texts(field, |text| text.parse().ok()))?
            .unwrap_or_default(),
        hash: fields.owned("hash")?,
        samples: fields.list("samples", |sample| {
            Ok(PlanSample {
                action: sample.named("action")?,
                user_id: sample.parsed("user_id")?,
                renumbered_from: sample.opt("renumbered_from", Fields::parsed)?,
                name: sample.owned("name")?,
                fields: sample.texts("fields", |text| Some(text.to_owned()))?,
            })
        })?,
        computed_at: fields.time("computed_at")?,
    })
}

fn read_progress(fields: &Fields<'_>) -> Result<RestoreProgress, StoreError> {
    Ok(RestoreProgress {
        pass: fields.named("pass")?,
        key: fields.opt("key", Fields::parsed)?,
        batches: fields.count("batches")?,
        changes_done: fields.count("changes_done")?,
        changes_total: fields.count("changes_total")?,
        changes_applied: fields.opt("changes_applied", Fields::count)?.unwrap_or(0),
        conflicts: fields.count("conflicts")?,
    })
}
