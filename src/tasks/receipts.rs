//! Answers sync barriers that the head has passed.
//!
//! Rule: a line of history that nothing begins yet holds no more than its own changes. What a gap swallowed is durable once
//! a backup bridges it, so until then no receipt is given.

use super::halt::Halt;
use super::leader::Leading;
use crate::domain::barrier::Receipt;
use crate::domain::epoch::Executor;
use crate::domain::history::{Head, Timeline};

/// Gives receipts, and remembers on which line it may.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    begun: Option<Timeline>,
}

impl Receipts {
    /// Answers every barrier that the head has passed. The caller keeps the head from going on meanwhile.
    pub(super) async fn give(&mut self, leading: &Leading, head: &Head) -> Result<(), Halt> {
        let passed = leading.follower.passed(head.position.sequence, head.position.certain());
        let level = head.journal.iter().filter(|copy| copy.through == head.position.sequence).count();
        if passed.is_empty() || level < leading.parts.targets.quorum() || !self.has_begun(leading, head).await? {
            return Ok(());
        }
        let receipt = Receipt {
            timeline: head.timeline,
            sequence: head.position.sequence,
            chain: head.position.chain,
            time: head.position.certain(),
            copies: head.journal.clone(),
            executed_by: Executor::from(&leading.leadership),
        };
        leading.check()?;
        leading.parts.store.barriers.resolve(&leading.leadership, &passed, &receipt).await?;
        leading.follower.forget(&passed);
        Ok(())
    }

    /// Whether the line of the head can be read: from the empty beginning, from what retention left, or from a backup.
    async fn has_begun(&mut self, leading: &Leading, head: &Head) -> Result<bool, Halt> {
        if self.begun != Some(head.timeline) {
            let through = leading.parts.store.windows.of(head).await?.through();
            self.begun = through.map(|place| place.timeline).filter(|timeline| *timeline == head.timeline);
        }
        Ok(self.begun.is_some())
    }
}
