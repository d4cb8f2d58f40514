//! The two sides that a restore is planned from: the wanted records and the live ones, as the restore's document names
//! them, for the leader and for whoever looks at the plan.

use super::journal_read::Point;
use super::known::LastKnown;
use super::past::{Past, PastError, PastPoint};
use super::renumber::Renumber;
use super::undo::Undo;
use super::{BackupError, Repository};
use crate::backup::state::State;
use crate::domain::backup::{Backup, BackupContent, BackupState};
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
    /// The point of a history that the wanted records come from; none for an undo.
    pub from: Option<PastPoint>,
    /// Who gets a new id, and what else was noted, where the records come from another department.
    pub renumber: Option<Renumber>,
    /// What the history knew of users that are gone, where a policy keeps it.
    pub known: Option<LastKnown>,
}

impl Sides {
    /// Two states of one department.
    pub const fn of(wanted: State, live: State, request: RestoreRequest, department: DepartmentName) -> Self {
        let wanted = Wanted::State(wanted);
        Self { wanted, live, request, into: department, from: None, renumber: None, known: None }
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
        let (wanted, from) = match &restore.request.source {
            RestoreSource::Undo(id) => (Wanted::Undo(self.undo(id).await?), None),
            RestoreSource::Backup(id) => {
                let (department, content) = self.content(id).await?;
                let state = self.state_of(&department, &content).await?;
                (Wanted::State(state), Some(PastPoint::of_backup(&department, &content)))
            }
            RestoreSource::Moment(..) => {
                let at = point_of(restore)?;
                (Wanted::State(self.past.state(&at).await.map_err(of_past)?), Some(at))
            }
        };
        let (department, until) = self.safety(restore).await?;
        let live = self.state_of(&department, &until).await?;
        let known = match (&wanted, &from) {
            // Of a restore into another department, what was known is noted once.
            (Wanted::State(wanted), Some(from))
                if restore.request.keeps_security() && from.department == department =>
            {
                let until = PastPoint::of_backup(&department, &until);
                Some(self.known(wanted, from, &until).await?)
            }
            _ => None,
        };
        let noted = restore.plan.as_ref().map_or(0, |plan| plan.noted);
        let renumber = (noted > 0).then(|| self.renumber(restore, noted));
        let (request, into) = (restore.request.clone(), restore.department.clone());
        Ok(Sides { wanted, live, request, into, from, renumber, known })
    }

    /// What was noted of users in a restore, given of how many.
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

    async fn undo(&self, id: &RestoreId) -> Result<Undo, BackupError> {
        let undone = self.store.restores.get(id).await?.ok_or_else(|| {
            unrestorable("restore_not_found", format!("The restore {id}, which is to be undone, is not there."))
        })?;
        // What wrote nothing has nothing to take back, and may have no safety backup any more.
        let before = if undone.progress.batches == 0 {
            State::empty()
        } else {
            let (department, content) = self.safety(&undone).await?;
            self.state_of(&department, &content).await?
        };
        Undo::open(&self.store.restore_batches, id, before).await
    }

    pub(super) async fn safety(&self, restore: &Restore) -> Result<(DepartmentName, BackupContent), BackupError> {
        match &restore.safety_backup_id {
            Some(id) => self.content(id).await,
            None => {
                Err(unrestorable("backup_not_complete", format!("The restore {} has no safety backup.", restore.id)))
            }
        }
    }

    pub(super) async fn content(&self, id: &BackupId) -> Result<(DepartmentName, BackupContent), BackupError> {
        let found = self.store.backups.get(id).await?;
        let Some(Backup { department, state: BackupState::Complete, content: Some(content), .. }) = found else {
            let message = format!("The backup {id} is not complete, so it cannot be restored.");
            return Err(unrestorable("backup_not_complete", message));
        };
        Ok((department, content))
    }

    pub(super) async fn state_of(
        &self,
        department: &DepartmentName,
        content: &BackupContent,
    ) -> Result<State, BackupError> {
        State::of_backup(self.repository, self.targets, department, content).await
    }
}

fn point_of(restore: &Restore) -> Result<PastPoint, BackupError> {
    let Some(point) = restore.point.clone() else {
        return Err(unrestorable("not_planned", "The moment of the restore was not looked up yet.".to_owned()));
    };
    Ok(PastPoint {
        department: point.department,
        timeline: point.timeline,
        point: Point { sequence: point.sequence, chain: point.chain },
        time: point.time,
        base: point.base,
    })
}

pub(super) fn of_past(error: PastError) -> BackupError {
    match error {
        PastError::Backup(error) => error,
        error => unrestorable("outside_recovery_window", format!("The point cannot be read any more: {error}.")),
    }
}

fn unrestorable(code: &str, message: String) -> BackupError {
    BackupError::Unrestorable(Cause::new(code, message))
}
