//! Who calls, and what the caller may do.

use super::ids::DepartmentName;

/// One thing that a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Read users, without hashes.
    UsersRead,
    /// Create, change, delete and import users.
    UsersWrite,
    /// Ask whether a password is that of a user.
    UsersVerify,
    /// Read departments.
    DepartmentsRead,
    /// Create, change and delete departments.
    DepartmentsWrite,
    /// Read backups.
    BackupsRead,
    /// Start, hold and release backups.
    BackupsWrite,
    /// Delete backups.
    BackupsDelete,
    /// Read restores.
    RestoresRead,
    /// Start, apply and cancel restores.
    RestoresWrite,
    /// Take back what a restore wrote.
    RestoresUndo,
    /// Read the state of the cluster.
    ClusterRead,
}

impl Scope {
    /// Every scope, in the order of the documentation.
    pub const ALL: [Self; 12] = [
        Self::UsersRead,
        Self::UsersWrite,
        Self::UsersVerify,
        Self::DepartmentsRead,
        Self::DepartmentsWrite,
        Self::BackupsRead,
        Self::BackupsWrite,
        Self::BackupsDelete,
        Self::RestoresRead,
        Self::RestoresWrite,
        Self::RestoresUndo,
        Self::ClusterRead,
    ];

    /// The name of the scope in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::UsersVerify => "users:verify",
            Self::DepartmentsRead => "departments:read",
            Self::DepartmentsWrite => "departments:write",
            Self::BackupsRead => "backups:read",
            Self::BackupsWrite => "backups:write",
            Self::BackupsDelete => "backups:delete",
            Self::RestoresRead => "restores:read",
            Self::RestoresWrite => "restores:write",
            Self::RestoresUndo => "restores:undo",
            Self::ClusterRead => "cluster:read",
        }
    }
}

/// An authenticated principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name of the principal, as logged and recorded in jobs.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The one department that it may see, or all.
    pub department: Option<DepartmentName>,
}

impl Caller {
    /// Whether the caller holds a scope.
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether the caller may see a department.
    pub fn sees(&self, department: &DepartmentName) -> bool {
        self.department.as_ref().is_none_or(|own| own == department)
    }
}
