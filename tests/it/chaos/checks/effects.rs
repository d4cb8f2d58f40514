//! I3: in the order of `MongoDB`'s commits, no effect of an epoch after the claim of a higher one.
//!
//! What a leader has written carries its epoch. Each document that is closed guards itself: a write of an old epoch to one
//! that the new leader has not touched yet changes nothing that anybody acts by, and never lowers its epoch.

use std::collections::BTreeMap;

use super::Finding;
use crate::chaos::history::{History, Write};

/// Fields of a job that only leaders write.
const BY_LEADERS: [&str; 7] = ["fence", "executed_by", "progress", "content", "attempt", "marker", "started_at"];
/// A job in one of these states is open: a claim adopts it.
const CLOSED: [&str; 4] = ["complete", "failed", "cancelled", "deleted"];

/// I3.
pub(super) fn none_after_the_next_claim(history: &History) -> Finding {
    let mut finding = Finding::new("I3", "no effect of an epoch after the claim of a higher one");
    let mut claimed: BTreeMap<&str, i64> = BTreeMap::new();
    let mut carried: BTreeMap<(&str, &str, &str), i64> = BTreeMap::new();
    let mut closed: BTreeMap<&str, bool> = BTreeMap::new();
    for write in history.writes() {
        let Some(epoch) = write.epoch.filter(|epoch| *epoch > 0) else { continue };
        if write.collection == "fences" {
            claimed.insert(&write.department, epoch);
            continue;
        }
        let before = carried.insert((&write.collection, &write.department, &write.id), epoch);
        finding.look(before <= Some(epoch), || format!("{} of {before:?} was lowered: {write:?}", write.collection));
        let was_closed = closed.insert(&write.id, is_closed(write)).unwrap_or(false);
        if !was_closed && is_effect(write) {
            let newest = claimed.get(write.department.as_str());
            finding.look(newest <= Some(&epoch), || format!("after the claim of {newest:?}: {write:?}"));
        }
    }
    finding
}

fn is_closed(write: &Write) -> bool {
    write.state.as_deref().is_some_and(|state| CLOSED.contains(&state))
}

fn is_effect(write: &Write) -> bool {
    match write.collection.as_str() {
        "restore_batches" => true,
        "backups" | "restores" => write.insert || write.fields.iter().any(|field| BY_LEADERS.contains(&field.as_str())),
        _ => false,
    }
}
