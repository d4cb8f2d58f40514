//! What one range of a restore writes, given what is live: writes, and conflicts with their causes.
//!
//! Rule: a live record that is neither as the plan saw it nor as it should become is a conflict, never a surprise. A
//! name or id that belongs to a user whom the restore does not touch is never taken from that user.

use std::collections::{HashMap, HashSet};
use std::ops;

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
    /// Which of the changes are renames in a circle, each from its first to after its last: they go through a reserved
    /// name, all or none.
    pub circles: Vec<ops::Range<usize>>,
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
    /// Records that are written over or deleted though the plan expected others: only here is what they held.
    pub overwritten: Vec<User>,
}

impl Decision {
    /// Number of users that are written.
    pub fn written(&self) -> u64 {
        // A user in a circle may be written twice: aside, and then with its name.
        let ids = self.writes.iter().map(|write| match write {
            Write::Insert(user) | Write::Replace { user, .. } => &user.id,
            Write::Delete { id, .. } => id,
        });
        ids.collect::<HashSet<_>>().len() as u64
    }
}

impl Range {
    /// Whether the range only creates records, so that it may be tried without reading first. What is copied from another
    /// department is compared with its user there.
    pub fn only_creates(&self) -> bool {
        let copies = |change: &PlannedChange| change.renumbered_from.is_some() && self.request.keeps_security();
        self.changes.iter().all(|change| change.action == Action::Create && !copies(change))
    }

    /// Ids whose live records decide: those of the changes, and those that they copy from other departments.
    pub fn ids(&self) -> Vec<&str> {
        let ids = self.changes.iter().flat_map(|change| [Some(&change.user_id), change.renumbered_from.as_ref()]);
        ids.flatten().map(UserId::as_str).collect()
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
        let mut decider = Decider { range: self, live, names, decision: Decision::default() };
        let mut circles = self.circles.iter();
        let mut circle = circles.next();
        let mut at = 0;
        while let Some(change) = self.changes.get(at) {
            if let Some(here) = circle.filter(|circle| circle.start == at && circle.end > at) {
                decider.circle(self.changes.get(here.clone()).unwrap_or_default());
                at = here.end;
                circle = circles.next();
            } else {
                decider.change(change);
                at += 1;
            }
        }
        let mut decision = decider.decision;
        if self.pass == Pass::Renames {
            // The records pass meets the same changes again and reports what is still in the way; what was overwritten
            // here looks as wanted by then.
            decision.conflicts.retain(|conflict| conflict.overwritten);
        }
        decision
    }
}

struct Decider<'a> {
    range: &'a Range,
    live: &'a HashMap<UserId, User>,
    /// Who holds which name, as of the writes decided so far.
    names: HashMap<String, UserId>,
    decision: Decision,
}

impl Decider<'_> {
    fn change(&mut self, change: &PlannedChange) {
        let live = self.live.get(&change.user_id);
        if live.is_some_and(|live| live.department != self.range.department) {
            self.conflict(change, ConflictCause::IdElsewhere, false);
            return;
        }
        let Some(wanted) = &change.wanted else { return self.delete(change, live) };
        let target = target(wanted, live.or(change.base.as_ref()), &self.range.request);
        if live.is_some_and(|live| target.same_content(live)) {
            return;
        }
        let source = change.renumbered_from.as_ref().and_then(|id| self.live.get(id));
        let met = match (change.action, live) {
            (Action::Create, Some(_)) => Some(ConflictCause::Appeared),
            (Action::Update, None) => Some(ConflictCause::Gone),
            (Action::Update, Some(live)) if !change.expects(live) => Some(ConflictCause::Changed),
            _ => change.outdated_by(source, &self.range.request),
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
            self.decision.overwritten.extend(live.cloned());
        }
        self.put(target, live, change.base.as_ref());
    }

    fn delete(&mut self, change: &PlannedChange, live: Option<&User>) {
        let Some(live) = live else { return };
        if !change.expects(live) {
            let overwrite = self.range.request.on_conflict == OnConflict::Overwrite;
            self.conflict(change, ConflictCause::Changed, overwrite);
            if !overwrite {
                return;
            }
            self.decision.overwritten.push(live.clone());
        }
        self.names.remove(live.name.as_str());
        self.decision.writes.push(Write::Delete { id: live.id.clone(), guard: live.rev });
    }

    /// Renames in a circle: one user steps aside to a reserved name, the others follow, then it takes its own.
    fn circle(&mut self, changes: &[PlannedChange]) {
        let Some(first) = changes.first() else { return };
        let (true, Some(aside)) = (self.still_turns(changes), self.live.get(&first.user_id)) else { return };
        let mut moved = aside.clone();
        moved.name = UserName::from_stored(format!("~restore~{}~{}", self.range.restore, aside.id));
        moved = written(moved, Some(aside), None, Rev::random(), self.range.now);
        self.names.remove(aside.name.as_str());
        self.decision.writes.push(Write::Replace { user: moved.clone(), guard: aside.rev });
        for change in changes.iter().skip(1) {
            self.change(change);
        }
        let Some(wanted) = &first.wanted else { return };
        if !first.expects(aside) {
            self.conflict(first, ConflictCause::Changed, true);
            self.decision.overwritten.push(aside.clone());
        }
        let target = target(wanted, Some(aside), &self.range.request);
        self.put(target, Some(&moved), None);
    }

    /// Whether each user of a circle may be written and still holds the name that the next one wants.
    fn still_turns(&self, changes: &[PlannedChange]) -> bool {
        let overwrite = self.range.request.on_conflict == OnConflict::Overwrite;
        let holders = changes.last().into_iter().chain(changes);
        changes.iter().zip(holders).all(|(change, holder)| {
            let Some(live) = self.live.get(&change.user_id) else { return false };
            let as_planned = change.expects(live);
            let held = change.wanted.as_ref().and_then(|wanted| self.names.get(wanted.name.as_str()));
            live.department == self.range.department && (as_planned || overwrite) && held == Some(&holder.user_id)
        })
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

#[cfg(test)]
#[path = "range_tests.rs"]
mod tests;
