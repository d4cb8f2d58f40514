//! I1 and I2: who acts by an epoch, and that epochs and zxids grow.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::chaos::history::{Event, History};

/// Everything that names who acts by one epoch of a department.
#[derive(Debug, Default)]
struct Actors {
    replicas: BTreeSet<String>,
    instances: BTreeSet<String>,
    claims: BTreeSet<String>,
}

/// I1: per department and epoch exactly one instance ever acts.
pub(super) fn one_actor(history: &History) -> Finding {
    let mut finding = Finding::new("I1", "one instance acts per department and epoch");
    let mut actors: BTreeMap<(String, i64), Actors> = BTreeMap::new();
    let mut see = |department: &str, epoch: i64, replica: &str, instance: Option<&str>, claim: Option<&str>| {
        let by = actors.entry((department.to_owned(), epoch)).or_default();
        by.replicas.insert(replica.to_owned());
        by.instances.extend(instance.map(ToOwned::to_owned));
        by.claims.extend(claim.map(ToOwned::to_owned));
    };
    for line in &history.lines {
        match &line.event {
            Event::Led { replica, instance, claim, department, epoch } => {
                see(department, *epoch, replica, Some(instance), Some(claim));
            }
            Event::Step { replica, department, epoch, .. } => see(department, *epoch, replica, None, None),
            Event::Znodes(nodes) => {
                for (department, node) in &nodes.leaders {
                    see(department, node.epoch, &node.replica, Some(&node.instance), Some(&node.claim));
                }
            }
            Event::Write(write) => {
                if let (Some(epoch), Some((_, owner, claim))) = (write.epoch, &write.claimed) {
                    see(&write.department, epoch, owner, None, Some(claim));
                }
                if let Some((replica, epoch)) = &write.by {
                    see(&write.department, *epoch, replica, None, None);
                }
            }
            _ => {}
        }
    }
    for ((department, epoch), by) in actors {
        let one = by.replicas.len() == 1 && by.instances.len() <= 1 && by.claims.len() <= 1;
        finding.look(one, || format!("{department}, epoch {epoch}: {by:?}"));
    }
    finding
}

/// I2: epochs and zxids strictly increase per department.
pub(super) fn epochs_grow(history: &History) -> Finding {
    let mut finding = Finding::new("I2", "epochs and zxids strictly increase");
    let mut claimed: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for write in history.writes() {
        let (Some(epoch), Some((zxid, ..))) = (write.epoch, &write.claimed) else { continue };
        let before = claimed.insert(&write.department, (epoch, *zxid));
        let grows = before.is_none_or(|before| before.0 < epoch && before.1 < *zxid);
        finding.look(grows, || format!("{}: {before:?} was followed by {:?}", write.department, (epoch, zxid)));
    }
    let mut counters: BTreeMap<&str, i64> = BTreeMap::new();
    let mut nodes: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (_, now) in history.znodes() {
        for (department, counter) in &now.counters {
            let before = counters.insert(department, *counter);
            finding.look(before <= Some(*counter), || format!("{department}: counter {before:?}, then {counter}"));
        }
        for (department, node) in &now.leaders {
            let (of, before) = ((node.epoch, node.czxid), nodes.insert(department, (node.epoch, node.czxid)));
            let grows = before.is_none_or(|before| before == of || (before.0 < of.0 && before.1 < of.1));
            finding.look(grows, || format!("{department}: node {before:?} was followed by {of:?}"));
        }
    }
    finding
}
