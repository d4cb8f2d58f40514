//! A restore: what was asked, what the plan says, how far it has come.

use std::time::Duration;

use super::backup::Base;
use super::cause::Cause;
use super::clock::Timestamp;
use super::epoch::Executor;
use super::history::{Chain, Sequence, Timeline};
use super::ids::{BackupId, DepartmentName, RestoreId, UserId};
use super::window::Moment;

/// Most user ids that a restore may name.
pub const RESTORE_USERS_MAX: usize = 10_000;

/// A restore and all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// Its id.
    pub id: RestoreId,
    /// The department that is restored.
    pub department: DepartmentName,
    /// What was asked.
    pub request: RestoreRequest,
    /// How far it has come.
    pub state: RestoreState,
    /// Why it waits, failed or was cancelled.
    pub cause: Option<Cause>,
    /// Who asked for it.
    pub requested_by: String,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// Whether to go on from the plan to its application.
    pub apply: bool,
    /// Whether somebody asked to stop it.
    pub cancel_requested: bool,
    /// Who carries or carried it out.
    pub executed_by: Option<Executor>,
    /// The point that the moment of the request is, once it was looked up.
    pub point: Option<RestorePoint>,
    /// The backup taken before anything is changed.
    pub safety_backup_id: Option<BackupId>,
    /// The restore that takes back what this one wrote.
    pub undone_by: Option<RestoreId>,
    /// What the restore would change, or changes.
    pub plan: Option<Plan>,
    /// How far the application has come.
    pub progress: RestoreProgress,
    /// When the plan was begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// What was asked of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreRequest {
    /// Where the wanted records come from.
    pub source: RestoreSource,
    /// The department that gets the records, where it is another than the one that they come from.
    pub into: Option<DepartmentName>,
    /// Only these users, or all.
    pub users: Option<Vec<UserId>>,
    /// What becomes of users that the point does not have.
    pub mode: RestoreMode,
    /// Which password hash a user with a live record ends up with.
    pub credentials: CredentialsPolicy,
    /// Whether a user is locked afterwards.
    pub locked: LockedPolicy,
    /// What becomes of a record that was changed after the plan.
    pub on_conflict: OnConflict,
}

/// Where the wanted records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreSource {
    /// A complete backup.
    Backup(BackupId),
    /// A moment of a department's history.
    Moment(DepartmentName, Moment),
    /// What another restore wrote is taken back.
    Undo(RestoreId),
}

/// The point of a history that a moment was found to be, stored so that every leader plans from the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePoint {
    /// The department whose history it is.
    pub department: DepartmentName,
    /// The line of history.
    pub timeline: Timeline,
    /// Changes up to and including this one.
    pub sequence: Sequence,
    /// The chain there.
    pub chain: Chain,
    /// The department's time there.
    pub time: Timestamp,
    /// The snapshot to begin with; absent at the empty beginning.
    pub base: Option<Base>,
}

impl RestoreRequest {
    /// Everything that a source has, under no policy: what a comparison and an undo ask for.
    pub const fn everything(source: RestoreSource) -> Self {
        Self {
            source,
            into: None,
            users: None,
            mode: RestoreMode::Exact,
            credentials: CredentialsPolicy::Restore,
            locked: LockedPolicy::Restore,
            on_conflict: OnConflict::Skip,
        }
    }

    /// Whether a policy keeps something of a user that has no live record.
    pub fn keeps_security(&self) -> bool {
        self.credentials == CredentialsPolicy::Keep || self.locked == LockedPolicy::Keep
    }
}

impl Restore {
    /// A restore that nobody has taken up yet.
    pub fn queued(
        id: RestoreId,
        department: DepartmentName,
        request: RestoreRequest,
        requested_by: String,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            department,
            request,
            state: RestoreState::Queued,
            cause: None,
            requested_by,
            requested_at: now,
            apply: false,
            cancel_requested: false,
            executed_by: None,
            point: None,
            safety_backup_id: None,
            undone_by: None,
            plan: None,
            progress: RestoreProgress::default(),
            started_at: None,
            finished_at: None,
        }
    }

    /// When its plan is given up, while it waits for somebody to apply it.
    pub fn expires_at(&self, plan_lifetime: Duration) -> Option<Timestamp> {
        let waits = self.state == RestoreState::Planned && !self.apply;
        self.plan.as_ref().filter(|_| waits).map(|plan| plan.computed_at.later_by(plan_lifetime))
    }

    /// Until when it can be undone at least, once it has ended.
    pub fn undo_until(&self, undo_lifetime: Duration) -> Option<Timestamp> {
        self.finished_at.filter(|_| self.state.is_final()).map(|ended| ended.later_by(undo_lifetime))
    }
}

/// What becomes of users that the point does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestoreMode {
    /// They stay.
    #[default]
    Merge,
    /// They are removed.
    Exact,
}

/// Which password hash a user with a live record ends up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CredentialsPolicy {
    /// The live one; of a record without a live one, what the history last knew.
    #[default]
    Keep,
    /// The one of the point, even if it is older.
    Restore,
}

/// Whether a user is locked afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockedPolicy {
    /// A locked user stays locked; a record without a live one gets what the history last knew of it.
    #[default]
    Keep,
    /// As the point has it.
    Restore,
    /// Nobody that the restore writes is locked.
    Unlock,
}

/// What becomes of a record that was changed after the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// It stays as it is, and is reported.
    #[default]
    Skip,
    /// It is overwritten, and is reported.
    Overwrite,
}

/// How far a restore has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreState {
    /// Waits for the leader.
    Queued,
    /// The safety backup is taken and the plan computed.
    Planning,
    /// Waits for `apply`.
    Planned,
    /// Changes are made, range by range.
    Applying,
    /// All ranges are done.
    Complete,
    /// Ended with a cause; what was applied is counted.
    Failed,
    /// Somebody stopped it; what was applied is counted.
    Cancelled,
}

impl RestoreState {
    /// Whether the job has ended.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::Failed | Self::Cancelled)
    }
}

/// What a restore would change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Records to create.
    pub creates: u64,
    /// Records to change.
    pub updates: u64,
    /// Records to delete.
    pub deletes: u64,
    /// Records among the updates that get another name.
    pub renames: u64,
    /// Records that are as wanted.
    pub unchanged: u64,
    /// Records of which a policy keeps the live hash or lock against the point.
    pub security_kept: u64,
    /// Records among the creates that get a new id, since theirs lives in another department.
    pub renumbered: u64,
    /// Users of whom a restore into another department noted something when the plan was made.
    pub noted: u64,
    /// Changes that are known to meet a conflict already; the application tells of each one.
    pub conflicts: u64,
    /// Users that were asked for by id and that the restore point does not have.
    pub missing_users: Vec<UserId>,
    /// Hash over every planned change; the plan's `ETag`.
    pub hash: String,
    /// The first few changes of each kind.
    pub samples: Vec<PlanSample>,
    /// When it was computed.
    pub computed_at: Timestamp,
}

impl Plan {
    /// Number of records that the plan touches.
    pub const fn changes(&self) -> u64 {
        self.creates + self.updates + self.deletes
    }
}

/// One change of a plan, for people to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSample {
    /// What happens.
    pub action: Action,
    /// The user.
    pub user_id: UserId,
    /// The id that the point has it under, where it gets a new one.
    pub renumbered_from: Option<UserId>,
    /// The name it has or gets.
    pub name: String,
    /// Names of the fields that change.
    pub fields: Vec<String>,
}

/// What happens to one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
}

/// How far the application has come; written in the transaction of each range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreProgress {
    /// The pass that is under way.
    pub pass: Pass,
    /// The last user id of the pass that is done.
    pub key: Option<UserId>,
    /// Number of ranges that are committed, which is the number of the next one.
    pub batches: u64,
    /// Planned changes that are dealt with, conflicts included.
    pub changes_done: u64,
    /// Planned changes in all.
    pub changes_total: u64,
    /// Users that were really written.
    pub changes_applied: u64,
    /// Changes that could not be made, or were made over a conflict.
    pub conflicts: u64,
}

impl Default for RestoreProgress {
    fn default() -> Self {
        Self {
            pass: Pass::Deletes,
            key: None,
            batches: 0,
            changes_done: 0,
            changes_total: 0,
            changes_applied: 0,
            conflicts: 0,
        }
    }
}

/// The passes of an application, in order: deletes free names, renames pass them on, the rest follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    /// Records that the point does not have (`exact`).
    Deletes,
    /// Updates whose new name is held by a user that gives it up in the same pass.
    Renames,
    /// Everything else, in the order of ids.
    Records,
}

/// A planned change that met something else than the plan expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The user.
    pub user_id: UserId,
    /// What was planned.
    pub action: Action,
    /// What stood in the way.
    pub cause: ConflictCause,
    /// Whether it was overwritten (`on_conflict: overwrite`).
    pub overwritten: bool,
}

/// What stood in the way of a planned change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictCause {
    /// The live record changed after the plan, or the one of another department that is copied.
    Changed,
    /// The live record is gone, or the one of another department that is copied.
    Gone,
    /// A record with this id was made after the plan.
    Appeared,
    /// The id belongs to a user of another department.
    IdElsewhere,
    /// The name is held by a user that the restore does not touch.
    NameTaken,
}
