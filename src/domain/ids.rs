//! The names of things, each its own type so that two kinds cannot be swapped.
//!
//! Rule: a value of these types is valid; parsing is the only way in.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::text::Invalid;

/// Longest user id, in bytes.
pub const USER_ID_MAX: usize = 64;
/// Longest department name, in bytes.
pub const DEPARTMENT_MAX: usize = 63;
/// Longest replica id or target name, in bytes.
pub const LABEL_MAX: usize = 63;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// Id of a user: `[A-Za-z0-9._~-]{1,64}` but `.` and `..`, a `UUIDv7` unless the client chose it.
    UserId,
    check_user_id
);
text_id!(
    /// Name of a department: `[a-z0-9][a-z0-9-]{0,62}`.
    DepartmentName,
    check_department
);
text_id!(
    /// Id of one running replica, from the configuration: `[A-Za-z0-9._-]{1,63}`.
    ReplicaId,
    check_label
);
text_id!(
    /// Name of a target, from the configuration: `[A-Za-z0-9._-]{1,63}`.
    TargetName,
    check_label
);
text_id!(
    /// Id of a backup: a UUID.
    BackupId,
    check_uuid
);
text_id!(
    /// Id of a restore: a UUID.
    RestoreId,
    check_uuid
);

text_id!(
    /// Id of a sync barrier: a UUID.
    BarrierId,
    check_uuid
);
text_id!(
    /// Id of an issued token: a UUID. It is no secret.
    TokenId,
    check_uuid
);
text_id!(
    /// Id of an audit record: a UUID.
    AuditId,
    check_uuid
);

impl From<Uuid> for TokenId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid.to_string())
    }
}

impl From<Uuid> for AuditId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid.to_string())
    }
}

impl From<Uuid> for BarrierId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid.to_string())
    }
}

impl From<Uuid> for UserId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid.to_string())
    }
}

impl From<Uuid> for BackupId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid.to_string())
    }
}

impl From<Uuid> for RestoreId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid.to_string())
    }
}

impl DepartmentName {
    /// The department that always exists and that a user without one belongs to.
    pub fn default_department() -> Self {
        Self("default".to_owned())
    }
}

/// Which bytes a user id may have; a table, since a restore checks millions of ids.
const IN_USER_ID: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut b: u8 = 0;
    while b < 128 {
        allowed[b as usize] = b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-');
        b += 1;
    }
    allowed
};

fn check_user_id(text: &str) -> Result<(), Invalid> {
    let allowed = |b: u8| IN_USER_ID[usize::from(b)];
    // Clients take these two steps out of a path before they send it, so that nobody could ask for such a user.
    let step = matches!(text, "." | "..");
    if text.is_empty() || text.len() > USER_ID_MAX || !text.bytes().all(allowed) || step {
        return Err(Invalid::new(
            "invalid_id",
            "An id is 1 to 64 characters out of A-Z, a-z, 0-9, '.', '_', '~' and '-', and neither '.' nor '..'.",
        ));
    }
    Ok(())
}

fn check_department(text: &str) -> Result<(), Invalid> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || text.len() > DEPARTMENT_MAX || text.starts_with('-') || !text.bytes().all(allowed) {
        return Err(Invalid::new(
            "invalid_department",
            "A department is 1 to 63 characters out of a-z, 0-9 and '-', and does not start with '-'.",
        ));
    }
    Ok(())
}

fn check_label(text: &str) -> Result<(), Invalid> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > LABEL_MAX || !text.bytes().all(allowed) {
        return Err(Invalid::new(
            "invalid_label",
            "A replica id or target name is 1 to 63 characters out of A-Z, a-z, 0-9, '.', '_' and '-'.",
        ));
    }
    Ok(())
}

fn check_uuid(text: &str) -> Result<(), Invalid> {
    // Only the canonical form, so that one job has one name in paths, logs and documents.
    let canonical = Uuid::try_parse(text).is_ok_and(|uuid| uuid.to_string() == text);
    if canonical {
        Ok(())
    } else {
        Err(Invalid::new("invalid_uuid", "This id is a UUID in lower-case hyphenated form."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_keeps_to_its_alphabet_and_length() {
        for good in ["a", "A.b_c~d-9", "...", "..a", &"x".repeat(64)] {
            assert!(good.parse::<UserId>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "é", "a/b", ".", "..", &"x".repeat(65)] {
            assert!(bad.parse::<UserId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_department_starts_with_a_letter_or_digit() {
        for good in ["a", "0", "eng-2", &"x".repeat(63)] {
            assert!(good.parse::<DepartmentName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "Eng", "a_b", &"x".repeat(64)] {
            assert!(bad.parse::<DepartmentName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_backup_id_is_a_canonical_uuid() {
        assert!("0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f".parse::<BackupId>().is_ok());
        assert!("0197F4E2-7A1B-7C3D-8E4F-5A6B7C8D9E0F".parse::<BackupId>().is_err());
        assert!("nope".parse::<BackupId>().is_err());
    }
}
