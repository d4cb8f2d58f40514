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
mod tests {
    use super::super::plan::tests::{request, user};
    use super::super::renames::order_renames;
    use super::*;

    fn rename(id: &str, from: &str, to: &str) -> PlannedChange {
        PlannedChange {
            user_id: id.parse().unwrap(),
            action: Action::Update,
            wanted: Some(user(id, to)),
            base: Some(user(id, from)),
            guard: Some(Rev::from_bits(1)),
            renumbered_from: None,
        }
    }

    fn range(changes: Vec<PlannedChange>, circle: bool) -> Range {
        Range {
            restore: "0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f".parse().unwrap(),
            department: DepartmentName::default_department(),
            request: request(),
            number: 0,
            pass: if circle { Pass::Renames } else { Pass::Records },
            key: None,
            circles: circle.then_some(0..changes.len()).into_iter().collect(),
            changes,
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
        assert!(groups.len() == 1 && groups[0].circle);
        let decision = range(groups[0].changes.clone(), true).decide(&live, names);
        let after = apply(&users, &decision.writes);
        assert_eq!(after[&"a".parse().unwrap()], "two");
        assert_eq!(after[&"b".parse().unwrap()], "three");
        assert_eq!(after[&"c".parse().unwrap()], "one");
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
    fn a_circle_of_which_a_user_changed_is_turned_only_with_overwrite_and_that_is_reported() {
        let mut users = [user("a", "one"), user("b", "two")];
        users[1].rev = Rev::from_bits(99);
        let renames = vec![rename("a", "one", "two"), rename("b", "two", "one")];
        for start in 0..2 {
            let mut changes = renames.clone();
            changes.rotate_left(start);
            let (live, names) = state(&users);
            let mut asked = range(changes, true);
            assert_eq!(asked.decide(&live, names.clone()), Decision::default());
            asked.request.on_conflict = OnConflict::Overwrite;
            let decision = asked.decide(&live, names);
            assert_eq!(decision.written(), 2);
            let after = apply(&users, &decision.writes);
            assert_eq!((after[&"a".parse().unwrap()].as_str(), after[&"b".parse().unwrap()].as_str()), ("two", "one"));
            let found: Vec<_> = decision.conflicts.iter().map(|c| (c.user_id.as_str(), c.overwritten)).collect();
            assert_eq!(found, [("b", true)]);
        }
    }

    #[test]
    fn a_circle_whose_name_was_given_to_somebody_else_is_left_alone() {
        let users = [user("a", "one"), user("b", "four"), user("thief", "two")];
        let changes = vec![rename("a", "one", "two"), rename("b", "two", "one")];
        let (live, names) = state(&users);
        let mut asked = range(changes, true);
        asked.request.on_conflict = OnConflict::Overwrite;
        assert_eq!(asked.decide(&live, names), Decision::default());
    }

    #[test]
    fn chains_and_circles_share_a_range() {
        let users = [user("a", "one"), user("b", "two"), user("c", "three"), user("d", "four"), user("e", "five")];
        let changes = vec![
            rename("c", "three", "free"),
            rename("a", "one", "two"),
            rename("b", "two", "one"),
            rename("d", "four", "five"),
            rename("e", "five", "four"),
        ];
        let mut asked = range(changes, true);
        asked.circles = vec![1..3, 3..5];
        let (live, names) = state(&users);
        let decision = asked.decide(&live, names);
        let after = apply(&users, &decision.writes);
        let names: Vec<&str> =
            ["a", "b", "c", "d", "e"].iter().map(|id| after[&id.parse().unwrap()].as_str()).collect();
        assert_eq!(names, ["two", "one", "free", "five", "four"]);
        assert_eq!(decision.written(), 5);
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
