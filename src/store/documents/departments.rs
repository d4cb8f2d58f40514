//! The departments document.

use std::time::Duration;

use mongodb::bson::{Document, doc};

use super::names::Named;
use super::users::{rev_bits, rev_of};
use super::{Fields, date, long, opt_date};
use crate::domain::department::{Department, Policy, Schedule};
use crate::store::StoreError;

/// The policy as stored: whole seconds.
pub(in crate::store) fn policy_document(policy: &Policy) -> Document {
    doc! { "backup_every_seconds": long(policy.backup_every.as_secs()) }
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

/// Reads a department.
pub(in crate::store) fn read_department(document: &Document) -> Result<Department, StoreError> {
    let fields = Fields::of("departments", document);
    let schedule = fields.sub("schedule")?;
    let seconds = fields.sub("policy")?.count("backup_every_seconds")?;
    Ok(Department {
        name: fields.parsed("_id")?,
        policy: Policy { backup_every: Duration::from_secs(seconds) },
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
