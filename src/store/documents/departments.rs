//! The departments document.

use std::time::Duration;

use mongodb::bson::{Document, doc};

use super::names::Named;
use super::users::{rev_bits, rev_of};
use super::{Fields, date, long, opt_date};
use crate::domain::department::{Department, Policy, Schedule};
use crate::domain::retention::Retention;
use crate::store::StoreError;

/// The policy as stored: whole seconds.
pub(in crate::store) fn policy_document(policy: &Policy) -> Document {
    let keep = &policy.retention;
    doc! {
        "backup_every_seconds": long(policy.backup_every.as_secs()),
        "retention": {
            "keep_within_seconds": long(keep.keep_within.as_secs()),
            "keep_last": i64::from(keep.keep_last),
            "keep_hourly": i64::from(keep.keep_hourly),
            "keep_daily": i64::from(keep.keep_daily),
            "keep_weekly": i64::from(keep.keep_weekly),
            "keep_monthly": i64::from(keep.keep_monthly),
            "keep_yearly": i64::from(keep.keep_yearly),
        },
    }
}

/// A department as stored.
pub(in crate::store) fn department_document(department: &Department) -> Document {
    doc! {
        "_id": department.name.as_str(),
        "policy": policy_document(&department.policy),
        "state": department.state.name(),
        "rev": rev_bits(department.rev),
        "created_at": date(department.created_at),
        "updated_at": date(department.updated_at),
        "schedule": {
            "last_slot": opt_date(department.schedule.last_slot),
            "missed_slots": long(department.schedule.missed_slots),
        },
        "fence": 0_i64,
    }
}

fn read_retention(fields: &Fields<'_>, field: &str) -> Result<Retention, StoreError> {
    let keep = fields.sub(field)?;
    let count = |field: &str| keep.count(field).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    Ok(Retention {
        keep_within: Duration::from_secs(keep.count("keep_within_seconds")?),
        keep_last: count("keep_last")?,
        keep_hourly: count("keep_hourly")?,
        keep_daily: count("keep_daily")?,
        keep_weekly: count("keep_weekly")?,
        keep_monthly: count("keep_monthly")?,
        keep_yearly: count("keep_yearly")?,
    })
}

/// Reads a department.
pub(in crate::store) fn read_department(document: &Document) -> Result<Department, StoreError> {
    let fields = Fields::of("departments", document);
    let schedule = fields.sub("schedule")?;
    let policy = fields.sub("policy")?;
    let seconds = policy.count("backup_every_seconds")?;
    // Policies of before retention have none.
    let retention = policy.opt("retention", read_retention)?.unwrap_or_default();
    Ok(Department {
        name: fields.parsed("_id")?,
        policy: Policy { backup_every: Duration::from_secs(seconds), retention },
        state: fields.named("state")?,
        rev: rev_of(fields.int("rev")?),
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
        schedule: Schedule {
            last_slot: schedule.opt("last_slot", Fields::time)?,
            missed_slots: schedule.count("missed_slots")?,
        },
    })
}
