//! I4: no act starts after the own lease deadline, and no lease is longer than half a session.

use super::Finding;
use crate::chaos::history::{Event, History};

/// I4.
pub(super) fn none_after_the_lease(history: &History) -> Finding {
    let mut finding = Finding::new("I4", "no act starts after the own lease deadline");
    let longest = history.timing().0 / 2;
    for line in &history.lines {
        if let Event::Step { replica, department, epoch, left_us } = &line.event {
            let within = (1..=longest).contains(left_us);
            finding.look(within, || format!("{replica} of {department}, epoch {epoch}, with {left_us} us left"));
        }
    }
    finding
}
