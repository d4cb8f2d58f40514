//! Values that several resources show: causes, executors, copies, targets; and the words of every enumeration.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::audit::{AuditAction, AuditOutcome};
use crate::domain::backup::{BackupKind, BackupState};
use crate::domain::cause::Cause;
use crate::domain::copies::{Copy, CopyState, TargetState, TargetStatus};
use crate::domain::department::DepartmentState;
use crate::domain::epoch::Executor;
use crate::domain::restore::{
    Action, ConflictCause, CredentialsPolicy, LockedPolicy, OnConflict, Pass, RestoreMode, RestoreState,
};
use crate::domain::text::Invalid;
use crate::domain::window::Place;

/// An enumeration on the wire: the same variants as the domain's, in `snake_case`.
macro_rules! words {
    ($(#[$doc:meta])* $wire:ident, $schema:literal, $domain:ident { $($variant:ident = $word:tt),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, std::marker::Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[schema(as = $wire)]
        pub enum $wire {
            $(#[doc = concat!("`", $word, "`")] #[serde(rename = $word)] $variant),+
        }

        impl $wire {
            /// How it is written.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl From<$domain> for $wire {
            fn from(value: $domain) -> Self {
                match value { $($domain::$variant => Self::$variant),+ }
            }
        }

        impl From<$wire> for $domain {
            fn from(value: $wire) -> Self {
                match value { $($wire::$variant => Self::$variant),+ }
            }
        }

        impl std::str::FromStr for $wire {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(Invalid::new(
                        concat!("invalid_", $schema),
                        concat!("This is one of", $(" ", $word),+, "."),
                    )),
                }
            }
        }
    };
}

words!(
    /// What was done.
    AuditActionView, "action", AuditAction {
        StartRestore = "start_restore", ApplyRestore = "apply_restore", CancelRestore = "cancel_restore",
        UndoRestore = "undo_restore", DeleteBackup = "delete_backup", HoldBackup = "hold_backup",
        ReleaseBackup = "release_backup", CreateDepartment = "create_department", ChangePolicy = "change_policy",
        DeleteDepartment = "delete_department", RebaseDepartment = "rebase_department", DeleteUser = "delete_user",
        ExportUsers = "export_users", IssueToken = "issue_token", RevokeToken = "revoke_token",
    }
);
words!(
    /// How far it went: `done`; `requested` of a leader; `taken_back` at once; `begun`, where nobody knows how it ended;
    /// `refused` after it was begun.
    AuditOutcomeView, "outcome", AuditOutcome {
        Done = "done", Requested = "requested", TakenBack = "taken_back", Begun = "begun", Refused = "refused",
    }
);
words!(
    /// Why a backup was made.
    BackupKindView, "kind", BackupKind {
        Scheduled = "scheduled", OnDemand = "on_demand", BeforeRestore = "before_restore",
    }
);
words!(
    /// How far a backup has come.
    BackupStateView, "state", BackupState {
        Queued = "queued", Running = "running", Complete = "complete", Failed = "failed", Cancelled = "cancelled",
        Deleted = "deleted",
    }
);
words!(
    /// How far a restore has come.
    RestoreStateView, "state", RestoreState {
        Queued = "queued", Planning = "planning", Planned = "planned", Applying = "applying",
        Complete = "complete", Failed = "failed", Cancelled = "cancelled",
    }
);
words!(
    /// `merge` keeps users that the point does not have, `exact` removes them.
    RestoreModeView, "mode", RestoreMode { Merge = "merge", Exact = "exact" }
);
words!(
    /// Which password hash a user ends up with: `keep` the live or the last known one, `restore` the point's.
    CredentialsView, "credentials", CredentialsPolicy { Keep = "keep", Restore = "restore" }
);
words!(
    /// Whether users are locked afterwards: `keep` unlocks nobody, `restore` as the point has it, `unlock` nobody is.
    LockedView, "locked", LockedPolicy { Keep = "keep", Restore = "restore", Unlock = "unlock" }
);
words!(
    /// What becomes of a record that was changed after the plan.
    OnConflictView, "on_conflict", OnConflict { Skip = "skip", Overwrite = "overwrite" }
);
words!(
    /// What happens to one record.
    ActionView, "action", Action { Create = "create", Update = "update", Delete = "delete" }
);
words!(
    /// The pass of the application that is under way.
    PassView, "pass", Pass { Deletes = "deletes", Renames = "renames", Records = "records" }
);
words!(
    /// What stood in the way of a planned change. `changed` and `gone` also tell of a user of another department whose copy
    /// would have had an older hash or no lock.
    ConflictCauseView, "cause", ConflictCause {
        Changed = "changed", Gone = "gone", Appeared = "appeared", IdElsewhere = "id_elsewhere",
        NameTaken = "name_taken",
    }
);
words!(
    /// What a target holds of a backup.
    CopyStateView, "state", CopyState {
        Present = "present", Owed = "owed", Damaged = "damaged", Missing = "missing",
    }
);
words!(
    /// Whether a target works.
    TargetStateView, "state", TargetState {
        Ok = "ok", Down = "down", Slow = "slow", ReadOnly = "read_only", Full = "full", Foreign = "foreign",
    }
);
words!(
    /// Whether a department takes users.
    DepartmentStateView, "state", DepartmentState { Active = "active", Deleted = "deleted" }
);

/// A place in a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PlaceView {
    /// Changes up to and including this one.
    pub sequence: i64,
    /// The department's time there.
    #[schema(format = DateTime)]
    pub time: String,
}

impl From<Place> for PlaceView {
    fn from(place: Place) -> Self {
        Self { sequence: place.sequence.0, time: place.time.to_string() }
    }
}

/// Why something waits, failed or does not work.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CauseView {
    /// Stable machine-readable code.
    #[schema(example = "no_leader")]
    pub code: String,
    /// What happened and what to do.
    pub message: String,
}

impl From<Cause> for CauseView {
    fn from(cause: Cause) -> Self {
        Self { code: cause.code, message: cause.message }
    }
}

/// Who carries or carried a job out.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ExecutorView {
    /// The replica.
    pub replica: String,
    /// Its epoch for the department.
    pub epoch: i64,
}

impl From<Executor> for ExecutorView {
    fn from(executor: Executor) -> Self {
        Self { replica: executor.replica.to_string(), epoch: executor.epoch.0 }
    }
}

/// What one target holds of a backup.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CopyView {
    /// The target.
    pub target: String,
    /// What it holds.
    pub state: CopyStateView,
    /// When the copy was last read back and found good.
    #[schema(format = DateTime)]
    pub verified_at: Option<String>,
    /// Why it is not present.
    pub cause: Option<CauseView>,
}

impl From<Copy> for CopyView {
    fn from(copy: Copy) -> Self {
        Self {
            target: copy.target.to_string(),
            state: copy.state.into(),
            verified_at: copy.verified_at.map(|time| time.to_string()),
            cause: copy.cause.map(Into::into),
        }
    }
}

/// What is known of a target now.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TargetView {
    /// The target.
    pub name: String,
    /// Whether it works, as the answering replica sees it.
    pub state: TargetStateView,
    /// Why not, when it does not.
    pub cause: Option<CauseView>,
    /// Since when it is in this state.
    #[schema(format = DateTime)]
    pub since: String,
}

impl From<TargetStatus> for TargetView {
    fn from(status: TargetStatus) -> Self {
        Self {
            name: status.name.to_string(),
            state: status.state.into(),
            cause: status.cause.map(Into::into),
            since: status.since.to_string(),
        }
    }
}
