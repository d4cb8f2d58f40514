//! Who calls, what the caller may do, and the tokens that were issued to callers.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::clock::Timestamp;
use super::ids::{DepartmentName, TokenId};
use super::text::Invalid;

/// Name of the caller with the bootstrap token; no other token can have it.
pub const BOOTSTRAP: &str = "bootstrap";
/// How long a token that has ended is still shown.
pub const ENDED_KEPT_FOR: Duration = Duration::from_hours(30 * 24);
/// Longest name of a token, in characters.
pub const TOKEN_NAME_CHARS_MAX: usize = 128;

/// One thing that a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Read users, without hashes.
    UsersRead,
    /// Create, change, delete and import users.
    UsersWrite,
    /// Export users with their password hashes.
    UsersExport,
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
    /// Read tokens, without their secrets.
    TokensRead,
    /// Issue and revoke tokens.
    TokensWrite,
    /// Read the audit records.
    AuditRead,
}

impl Scope {
    /// Every scope, in the order of the documentation.
    pub const ALL: [Self; 16] = [
        Self::UsersRead,
        Self::UsersWrite,
        Self::UsersExport,
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
        Self::TokensRead,
        Self::TokensWrite,
        Self::AuditRead,
    ];

    /// The name of the scope in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::UsersExport => "users:export",
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
            Self::TokensRead => "tokens:read",
            Self::TokensWrite => "tokens:write",
            Self::AuditRead => "audit:read",
        }
    }
}

impl FromStr for Scope {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|scope| scope.name()).collect();
            Invalid::new("unknown_scope", format!("A scope is one of {}.", names.join(", ")))
        })
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
    /// The issued token that it holds; none for the bootstrap token.
    pub token_id: Option<TokenId>,
    /// When its token ends.
    pub expires_at: Option<Timestamp>,
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

/// What a token is called: trimmed, 1 to 128 characters, no control characters, not `bootstrap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenName(String);

impl TokenName {
    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let name = text.trim();
        let chars = name.chars().count();
        if chars == 0 || chars > TOKEN_NAME_CHARS_MAX || name.chars().any(char::is_control) {
            let rule = "A token's name is 1 to 128 characters after trimming, without control characters.";
            return Err(Invalid::new("invalid_token_name", rule));
        }
        if name.eq_ignore_ascii_case(BOOTSTRAP) {
            return Err(Invalid::new(
                "reserved_token_name",
                "This name stands for the bootstrap token; take another one.",
            ));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An issued token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id, which is part of its text.
    pub id: TokenId,
    /// What it is called; callers are named so in jobs, logs and audit records.
    pub name: TokenName,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// The one department that it sees, or all.
    pub department: Option<DepartmentName>,
    /// Who issued it.
    pub issued_by: String,
    /// The token that it was issued with; none for the bootstrap token.
    pub issued_with: Option<TokenId>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// Who took it back, and when.
    pub revoked: Option<Revoked>,
}

/// Who took a token back, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The caller.
    pub by: String,
    /// The moment.
    pub at: Timestamp,
}

/// Whether a token opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody took it back.
    Revoked,
}

impl Token {
    /// Whether it opens anything at a moment.
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.revoked.is_some() {
            Standing::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            Standing::Expired
        } else {
            Standing::Active
        }
    }

    /// Who holds it.
    pub fn caller(&self) -> Caller {
        Caller {
            name: self.name.to_string(),
            scopes: self.scopes.clone(),
            department: self.department.clone(),
            token_id: Some(self.id.clone()),
            expires_at: self.expires_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_is_found_by_its_name_and_no_name_stands_twice() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
        }
        assert_eq!("users:fly".parse::<Scope>().unwrap_err().code, "unknown_scope");
    }

    #[test]
    fn nobody_is_called_like_the_bootstrap_token() {
        assert_eq!(" ci runner ".parse::<TokenName>().unwrap().as_str(), "ci runner");
        for bad in ["", "  ", "a\nb", "bootstrap", " BootStrap ", &"x".repeat(129)] {
            assert!(bad.parse::<TokenName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_token_ends_at_its_moment_or_when_it_is_taken_back() {
        let at = Timestamp::from_millis;
        let token = Token {
            id: uuid::Uuid::from_u128(1).into(),
            name: "ci".parse().unwrap(),
            scopes: vec![Scope::UsersRead],
            department: None,
            issued_by: BOOTSTRAP.to_owned(),
            issued_with: None,
            issued_at: at(0),
            expires_at: Some(at(10)),
            revoked: None,
        };
        assert_eq!(token.standing(at(9)), Standing::Active);
        assert_eq!(token.standing(at(10)), Standing::Expired);
        let revoked = Token { revoked: Some(Revoked { by: "ada".to_owned(), at: at(5) }), ..token };
        assert_eq!(revoked.standing(at(6)), Standing::Revoked);
    }
}
