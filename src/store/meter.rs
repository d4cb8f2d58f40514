//! Counts operations on MongoDB: how long they take, and how they fail.
//!
//! The one value of the process that no one passes around: a hundred operations run through three functions that have no
//! handle in common, and the driver's own events cost a copy of every command and reply.

use std::sync::LazyLock;
use std::time::Instant;

use super::{Store, StoreError};
use crate::telemetry::metrics::StoreMetrics;

static METER: LazyLock<StoreMetrics> = LazyLock::new(StoreMetrics::unregistered);

/// Kind of an operation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Read,
    Write,
    Commit,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Commit => "commit",
        }
    }
}

/// Notes an operation that has ended.
pub(super) fn done<T>(operation: Operation, began: Instant, outcome: &Result<T, StoreError>) {
    METER.duration.observe([operation.name().into()], began.elapsed());
    if let Err(error) = outcome {
        METER.failures.inc([operation.name().into(), kind(error).into()]);
    }
}

/// Notes a transaction that is begun anew.
pub(super) fn retried() {
    METER.retries.inc([]);
}

const fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable(_) => "unavailable",
        StoreError::OutcomeUnknown(_) => "outcome_unknown",
        StoreError::Taken(_) => "taken",
        _ => "refused",
    }
}

impl Store {
    /// What is counted of the operations of this process.
    pub fn metrics() -> StoreMetrics {
        METER.clone()
    }
}
