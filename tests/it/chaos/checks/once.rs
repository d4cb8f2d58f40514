//! I9: a POST under a key is carried out once, whichever replicas it was sent to, and however often.
//!
//! No request is forwarded (ARCHITECTURE.md), so none can be forwarded twice or in a loop: a replica writes the intent
//! itself, and the leader finds it. What stands for the invariant is that a client may send again what it heard nothing of.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::chaos::history::{Event, History};

/// I9.
pub(super) fn executed_once(history: &History) -> Finding {
    let mut finding = Finding::new("I9", "a POST under a key is carried out once");
    let mut answers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let (mut open, mut refused) = (BTreeSet::new(), Vec::new());
    for line in &history.lines {
        let Event::Asked { key, status, id, what, .. } = &line.event else { continue };
        open.insert(key.as_str());
        if let Some(id) = id.as_deref().filter(|_| status.is_some_and(|status| (200..300).contains(&status))) {
            answers.entry(key).or_default().insert(id);
        } else if status.is_some_and(|status| (400..500).contains(&status) && status != 409 && status != 429) {
            refused.push(format!("{what} under {key} was refused: {status:?}"));
        }
    }
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut jobs: Vec<&str> = Vec::new();
    for write in history.writes().into_iter().filter(|write| write.insert) {
        match (write.collection.as_str(), write.name.as_deref(), write.job.as_deref()) {
            ("users", Some(name), _) => users.entry(name).or_default().push(&write.id),
            ("backups", _, Some("on_demand")) | ("restores", ..) => jobs.push(&write.id),
            _ => {}
        }
    }
    for (key, ids) in &answers {
        finding.look(ids.len() == 1, || format!("{key} was answered with {ids:?}"));
        if let Some(made) = users.get(key) {
            finding.look(made.iter().all(|id| ids.contains(id)) && made.len() == 1, || {
                format!("{key} was answered with {ids:?} and made {made:?}")
            });
        }
    }
    let answered: BTreeSet<&str> = answers.values().flatten().copied().collect();
    // The last ones may still be under way when the run ends.
    let unanswered = open.iter().filter(|key| !answers.contains_key(*key)).count();
    let foreign: Vec<&&str> = jobs.iter().filter(|id| !answered.contains(*id)).collect();
    finding.look(foreign.len() <= unanswered, || format!("jobs that nobody was told of: {foreign:?}"));
    finding.violations.extend(refused);
    finding
}
