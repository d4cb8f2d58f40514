//! The checkers: each reads a history and says what it has looked at, and what must not be so.

mod acting;
mod effects;
mod gaps;
mod jobs;
mod nodes;
mod once;
mod steps;

pub(super) use gaps::{Gap, budget_us, gaps};

use super::history::History;

/// What a checker found.
#[derive(Debug)]
pub(super) struct Finding {
    /// The invariant, by the number that the design gives it.
    pub(super) invariant: &'static str,
    /// What it demands.
    pub(super) demands: &'static str,
    /// How many things it has looked at.
    pub(super) looked: usize,
    /// What broke it.
    pub(super) violations: Vec<String>,
}

impl Finding {
    fn new(invariant: &'static str, demands: &'static str) -> Self {
        Self { invariant, demands, looked: 0, violations: Vec::new() }
    }

    /// Looks at one thing more.
    fn look(&mut self, holds: bool, violation: impl FnOnce() -> String) {
        self.looked += 1;
        if !holds {
            self.violations.push(violation());
        }
    }
}

/// A checker.
pub(super) type Check = fn(&History) -> Finding;

/// All checkers, by the number of the invariant.
pub(super) const ALL: [(&str, Check); 10] = [
    ("I1", acting::one_actor),
    ("I2", acting::epochs_grow),
    ("I3", effects::none_after_the_next_claim),
    ("I4", steps::none_after_the_lease),
    ("I5", jobs::slots_and_results_once),
    ("I7", gaps::bounded),
    ("I8", gaps::none_when_the_ensemble_elects),
    ("I9", once::executed_once),
    ("I10", nodes::no_orphan),
    ("I11", nodes::views_follow),
];

/// What every checker finds.
pub(super) fn check(history: &History) -> Vec<Finding> {
    ALL.iter().map(|(_, check)| check(history)).collect()
}
