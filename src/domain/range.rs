//! What one range of a restore writes, given what is live: writes, and conflicts with their causes.
//!
//! Rule: a live record that is neither as the plan saw it nor as it should become is a conflict, never a surprise. A
//! name or id that belongs to a user whom the restore does not touch is never taken from that user.

use std::collections::{HashMap, HashSet};

use super::clock::Timestamp;
use super::ids::{DepartmentName, RestoreId, UserId};
use super::plan::{PlannedChange, target, written};
use super::restore::{Action, Conflict, ConflictCause, OnConflict, Pass, RestoreRequest};
use super::user::{Rev, User, UserName};

/// One range: the changes of one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The restore.
    pub restore: RestoreId,
    /// The department that is restored.
    pub department: DepartmentName,
    /// The policies.
    pub request: RestoreRequest,
    /// Number of the range, from 0.
    pub number: u64,
    /// The pass that it belongs to.
    pub pass: Pass,
    /// The checkpoint that it writes: the last id of the pass that is done.
    pub key: Option<UserId>,
    /// The changes, in the order in which they are made.
    pub changes: Vec<PlannedChange>,
    /// The changes are renames in a circle, and go through a reserved name.
    pub cycle: bool,
    /// How many planned changes are dealt with when the range is done.
    pub done: u64,
    /// The moment of the write.
    pub now: Timestamp,
}

/// One write of a range, guarded by the rev that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Insert a record.
    Insert(User),
    /// Replace the whole record.
    Replace {
        /// The record.
        user: User,
        /// The rev that it replaces.
        guard: Rev,
    },
    /// Delete a record.
    Delete {
        /// The user.
        id: UserId,
        /// The rev that is deleted.
        guard: Rev,
    },
}

/// What a range does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// The writes in their order.
    pub writes: Vec<Write>,
    /// What could not be done as planned.
    pub conflicts: Vec<Conflict>,
}

impl Range {
    /// Whether the range only creates records, so that it may be tried without reading first.
    pub fn only_creates(&self) -> bool {
        self.changes.iter().all(|change| change.action == Action::Create)
    }

    /// Names that the range wants to give.
    pub fn names(&self) -> Vec<String> {
        let wanted = self.changes.iter().filter_map(|change| change.wanted.as_ref());
        wanted.map(|user| user.name.as_str().to_owned()).collect()
    }

    /// Decides without having read anything, as if the department had none of these ids and names.
    pub fn decide_blind(&self) -> Decision {
        self.decide(&HashMap::new(), HashMap::new())
    }

    /// Decides from the live records of the range's ids (in any department) and the holders of its names.
    pub fn decide(&self, live: &HashMap<UserId, User>, names: HashMap<String, UserId>) -> Decision {
        let mut decider = Decider { range: self, names, decision: Decision::default() };
        if self.cycle {
            decider.cycle(live);
        } else {
            for change in &self.changes {
                decider.change(change, live.get(&change.user_id));
            }
        }
        let mut decision = decider.decision;
        if self.pass == Pass::Renames {
            // The records pass meets the same changes again and reports what is still in the way.
            decision.conflicts.clear();
        }
        decision
    }
}

struct Decider<'a> {
    range: &'a Range,
    /// Who holds which name, as of the writes decided so far.
    names: HashMap<String, UserId>,
    decision: Decision,
}

impl Decider<'_> {
    fn change(&mut self, change: &PlannedChange, live: Option<&User>) {
        if live.is_some_and(|live| live.department != self.range.department) {
            self.conflict(change, ConflictCause::IdElsewhere, false);
            return;
        }
        let Some(wanted) = &change.wanted else { return self.delete(change, live) };
        let target = target(wanted, live.or(change.base.as_ref()), &self.range.request);
        if live.is_some_and(|live| target.same_content(live)) {
            return;
        }
        let met = match (change.action, live, &change.base) {
            (Action::Create, Some(_), _) => Some(ConflictCause::Appeared),
            (Action::Update, None, _) => Some(ConflictCause::Gone),
            (Action::Update, Some(live), Some(base)) if live.rev != base.rev => Some(ConflictCause::Changed),
            _ => None,
        };
        let overwrite = self.range.request.on_conflict == OnConflict::Overwrite;
        if let Some(cause) = met
            && !overwrite
        {
            self.conflict(change, cause, false);
            return;
        }
        if self.names.get(target.name.as_str()).is_some_and(|holder| *holder != target.id) {
            self.conflict(change, ConflictCause::NameTaken, false);
            return;
        }
        if let Some(cause) = met {
            self.conflict(change, cause, true);
        }
        self.put(target, live, change.base.as_ref());
    }

    fn delete(&mut self, change: &PlannedChange, live: Option<&User>) {
        let Some(live) = live else { return };
        if change.base.as_ref().is_none_or(|base| base.rev != live.rev) {
            let overwrite = self.range.request.on_conflict == OnConflict::Overwrite;
            self.conflict(change, ConflictCause::Changed, overwrite);
            if !overwrite {
                return;
            }
        }
        self.names.remove(live.name.as_str());
        self.decision.writes.push(Write::Delete { id: live.id.clone(), guard: live.rev });
    }

    /// Renames in a circle: one user steps aside to a reserved name, the others follow, then it takes its own.
    fn cycle(&mut self, live: &HashMap<UserId, User>) {
        let as_planned = self.range.changes.iter().all(|change| {
            let rev = live.get(&change.user_id).map(|live| live.rev);
            rev.is_some() && rev == change.base.as_ref().map(|base| base.rev)
        });
        let Some(first) = self.range.changes.first() else { return };
        let (true, Some(aside)) = (as_planned, live.get(&first.user_id)) else { return };
        let mut moved = aside.clone();
        moved.name = UserName::from_stored(format!("~restore~{}~{}", self.range.restore, aside.id));
        moved = written(moved, Some(aside), None, Rev::random(), self.range.now);
        self.names.remove(aside.name.as_str());
        self.decision.writes.push(Write::Replace { user: moved.clone(), guard: aside.rev });
        for change in self.range.changes.iter().skip(1) {
            self.change(change, live.get(&change.user_id));
        }
        let Some(wanted) = &first.wanted else { return };
        let target = target(wanted, Some(aside), &self.range.request);
        self.put(target, Some(&moved), None);
    }

    fn put(&mut self, target: User, live: Option<&User>, base: Option<&User>) {
        if let Some(live) = live
            && live.name != target.name
        {
            self.names.remove(live.name.as_str());
        }
        self.names.insert(target.name.as_str().to_owned(), target.id.clone());
        let record = written(target, live, base, Rev::random(), self.range.now);
        self.decision.writes.push(match live {
            Some(live) => Write::Replace { user: record, guard: live.rev },
            None => Write::Insert(record),
        });
    }

    fn conflict(&mut self, change: &PlannedChange, cause: ConflictCause, overwritten: bool) {
        let user_id = change.user_id.clone();
        self.decision.conflicts.push(Conflict { user_id, action: change.action, cause, overwritten });
    }
}

/// Renames that must go together, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenameGroup {
    /// The renames: each finds its name free when the ones before it are done.
    pub changes: Vec<PlannedChange>,
    /// They form a circle.
    pub cycle: bool,
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
            groups.push(RenameGroup { changes, cycle: true });
            walk.truncate(from);
        }
        let changes = take(&walk);
        if !changes.is_empty() {
            groups.push(RenameGroup { changes, cycle: false });
        }
    }
    groups
}

fn next_holder(change: &PlannedChange, holders: &HashMap<String, UserId>) -> Option<UserId> {
    let wanted = change.wanted.as_ref()?;
    holders.get(wanted.name.as_str()).filter(|holder| **holder != change.user_id).cloned()
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{request, user};
    use super::*;

    fn rename(id: &str, from: &str, to: &str) -> PlannedChange {
        PlannedChange {
            user_id: id.parse().unwrap(),
            action: Action::Update,
            wanted: Some(user(id, to)),
            base: Some(user(id, from)),
        }
    }

    fn range(changes: Vec<PlannedChange>, cycle: bool) -> Range {
        Range {
            restore: "0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f".parse().unwrap(),
            department: DepartmentName::default_department(),
            request: request(),
            number: 0,
            pass: if cycle { Pass::Renames } else { Pass::Records },
            key: None,
            changes,
            cycle,
            done: 0,
            now: Timestamp::from_millis(9),
        }
    }

    fn state(users: &[User]) -> (HashMap<UserId, User>, HashMap<String, UserId>) {
        let live = users.iter().map(|u| (u.id.clone(), u.clone())).collect();
        let names = users.iter().map(|u| (u.name.as_str().to_owned(), u.id.clone())).collect();
        (live, names)
    }

    /// Applies writes one by one and insists that names stay unique at every step.
    fn apply(users: &[User], writes: &[Write]) -> HashMap<UserId, String> {
        let mut names: HashMap<UserId, String> =
            users.iter().map(|u| (u.id.clone(), u.name.as_str().to_owned())).collect();
        for write in writes {
            match write {
                Write::Insert(u) | Write::Replace { user: u, .. } => {
                    let taken = names.iter().any(|(id, name)| *id != u.id && name == u.name.as_str());
                    assert!(!taken, "two users named {}", u.name);
                    names.insert(u.id.clone(), u.name.as_str().to_owned());
                }
                Write::Delete { id, .. } => {
                    names.remove(id);
                }
            }
        }
        names
    }

    #[test]
    fn a_chain_of_renames_goes_from_its_free_end() {
        let users = [user("a", "one"), user("b", "two"), user("c", "three")];
        let renames = vec![rename("a", "one", "two"), rename("b", "two", "three"), rename("c", "three", "four")];
        let (live, names) = state(&users);
        let groups = order_renames(renames, &names);
        assert_eq!(groups.len(), 1);
        let decision = range(groups[0].changes.clone(), false).decide(&live, names);
        assert!(decision.conflicts.is_empty());
        let after = apply(&users, &decision.writes);
        assert_eq!(after[&"a".parse().unwrap()], "two");
        assert_eq!(after[&"c".parse().unwrap()], "four");
    }

    #[test]
    fn a_circle_of_renames_goes_through_a_reserved_name() {
        let users = [user("a", "one"), user("b", "two"), user("c", "three")];
        let renames = vec![rename("a", "one", "two"), rename("b", "two", "three"), rename("c", "three", "one")];
        let (live, names) = state(&users);
        let groups = order_renames(renames, &names);
        assert!(groups.len() == 1 && groups[0].cycle);
        let decision = range(groups[0].changes.clone(), true).decide(&live, names);
        let after = apply(&users, &decision.writes);
        assert_eq!(after[&"a".parse().unwrap()], "two");
        assert_eq!(after[&"b".parse().unwrap()], "three");
        assert_eq!(after[&"c".parse().unwrap()], "one");
    }

    #[test]
    fn a_chain_that_leads_into_a_circle_waits_for_it() {
        let users = [user("a", "one"), user("b", "two"), user("z", "zed")];
        let renames = vec![rename("a", "one", "two"), rename("b", "two", "one")];
        let (_, names) = state(&users);
        let groups = order_renames(renames, &names);
        assert_eq!(groups.iter().filter(|g| g.cycle).count(), 1);
    }

    #[test]
    fn a_name_of_a_user_outside_the_restore_is_a_conflict() {
        let users = [user("a", "one"), user("x", "two")];
        let (live, names) = state(&users);
        let decision = range(vec![rename("a", "one", "two")], false).decide(&live, names);
        assert!(decision.writes.is_empty());
        assert_eq!(decision.conflicts[0].cause, ConflictCause::NameTaken);
    }

    #[test]
    fn a_record_changed_after_the_plan_is_skipped_or_overwritten_as_asked() {
        let mut changed = user("a", "other");
        changed.rev = Rev::from_bits(99);
        let (live, names) = state(&[changed]);
        let mut asked = range(vec![rename("a", "one", "two")], false);
        let skipped = asked.decide(&live, names.clone());
        assert!(skipped.writes.is_empty());
        assert_eq!(skipped.conflicts[0].cause, ConflictCause::Changed);
        asked.request.on_conflict = OnConflict::Overwrite;
        let overwritten = asked.decide(&live, names);
        assert_eq!(overwritten.writes.len(), 1);
        assert!(overwritten.conflicts[0].overwritten);
    }

    #[test]
    fn a_range_that_is_done_already_writes_nothing() {
        let (live, names) = state(&[user("a", "two")]);
        let decision = range(vec![rename("a", "one", "two")], false).decide(&live, names);
        assert_eq!(decision, Decision::default());
    }

    #[test]
    fn an_id_that_lives_in_another_department_is_a_conflict() {
        let mut elsewhere = user("a", "one");
        elsewhere.department = "sales".parse().unwrap();
        let (live, names) = state(&[elsewhere]);
        let decision = range(vec![rename("a", "one", "two")], false).decide(&live, names);
        assert_eq!(decision.conflicts[0].cause, ConflictCause::IdElsewhere);
    }
}
