//! A user on the wire.
//!
//! Rule: no view of a user has its password hash.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::extract::not_null;
use crate::domain::user::User;

/// A user to create. Exactly one of `password` and `password_hash` is given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Ada Lovelace", "password": "correct horse battery staple"}))]
pub struct NewUser {
    /// Id of the client's own choice; absent means a fresh UUIDv7.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, max_length = 64, pattern = r"^(\.{0,2}[A-Za-z0-9_~-]|\.{3})[A-Za-z0-9._~-]*$")]
    pub(super) id: Option<String>,
    /// The department; absent means `default`.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    pub(super) department: Option<String>,
    /// Unique in the department; 1 to 128 characters after trimming, no control characters.
    #[schema(
        max_length = 128,
        pattern = r"^\s*[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?\s*$"
    )]
    pub(super) name: String,
    /// Password to hash with argon2id; 1 to 1024 bytes.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, value_type = Option<String>, write_only, min_length = 1, max_length = 1024)]
    pub(super) password: Option<SecretString>,
    /// Ready hash, kept as it is: argon2, scrypt or pbkdf2 in PHC string format, or bcrypt (`$2a$`, `$2b$`, `$2y$`).
    #[serde(default, deserialize_with = "not_null")]
    #[schema(
        nullable = false,
        write_only,
        max_length = 1024,
        pattern = r"^\$(argon2(id|i|d)|2[aby]|scrypt|pbkdf2-sha(256|512))\$.+$"
    )]
    pub(super) password_hash: Option<String>,
    /// Whether password verification is refused. Default false.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub(super) locked: Option<bool>,
}

/// Changes to a user (JSON merge patch). Null is not a value of any field.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"locked": true}))]
pub struct UserPatch {
    /// New name.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(
        nullable = false,
        max_length = 128,
        pattern = r"^\s*[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?\s*$"
    )]
    pub(super) name: Option<String>,
    /// A user stays in its department: only the present one is accepted.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    pub(super) department: Option<String>,
    /// New password, to hash.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, value_type = Option<String>, write_only, min_length = 1, max_length = 1024)]
    pub(super) password: Option<SecretString>,
    /// New ready hash, of the formats that a new user may bring.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(
        nullable = false,
        write_only,
        max_length = 1024,
        pattern = r"^\$(argon2(id|i|d)|2[aby]|scrypt|pbkdf2-sha(256|512))\$.+$"
    )]
    pub(super) password_hash: Option<String>,
    /// Whether password verification is refused.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub(super) locked: Option<bool>,
}

/// A user, without its password hash.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    /// Unique over all departments.
    pub id: String,
    /// The department.
    pub department: String,
    /// Unique in the department.
    pub name: String,
    /// Whether password verification is refused.
    pub locked: bool,
    /// Revision; the `ETag` without its quotes.
    pub rev: String,
    /// Counts the writes of this id.
    pub version: i64,
    /// When the record was first made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When the record was last written.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            department: user.department.to_string(),
            name: user.name.to_string(),
            locked: user.locked,
            rev: user.rev.to_string(),
            version: user.version,
            created_at: user.created_at.to_string(),
            updated_at: user.updated_at.to_string(),
        }
    }
}

/// A page of users.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserPage {
    /// The users, in the order of department and id.
    pub items: Vec<UserView>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// Filter and page of a list of users.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UserQuery {
    /// Only this department.
    pub(super) department: Option<String>,
    /// Only names that begin so.
    pub(super) name_prefix: Option<String>,
    /// Only locked, or only unlocked users.
    #[param(value_type = Option<bool>)]
    pub(super) locked: Option<String>,
    /// Only records written at or after this moment.
    #[param(format = DateTime)]
    pub(super) updated_since: Option<String>,
    /// Only these ids, separated by commas or repeated; at most 200.
    #[param(value_type = Option<Vec<String>>, max_items = 200)]
    pub(super) ids: Option<String>,
    /// As they were at this moment of the recovery window; needs `department`.
    #[param(format = DateTime)]
    pub(super) at: Option<String>,
    /// Items of the page, 1 to 1000. Default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(super) limit: Option<String>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// A moment of the past.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MomentQuery {
    /// As it was at this moment of the recovery window.
    #[param(format = DateTime)]
    pub(super) at: Option<String>,
    /// With `at`: the department that it was in. Absent: the one that it is in, else every one that the token may see.
    pub(super) department: Option<String>,
}
