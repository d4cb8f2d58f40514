//! The order of renames: each name is free when its turn comes.
//!
//! Rule: chains go from their free end; circles go in one transaction, through a reserved name.

use std::collections::{HashMap, HashSet};
use std::ops;

use super::ids::UserId;
use super::plan::PlannedChange;

/// Renames that must go together, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenameGroup {
    /// The renames: each finds its name free when the ones before it are done.
    pub changes: Vec<PlannedChange>,
    /// They form a circle.
    pub circle: bool,
}

/// Orders renames so that each name is free when its turn comes: chains from their free end, circles as one group.
/// `holders` says who holds each wanted name.
#[expect(clippy::implicit_hasher, reason = "the one caller has the default hasher")]
pub fn order_renames(renames: Vec<PlannedChange>, holders: &HashMap<String, UserId>) -> Vec<RenameGroup> {
    let mut waiting: HashMap<UserId, PlannedChange> =
        renames.into_iter().map(|change| (change.user_id.clone(), change)).collect();
    let mut ids: Vec<UserId> = waiting.keys().cloned().collect();
    ids.sort();
    let mut groups = Vec::new();
    for start in ids {
        // Walk from each rename to the holder of its name, until the walk ends, leaves the set, or closes.
        let mut walk = Vec::new();
        let mut on_walk = HashSet::new();
        let mut at = start;
        let closes_at = loop {
            if !waiting.contains_key(&at) {
                break None;
            }
            if !on_walk.insert(at.clone()) {
                break Some(at);
            }
            walk.push(at.clone());
            match next_holder(&waiting[&at], holders) {
                Some(holder) => at = holder,
                None => break None,
            }
        };
        let mut take = |ids: &[UserId]| -> Vec<PlannedChange> {
            // The one that waits for nobody goes first.
            ids.iter().rev().filter_map(|id| waiting.remove(id)).collect()
        };
        let circle_from = closes_at.and_then(|id| walk.iter().position(|walked| *walked == id));
        if let Some(from) = circle_from {
            let changes = take(&walk[from..]);
            groups.push(RenameGroup { changes, circle: true });
            walk.truncate(from);
        }
        let changes = take(&walk);
        if !changes.is_empty() {
            groups.push(RenameGroup { changes, circle: false });
        }
    }
    groups
}

fn next_holder(change: &PlannedChange, holders: &HashMap<String, UserId>) -> Option<UserId> {
    let wanted = change.wanted.as_ref()?;
    holders.get(wanted.name.as_str()).filter(|holder| **holder != change.user_id).cloned()
}

/// Changes of one transaction, and which of them are circles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    /// The changes, in their order.
    pub changes: Vec<PlannedChange>,
    /// The circles among them.
    pub circles: Vec<ops::Range<usize>>,
}

/// Packs groups into transactions of at most so many changes and bytes. A circle stays whole, also when it is longer.
pub fn pack(groups: Vec<RenameGroup>, records_max: usize, bytes_max: usize) -> Vec<Packed> {
    let mut packed = vec![Packed::default()];
    let mut bytes = 0;
    for group in groups {
        let chunk = if group.circle { group.changes.len() } else { 1 };
        for piece in group.changes.chunks(chunk.max(1)) {
            let weight: usize = piece.iter().map(PlannedChange::weight).sum();
            let full = |last: &Packed| last.changes.len() + piece.len() > records_max || bytes + weight > bytes_max;
            if packed.last().is_none_or(|last| full(last) && !last.changes.is_empty()) {
                packed.push(Packed::default());
                bytes = 0;
            }
            bytes += weight;
            let Some(last) = packed.last_mut() else { continue };
            if group.circle {
                last.circles.push(last.changes.len()..last.changes.len() + piece.len());
            }
            last.changes.extend_from_slice(piece);
        }
    }
    packed.retain(|packed| !packed.changes.is_empty());
    packed
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::user;
    use super::super::restore::Action;
    use super::*;

    fn rename(id: &str, from: &str, to: &str) -> PlannedChange {
        PlannedChange {
            user_id: id.parse().unwrap(),
            action: Action::Update,
            wanted: Some(user(id, to)),
            base: Some(user(id, from)),
            guard: Some(crate::domain::user::Rev::from_bits(1)),
            renumbered_from: None,
        }
    }

    fn groups(renames: &[PlannedChange]) -> Vec<RenameGroup> {
        let holder =
            |change: &PlannedChange| (change.base.as_ref().unwrap().name.as_str().to_owned(), change.user_id.clone());
        order_renames(renames.to_vec(), &renames.iter().map(holder).collect())
    }

    fn ids(changes: &[PlannedChange]) -> Vec<&str> {
        changes.iter().map(|change| change.user_id.as_str()).collect()
    }

    #[test]
    fn a_chain_that_leads_into_a_circle_waits_for_it() {
        let renames = [rename("a", "one", "two"), rename("b", "two", "one"), rename("c", "three", "free")];
        let found = groups(&renames);
        assert_eq!(found.iter().map(|group| group.circle).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn a_chain_goes_from_its_free_end_wherever_the_walk_begins() {
        let renames = [rename("b", "two", "three"), rename("a", "one", "two"), rename("c", "three", "free")];
        let order: Vec<String> =
            groups(&renames).iter().flat_map(|group| ids(&group.changes)).map(str::to_owned).collect();
        assert_eq!(order, ["c", "b", "a"]);
    }

    #[test]
    fn groups_share_a_transaction_up_to_its_limits_and_a_circle_is_never_cut() {
        let mut renames: Vec<_> =
            (0..6).map(|n| rename(&format!("a{n}"), &format!("{n}"), &format!("free {n}"))).collect();
        renames.extend([rename("x", "x", "y"), rename("y", "y", "z"), rename("z", "z", "x")]);
        let all = pack(groups(&renames), 100, usize::MAX);
        assert_eq!((all.len(), all[0].changes.len()), (1, 9));
        assert!(all[0].circles.iter().eq([&(6..9)]));
        let small = pack(groups(&renames), 2, usize::MAX);
        let sizes: Vec<_> = small.iter().map(|packed| (packed.changes.len(), packed.circles.len())).collect();
        assert_eq!(sizes, [(2, 0), (2, 0), (2, 0), (3, 1)]);
        assert_eq!(pack(groups(&renames), 100, 1).len(), 7);
        assert!(pack(Vec::new(), 2, 2).is_empty());
    }
}
