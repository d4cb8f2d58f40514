//! Applies the plan of a restore: deletes, renames, records, in ranges of changes.
//!
//! Rule: a range is one fenced transaction with its checkpoint, and one that was begun is never dropped.

use super::halt::Halt;
use super::leader::Leading;
use super::renames;
use super::restores::unless_cancelled;
use crate::backup::changes::{ChangeReader, Changes};
use crate::domain::cause::Cause;
use crate::domain::ids::UserId;
use crate::domain::plan::PlannedChange;
use crate::domain::range::Range;
use crate::domain::renames::{Packed, RenameGroup, pack};
use crate::domain::restore::{Action, Pass, Restore, RestoreProgress};
use crate::store::restore_batches::Applied;

/// Applies a plan from a checkpoint on.
pub(super) struct Applier<'a> {
    pub(super) leading: &'a Leading,
    pub(super) restore: &'a Restore,
    pub(super) changes: &'a Changes,
}

impl Applier<'_> {
    /// Makes every change of the plan that is not made yet.
    pub(super) async fn apply(&self, mut progress: RestoreProgress) -> Result<(), Halt> {
        // Before the deletes, since too many moved names must end the restore before it has changed anything.
        let renames = if progress.pass <= Pass::Renames { self.contended().await? } else { Vec::new() };
        if progress.pass == Pass::Deletes {
            if self.restore.plan.as_ref().is_none_or(|plan| plan.deletes > 0) {
                Box::pin(self.ranges(&mut progress, |change| change.action == Action::Delete)).await?;
            }
            progress.pass = Pass::Renames;
            progress.key = None;
        }
        if progress.pass == Pass::Renames {
            let limits = &self.leading.parts.config.restore;
            for packed in pack(renames, limits.range_records, limits.range_bytes) {
                let range = self.renames(&progress, packed);
                self.commit(&mut progress, range).await?;
            }
            progress.pass = Pass::Records;
            progress.key = None;
        }
        Box::pin(self.ranges(&mut progress, |change| change.action != Action::Delete)).await
    }

    async fn contended(&self) -> Result<Vec<RenameGroup>, Halt> {
        if self.restore.plan.as_ref().is_some_and(|plan| plan.renames == 0) {
            return Ok(Vec::new());
        }
        let search = Box::pin(renames::contended(self.leading, self.changes));
        unless_cancelled(self.leading, self.restore, search).await?
    }

    fn renames(&self, progress: &RestoreProgress, packed: Packed) -> Range {
        let mut range = self.range(progress, packed.changes);
        range.circles = packed.circles;
        // The records pass counts them.
        range.done = 0;
        range
    }

    /// Cuts the changes of a pass into ranges and commits each, one after the other. While one is committed, the changes
    /// of the next one are read and compared.
    async fn ranges(
        &self,
        progress: &mut RestoreProgress,
        belongs: impl Fn(&PlannedChange) -> bool,
    ) -> Result<(), Halt> {
        let mut reader = self.changes.after(progress.key.as_ref()).await?;
        let mut changes = self.next_changes(&mut reader, &belongs).await?;
        while !changes.is_empty() {
            let range = self.range(progress, changes);
            // Joined and not raced: a range that was begun is never dropped.
            let following = self.next_changes(&mut reader, &belongs);
            let (committed, following) = tokio::join!(self.commit(progress, range), following);
            committed?;
            changes = following?;
        }
        Ok(())
    }

    /// The changes of the next range; none at the end.
    async fn next_changes(
        &self,
        reader: &mut ChangeReader,
        belongs: &impl Fn(&PlannedChange) -> bool,
    ) -> Result<Vec<PlannedChange>, Halt> {
        let limits = &self.leading.parts.config.restore;
        let (mut changes, mut bytes) = (Vec::new(), 0);
        while changes.len() < limits.range_records.max(1) && bytes < limits.range_bytes.max(1) {
            let Some(change) = self.leading.unless_ended(reader.next()).await?? else { break };
            if belongs(&change) {
                bytes += change.weight();
                changes.push(change);
            }
        }
        Ok(changes)
    }

    fn range(&self, progress: &RestoreProgress, changes: Vec<PlannedChange>) -> Range {
        let last: Option<UserId> = changes.last().map(|change| change.key().clone());
        Range {
            restore: self.restore.id.clone(),
            department: self.restore.department.clone(),
            request: self.restore.request.clone(),
            number: progress.batches,
            pass: progress.pass,
            key: if progress.pass == Pass::Renames { None } else { last },
            done: changes.len() as u64,
            changes,
            circles: Vec::new(),
            now: self.leading.parts.clock.now(),
        }
    }

    async fn commit(&self, progress: &mut RestoreProgress, range: Range) -> Result<(), Halt> {
        self.leading.check()?;
        let key = range.key.clone();
        match self.leading.parts.store.restore_batches.apply(&self.leading.leadership, &range).await? {
            Applied::Committed => {
                progress.batches += 1;
                progress.key = key;
                Ok(())
            }
            Applied::Cancelled => Err(Halt::Cancelled),
            Applied::DepartmentDeleted => {
                let message = format!(
                    "The department {} was deleted. Make it again with PUT, then restore again.",
                    self.restore.department
                );
                Err(Halt::Failed(Cause::new("department_deleted", message), Vec::new()))
            }
        }
    }
}
