//! The two sides that a restore is planned from: the wanted records and the live ones, as the restore's document names
//! them, for the leader and for whoever looks at the plan.

use super::journal_read::Point;
use super::past::{Past, PastError, PastPoint};
use super::renumber::Renumber;
use super::undo::Undo;
use super::{BackupError, Repository};
use crate::backup::state::State;
use crate::domain::backup::{Backup, BackupState};
use crate::domain::cause::Cause;
use crate::domain::ids::{BackupId, DepartmentName, RestoreId};
use crate::domain::restore::{Restore, RestorePoint, RestoreRequest, RestoreSource};
use crate::domain::window::Moment;
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
    /// The department that gets the records.
    pub into: DepartmentName,
    /// Who gets a new id, where the records come from another department.
    pub renumber: Option<Renumber>,
}

impl Sides {
    /// Two states of one department.
    pub const fn of(wanted: State, live: State, request: RestoreRequest, department: DepartmentName) -> Self {
        Self { wanted: Wanted::State(wanted), live, request, into: department, renumber: None }
    }
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
    /// The past.
    pub past: &'a Past,
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
            RestoreSource::Moment(..) => Wanted::State(self.point(restore).await?),
        };
        let live = self.safety(restore).await?;
        let renumbered = restore.plan.as_ref().map_or(0, |plan| plan.renumbered);
        let renumber = (renumbered > 0).then(|| self.renumber(restore, renumbered));
        Ok(Sides { wanted, live, request: restore.request.clone(), into: restore.department.clone(), renumber })
    }

    /// Who gets a new id in a restore, given how many.
    pub fn renumber(&self, restore: &Restore, total: u64) -> Renumber {
        Renumber {
            batches: self.store.restore_batches.clone(),
            department: restore.department.clone(),
            restore: restore.id.clone(),
            at: restore.requested_at,
            total,
        }
    }

    /// Finds the point of a history that the moment of a request is.
    ///
    /// # Errors
    /// `Unrestorable` when it has left the recovery window since it was asked for.
    pub async fn locate(&self, department: &DepartmentName, moment: Moment) -> Result<RestorePoint, BackupError> {
        let found = self.past.locate(department, moment).await.map_err(of_past)?;
        Ok(RestorePoint {
            department: found.department,
            timeline: found.timeline,
            sequence: found.point.sequence,
            chain: found.point.chain,
            time: found.time,
            base: found.base,
        })
    }

    async fn point(&self, restore: &Restore) -> Result<State, BackupError> {
        let Some(point) = restore.point.clone() else {
            return Err(unrestorable("not_planned", "The moment of the restore was not looked up yet.".to_owned()));
        };
        let at = PastPoint {
            department: point.department,
            timeline: point.timeline,
            point: Point { sequence: point.sequence, chain: point.chain },
            time: point.time,
            base: point.base,
        };
        self.past.state(&at).await.map_err(of_past)
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

fn of_past(error: PastError) -> BackupError {
    match error {
        PastError::Backup(error) => error,
        error => unrestorable("outside_recovery_window", format!("The point cannot be read any more: {error}.")),
    }
}

fn unrestorable(code: &str, message: String) -> BackupError {
    BackupError::Unrestorable(Cause::new(code, message))
}
