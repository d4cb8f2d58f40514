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
    let mut slots: BTreeMap<(&str, i64), BTreeSet<&str>> = BTreeMap::new();
    let mut results: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
    // At the first and the last slot that has a job: slots missed so far.
    let mut missed: BTreeMap<&str, Vec<(u64, i64)>> = BTreeMap::new();
    for write in history.writes() {
        if write.collection == "departments" && write.fields.iter().any(|field| field == "schedule") {
            missed.entry(&write.department).or_default().extend(write.missed.map(|missed| (write.order, missed)));
        }
        if write.collection != "backups" {
            continue;
        }
        if write.insert
            && let Some(slot) = write.slot
        {
            slots.entry((&write.department, slot)).or_default().insert(&write.id);
        }
        let state = write.state.as_deref().filter(|state| RESULTS.contains(state));
        if let Some(state) = state.filter(|_| write.insert || write.fields.iter().any(|field| field == "state")) {
            results.entry(&write.id).or_default().push((write.order, state));
        }
    }
    for ((department, slot), ids) in &slots {
        finding.look(ids.len() == 1, || format!("slot {slot} of {department} has {ids:?}"));
    }
    for (id, results) in &results {
        finding.look(results.len() == 1, || format!("backup {id} has {results:?}"));
    }
    for (department, missed) in &missed {
        let of = slots.range((*department, i64::MIN)..=(*department, i64::MAX)).map(|((_, slot), _)| *slot);
        let of: Vec<i64> = of.collect();
        let (Some(first), Some(last)) = (of.first(), of.last()) else { continue };
        let passed = (last - first) / EVERY_MS + 1;
        let taken = i64::try_from(of.len()).expect("fit");
        // What was missed before the first job and after the last one is not between them.
        let most = missed.last().map_or(0, |(_, missed)| *missed);
        finding.look(passed <= taken + most, || {
            format!("{department}: {passed} slots passed, {taken} have a job, {most} are counted as missed")
        });
    }
    finding
}
