//! I5: each slot of the schedule has exactly one job document, and each job at most one result.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::chaos::history::History;

/// What the schedule of the run asks for.
const EVERY_MS: i64 = 10_000;
const RESULTS: [&str; 3] = ["complete", "failed", "cancelled"];

/// I5. A slot that nobody could take is counted as missed in its department.
pub(super) fn slots_and_results_once(history: &History) -> Finding {
    let mut finding = Finding::new("I5", "one job per slot, one result per job");
    // The jobs of each slot, and how many slots were missed until it was taken.
    let mut slots: BTreeMap<&str, BTreeMap<i64, (BTreeSet<&str>, i64)>> = BTreeMap::new();
    let mut results: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
    let mut missed: BTreeMap<&str, i64> = BTreeMap::new();
    for write in history.writes() {
        if let Some(so_far) = write.missed {
            missed.insert(&write.department, so_far);
        }
        if write.collection != "backups" {
            continue;
        }
        if write.insert
            && let Some(slot) = write.slot
        {
            let so_far = missed.get(write.department.as_str()).copied().unwrap_or(0);
            let jobs = slots.entry(&write.department).or_default().entry(slot);
            jobs.or_insert_with(|| (BTreeSet::new(), so_far)).0.insert(&write.id);
        }
        let state = write.state.as_deref().filter(|state| RESULTS.contains(state));
        if let Some(state) = state.filter(|_| write.insert || write.fields.iter().any(|field| field == "state")) {
            results.entry(&write.id).or_default().push((write.order, state));
        }
    }
    for (department, slots) in &slots {
        for (slot, (ids, _)) in slots {
            finding.look(ids.len() == 1, || format!("slot {slot} of {department} has {ids:?}"));
        }
        let (Some(first), Some(last)) = (slots.first_key_value(), slots.last_key_value()) else { continue };
        let passed = (last.0 - first.0) / EVERY_MS + 1;
        let (taken, missed) = (i64::try_from(slots.len()).expect("fit"), last.1.1 - first.1.1);
        finding.look(passed == taken + missed, || {
            format!("{department}: {passed} slots passed, {taken} have a job, {missed} are counted as missed")
        });
    }
    for (id, results) in &results {
        finding.look(results.len() == 1, || format!("backup {id} has {results:?}"));
    }
    finding
}
