//! The two sides that a restore is planned from: the wanted records and the live ones, as the restore's document names
//! them, for the leader and for whoever looks at the plan.

use super::undo::Undo;
use super::{BackupError, Repository};
use crate::backup::state::State;
use crate::domain::backup::{Backup, BackupState};
use crate::domain::cause::Cause;
use crate::domain::ids::{BackupId, RestoreId};
use crate::domain::restore::{Restore, RestoreRequest, RestoreSource};
use crate::store::Store;
use crate::targets::Targets;

/// The two sides of a restore, and what was asked. Clones share them.
#[derive(Debug, Clone)]
pub struct Sides {
    /// What the records should become.
    pub wanted: Wanted,
    /// What they are, as of the restore's safety backup.
    pub live: State,
    /// The policies.
    pub request: RestoreRequest,
}

/// What records should become.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// A state of the department.
    State(State),
    /// What was there before another restore.
    Undo(Undo),
}

/// Where the sides are read.
#[derive(Debug, Clone, Copy)]
pub struct Reads<'a> {
    /// MongoDB.
    pub store: &'a Store,
    /// The repository.
    pub repository: &'a Repository,
    /// The targets.
    pub targets: &'a Targets,
}

impl Reads<'_> {
    /// Opens the sides of a restore that has its safety backup.
    ///
    /// # Errors
    /// `Unrestorable` when one of them is not there, or no target gives a good copy of it.
    pub async fn sides(&self, restore: &Restore) -> Result<Sides, BackupError> {
        let wanted = match &restore.request.source {
            RestoreSource::Backup(id) => Wanted::State(self.backup(id).await?),
            RestoreSource::Undo(id) => Wanted::Undo(self.undo(id).await?),
        };
        let live = self.safety(restore).await?;
        Ok(Sides { wanted, live, request: restore.request.clone() })
    }

    async fn undo(&self, id: &RestoreId) -> Result<Undo, BackupError> {
        let undone = self.store.restores.get(id).await?.ok_or_else(|| {
            unrestorable("restore_not_found", format!("The restore {id}, which is to be undone, is not there."))
        })?;
        // One that was stopped before its safety backup wrote nothing.
        let before = if undone.safety_backup_id.is_none() { State::empty() } else { self.safety(&undone).await? };
        Undo::open(&self.store.restore_batches, id, before).await
    }

    async fn safety(&self, restore: &Restore) -> Result<State, BackupError> {
        match &restore.safety_backup_id {
            Some(id) => self.backup(id).await,
            None => {
                Err(unrestorable("backup_not_complete", format!("The restore {} has no safety backup.", restore.id)))
            }
        }
    }

    async fn backup(&self, id: &BackupId) -> Result<State, BackupError> {
        let found = self.store.backups.get(id).await?;
        let Some(Backup { department, state: BackupState::Complete, content: Some(content), .. }) = found else {
            let message = format!("The backup {id} is not complete, so it cannot be restored.");
            return Err(unrestorable("backup_not_complete", message));
        };
        State::of_backup(self.repository, self.targets, &department, &content).await
    }
}

fn unrestorable(code: &str, message: String) -> BackupError {
    BackupError::Unrestorable(Cause::new(code, message))
}
