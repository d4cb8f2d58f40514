//! The user record and its parts.
//!
//! Rule: a password hash never shows in `Debug`, so it cannot reach a log by accident.

use std::fmt;
use std::str::FromStr;

use unicode_normalization::UnicodeNormalization;

use super::clock::Timestamp;
use super::ids::{DepartmentName, UserId};
use super::text::Invalid;

/// Longest user name, in characters after normalisation.
pub const NAME_CHARS_MAX: usize = 128;
/// Longest stored password hash, in bytes.
pub const HASH_BYTES_MAX: usize = 1024;

/// A user record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Unique over all departments.
    pub id: UserId,
    /// The partition that the user belongs to; never changes.
    pub department: DepartmentName,
    /// Unique in the department.
    pub name: UserName,
    /// Self-describing password hash, stored byte-exact.
    pub password_hash: PasswordHash,
    /// Whether password verification is refused.
    pub locked: bool,
    /// Guard of every write, and the `ETag`.
    pub rev: Rev,
    /// Counts writes of this id; informs, guards nothing.
    pub version: i64,
    /// When the record was first made.
    pub created_at: Timestamp,
    /// When the record was last written.
    pub updated_at: Timestamp,
}

impl User {
    /// Whether two records hold the same, that is everything except `rev`, `version` and `updated_at`.
    pub fn same_content(&self, other: &Self) -> bool {
        self.id == other.id
            && self.department == other.department
            && self.name == other.name
            && self.password_hash == other.password_hash
            && self.locked == other.locked
            && self.created_at == other.created_at
    }
}

/// A user name: NFC, trimmed, 1 to 128 characters, no control characters; compared case-sensitively.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

impl UserName {
    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name that was validated when it was stored.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }
}

impl FromStr for UserName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let name: String = text.trim().nfc().collect();
        let chars = name.chars().count();
        if chars == 0 || chars > NAME_CHARS_MAX {
            return Err(Invalid::new("invalid_name", "A name is 1 to 128 characters after trimming."));
        }
        if name.chars().any(char::is_control) {
            return Err(Invalid::new("invalid_name", "A name has no control characters."));
        }
        Ok(Self(name))
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A password hash in PHC string format; shows itself only when asked by `expose`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A hash that was checked when it came in (see `api::passwords`), or that is stored already.
    pub fn from_checked(text: String) -> Self {
        Self(text)
    }

    /// The hash itself. Only stores, backups and verification need it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(***)")
    }
}

/// Revision of a record: 64 random bits, new at every write. Written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rev(u64);

impl Rev {
    /// A revision from its bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of the revision.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// A fresh revision, from the thread's random generator.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Rev {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(hex) {
            return Err(Invalid::new("invalid_rev", "A revision is 16 hexadecimal digits, as in the ETag."));
        }
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| Invalid::new("invalid_rev", "A revision is 16 hexadecimal digits, as in the ETag."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_trimmed_and_composed() {
        let name: UserName = "  Zoe\u{308} ".parse().unwrap();
        assert_eq!(name.as_str(), "Zo\u{eb}");
    }

    #[test]
    fn a_name_has_limits_and_no_control_characters() {
        assert!("é".repeat(128).parse::<UserName>().is_ok());
        for bad in [String::new(), "   ".to_owned(), "x".repeat(129), "a\u{0}b".to_owned(), "a\nb".to_owned()] {
            assert!(bad.parse::<UserName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_hash_never_shows_in_debug() {
        let hash = PasswordHash::from_checked("$argon2id$secret".to_owned());
        assert!(!format!("{hash:?}").contains("secret"));
    }

    #[test]
    fn a_rev_round_trips_as_sixteen_digits() {
        let rev = Rev::from_bits(0xab);
        assert_eq!(rev.to_string(), "00000000000000ab");
        assert_eq!("00000000000000ab".parse::<Rev>(), Ok(rev));
        assert!("AB".parse::<Rev>().is_err());
    }
}
