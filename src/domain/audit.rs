//! Who did what: one record for each act that destroys, brings back, keeps, or gives rights.
//!
//! Rule: a record is written in the transaction that has the effect, so neither is ever there without the other. Only the
//! deletion of a user, which has to be a write of its own, and an export, which writes nothing, are written down before they
//! begin, and settled after it.

use super::clock::Timestamp;
use super::ids::{AuditId, DepartmentName, ReplicaId, TokenId};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAction {
    /// A restore was asked for; with `apply` it goes through without a stop.
    StartRestore,
    /// A planned restore was let through.
    ApplyRestore,
    /// A restore was told to stop.
    CancelRestore,
    /// A restore is taken back; the subject is the new restore.
    UndoRestore,
    /// A backup shall go.
    DeleteBackup,
    /// A backup stays whatever retention says.
    HoldBackup,
    /// Retention decides about a backup again.
    ReleaseBackup,
    /// A department was made, or made again.
    CreateDepartment,
    /// A policy was changed: what is backed up when, and what retention prunes.
    ChangePolicy,
    /// A department was deleted.
    DeleteDepartment,
    /// A diverged department goes on with its live records.
    RebaseDepartment,
    /// A user was deleted.
    DeleteUser,
    /// Users of a department were exported, with their password hashes.
    ExportUsers,
    /// A token was issued.
    IssueToken,
    /// A token was revoked.
    RevokeToken,
}

impl AuditAction {
    /// How far it goes in the request that asks for it.
    pub const fn outcome(self) -> AuditOutcome {
        match self {
            Self::StartRestore
            | Self::ApplyRestore
            | Self::CancelRestore
            | Self::UndoRestore
            | Self::DeleteBackup
            | Self::RebaseDepartment => AuditOutcome::Requested,
            Self::HoldBackup
            | Self::ReleaseBackup
            | Self::CreateDepartment
            | Self::ChangePolicy
            | Self::DeleteDepartment
            | Self::IssueToken
            | Self::RevokeToken => AuditOutcome::Done,
            Self::DeleteUser | Self::ExportUsers => AuditOutcome::Begun,
        }
    }
}

/// How far it went when the caller was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOutcome {
    /// It took effect.
    Done,
    /// It is recorded, and the leader of the department carries it out; the job says what became of it.
    Requested,
    /// It was taken back at once: the department got a user while it was being deleted.
    TakenBack,
    /// It was begun. It stays so when the replica died, or MongoDB did not say how it ended: what it was done to tells.
    Begun,
    /// It was begun and then refused, and has changed nothing.
    Refused,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its id.
    pub id: AuditId,
    /// When it was done, by the clock of the replica.
    pub at: Timestamp,
    /// Name of the caller.
    pub caller: String,
    /// The token of the caller; none for the bootstrap token.
    pub token_id: Option<TokenId>,
    /// What was done.
    pub action: AuditAction,
    /// The department that it concerns; none where it concerns all.
    pub department: Option<DepartmentName>,
    /// Id or name of what it was done to.
    pub subject: String,
    /// Id of the request, as in the log.
    pub request_id: Option<String>,
    /// The replica that answered it.
    pub replica: ReplicaId,
    /// How far it went.
    pub outcome: AuditOutcome,
    /// When it is forgotten.
    pub expires_at: Timestamp,
}

/// Which records a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only this department.
    pub department: Option<DepartmentName>,
    /// Only callers of this name.
    pub caller: Option<String>,
    /// Only these actions; empty means all.
    pub actions: Vec<AuditAction>,
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}
