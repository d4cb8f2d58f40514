//! The stored name of each value of an enumeration.

use crate::domain::audit::{AuditAction, AuditOutcome};
use crate::domain::backup::{BackupKind, BackupState};
use crate::domain::copies::CopyState;
use crate::domain::department::DepartmentState;
use crate::domain::divergence::DivergenceCause;
use crate::domain::restore::{
    Action, ConflictCause, CredentialsPolicy, LockedPolicy, OnConflict, Pass, RestoreMode, RestoreState,
};

/// An enumeration whose values are stored by name.
pub(in crate::store) trait Named: Copy + PartialEq + 'static {
    /// Every value with its name.
    const NAMES: &'static [(Self, &'static str)];

    /// The stored name.
    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(value, _)| *value == self).map_or("", |(_, name)| name)
    }

    /// The value of a stored name.
    fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(value, _)| *value)
    }
}

macro_rules! named {
    ($kind:ident { $($value:ident = $name:literal),+ $(,)? }) => {
        impl Named for $kind {
            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$value, $name)),+];
        }
    };
}

named!(AuditAction {
    StartRestore = "start_restore",
    ApplyRestore = "apply_restore",
    CancelRestore = "cancel_restore",
    UndoRestore = "undo_restore",
    DeleteBackup = "delete_backup",
    HoldBackup = "hold_backup",
    ReleaseBackup = "release_backup",
    CreateDepartment = "create_department",
    ChangePolicy = "change_policy",
    DeleteDepartment = "delete_department",
    RebaseDepartment = "rebase_department",
    DeleteUser = "delete_user",
    ExportUsers = "export_users",
    IssueToken = "issue_token",
    RevokeToken = "revoke_token",
});
named!(AuditOutcome {
    Done = "done",
    Requested = "requested",
    TakenBack = "taken_back",
    Begun = "begun",
    Refused = "refused",
});
named!(BackupKind { Scheduled = "scheduled", OnDemand = "on_demand", BeforeRestore = "before_restore" });
named!(BackupState {
    Queued = "queued",
    Running = "running",
    Complete = "complete",
    Failed = "failed",
    Cancelled = "cancelled",
    Deleted = "deleted",
});
named!(CopyState { Present = "present", Owed = "owed", Damaged = "damaged", Missing = "missing" });
named!(DepartmentState { Active = "active", Deleted = "deleted" });
named!(DivergenceCause { MongodbRolledBack = "mongodb_rolled_back", AnotherWriter = "another_writer" });
named!(RestoreMode { Merge = "merge", Exact = "exact" });
named!(CredentialsPolicy { Keep = "keep", Restore = "restore" });
named!(LockedPolicy { Keep = "keep", Restore = "restore", Unlock = "unlock" });
named!(OnConflict { Skip = "skip", Overwrite = "overwrite" });
named!(RestoreState {
    Queued = "queued",
    Planning = "planning",
    Planned = "planned",
    Applying = "applying",
    Complete = "complete",
    Failed = "failed",
    Cancelled = "cancelled",
});
named!(Action { Create = "create", Update = "update", Delete = "delete" });
named!(Pass { Deletes = "deletes", Renames = "renames", Records = "records" });
named!(ConflictCause {
    Changed = "changed",
    Gone = "gone",
    Appeared = "appeared",
    IdElsewhere = "id_elsewhere",
    NameTaken = "name_taken",
});
