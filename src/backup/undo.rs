//! Takes back what a restore wrote: the records that it wrote, beside those before it and those of now, merged by id.
//!
//! Rule: the value before is the one whose rev the restore replaced. It is in the safety backup, or, where the restore
//! wrote over something that its plan did not know, kept with the range; nothing else is ever taken for it.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::BackupError;
use super::manifest::ChunkRef;
use super::merge::{Side, may_hold};
use super::state::State;
use crate::domain::cause::Cause;
use crate::domain::ids::{RestoreId, UserId};
use crate::domain::plan::Compared;
use crate::domain::undo::{Written, taken_back};
use crate::domain::user::User;
use crate::store::StoreError;
use crate::store::restore_batches::RestoreBatches;

/// Most writes that are held in memory; more are read again each time.
const HELD_MAX: usize = 20_000;

/// What a restore wrote, and what was there before it. Clones share it.
#[derive(Debug, Clone)]
pub struct Undo {
    batches: RestoreBatches,
    restore: RestoreId,
    before: State,
    held: Option<Arc<[Written]>>,
}

impl Undo {
    /// Of a restore, given the state before it.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn open(batches: &RestoreBatches, restore: &RestoreId, before: State) -> Result<Self, BackupError> {
        let few: Vec<Written> = batches.written(restore, None).take(HELD_MAX + 1).try_collect().await?;
        let held = (few.len() <= HELD_MAX).then(|| few.into());
        Ok(Self { batches: batches.clone(), restore: restore.clone(), before, held })
    }

    /// The merge with what is live, after an id or from the first one.
    ///
    /// # Errors
    /// When one of the states cannot be read and verified.
    pub(super) async fn merge(&self, live: &State, after: Option<&UserId>) -> Result<UndoMerge, BackupError> {
        let ids: Option<Vec<&UserId>> =
            self.held.as_ref().map(|held| held.iter().map(|written| &written.user_id).collect());
        let needed = |chunk: &ChunkRef| ids.as_ref().is_none_or(|ids| may_hold(chunk, ids));
        let (before, live) = futures::try_join!(
            Side::open(&self.before, after.cloned(), &needed),
            Side::open(live, after.cloned(), &needed)
        )?;
        Ok(UndoMerge { written: self.written(after), before, live })
    }

    fn written(&self, after: Option<&UserId>) -> BoxStream<'static, Result<Written, StoreError>> {
        let Some(held) = &self.held else { return self.batches.written(&self.restore, after).boxed() };
        let (held, begin) = (Arc::clone(held), after.map_or(0, |id| held.partition_point(|w| w.user_id <= *id)));
        let each = (begin..held.len()).filter_map(move |at| held.get(at).cloned().map(Ok));
        futures::stream::iter(each).boxed()
    }
}

/// The merge of what was written with what was and what is.
pub struct UndoMerge {
    written: BoxStream<'static, Result<Written, StoreError>>,
    before: Side,
    live: Side,
}

impl std::fmt::Debug for UndoMerge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UndoMerge").finish_non_exhaustive()
    }
}

impl UndoMerge {
    /// What is to be done about the next record that was written; absent at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Compared>, BackupError> {
        let Some(written) = self.written.try_next().await? else { return Ok(None) };
        let stated = self.before.take(&written.user_id).await?;
        let before = value_before(&written, stated)?;
        let live = self.live.take(&written.user_id).await?;
        Ok(Some(match taken_back(&written, before, live) {
            Some(change) => Compared::Change { change: Box::new(change), security_kept: false },
            None => Compared::Unchanged { security_kept: false },
        }))
    }
}

fn value_before(written: &Written, stated: Option<User>) -> Result<Option<User>, BackupError> {
    let Some(rev) = written.before else { return Ok(None) };
    let known = [written.value.clone(), stated].into_iter().flatten().find(|user| user.rev == rev);
    known.map(Some).ok_or_else(|| {
        let message = format!(
            "What the user {} was before the restore is not known any more, so the restore is not undone. Restore the \
             backup from before it.",
            written.user_id
        );
        BackupError::Unrestorable(Cause::new("value_before_unknown", message))
    })
}
