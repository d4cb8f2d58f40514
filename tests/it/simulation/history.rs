//! What the model knows of one department: its changes, and where its lines of history begin.

use std::collections::BTreeMap;

use mongodb::bson::Timestamp;
use rollkeeper::domain::user::User;

use crate::harness::records::Records;

/// One committed change of a user, or the end of all of them.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// Its moment of the oplog.
    pub(super) at: Timestamp,
    /// Whose record.
    pub(super) user: String,
    /// The record after it; none after a delete.
    pub(super) record: Option<User>,
    /// What the record's rev was before; none where there was no record.
    pub(super) rev_before: Option<String>,
    /// A person dropped all users: nothing that counts as a change.
    pub(super) cleared: bool,
}

impl Default for Event {
    fn default() -> Self {
        let at = Timestamp { time: 0, increment: 0 };
        Self { at, user: String::new(), record: None, rev_before: None, cleared: false }
    }
}

/// Where a line of history begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// Its number.
    pub(super) timeline: i64,
    /// The sequence that it goes on from.
    pub(super) after: i64,
    /// Everything up to this moment came before it.
    pub(super) from: Timestamp,
}

/// The changes of a department in their order, and its lines.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// Every change, those in gaps included.
    pub(super) events: Vec<Event>,
    /// The lines, oldest first.
    pub(super) lines: Vec<Line>,
}

impl History {
    /// How many events had happened at a sequence of a line.
    pub(super) fn count(&self, timeline: i64, sequence: i64) -> usize {
        let line = self.line(timeline);
        self.before(line) + usize::try_from(sequence - line.after).expect("come after the beginning of its line")
    }

    /// The line with this number.
    pub(super) fn line(&self, timeline: i64) -> &Line {
        let found = self.lines.iter().find(|line| line.timeline == timeline);
        found.unwrap_or_else(|| panic!("no head ever began timeline {timeline}: {:?}", self.lines))
    }

    /// The last sequence of the last line.
    pub(super) fn last_sequence(&self) -> i64 {
        let Some(line) = self.lines.last() else { return 0 };
        line.after + i64::try_from(self.events.len() - self.before(line)).expect("fit")
    }

    /// How many events were lost before a line: those between the end of the line before it and its beginning.
    pub(super) fn lost(&self, line: &Line) -> usize {
        let Some(before) = self.lines.iter().rfind(|other| other.timeline < line.timeline) else { return 0 };
        let captured = self.count(before.timeline, line.after);
        self.before(line).checked_sub(captured).expect("begin after the end of the line before")
    }

    fn before(&self, line: &Line) -> usize {
        self.events.partition_point(|event| event.at <= line.from)
    }

    /// The records after each of some counts of events, folded once.
    pub(super) fn states_at(&self, counts: impl IntoIterator<Item = usize>) -> BTreeMap<usize, Records> {
        let mut states: BTreeMap<usize, Records> = counts.into_iter().map(|count| (count, Records::new())).collect();
        let mut records = Records::new();
        for count in 0..=self.events.len() {
            if let Some(event) = count.checked_sub(1).map(|before| &self.events[before]) {
                match &event.record {
                    _ if event.cleared => records.clear(),
                    Some(record) => drop(records.insert(event.user.clone(), record.clone())),
                    None => drop(records.remove(&event.user)),
                }
            }
            if let Some(state) = states.get_mut(&count) {
                state.clone_from(&records);
            }
        }
        states
    }

    /// The records after so many events.
    pub(super) fn state_at(&self, count: usize) -> Records {
        self.states_at([count]).remove(&count).expect("have asked for it")
    }
}
