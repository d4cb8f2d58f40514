//! Fields of a user as they were sent: credentials, and whatever else can be invalid.

use secrecy::SecretString;

use crate::api::passwords;
use crate::api::problem::{FieldProblem, Problem};
use crate::app::App;
use crate::domain::text::Invalid;
use crate::domain::user::PasswordHash;

/// A credential as it was sent: to hash, or ready.
pub(in crate::api) enum Credential {
    /// To hash.
    Password(SecretString),
    /// Ready and checked.
    Hash(PasswordHash),
}

impl Credential {
    /// Takes what was sent, or says what is wrong with it. `None` when nothing was sent.
    pub(in crate::api) fn read(
        password: Option<SecretString>,
        hash: Option<String>,
        errors: &mut Vec<FieldProblem>,
    ) -> Option<Self> {
        use secrecy::ExposeSecret;
        let read = match (password, hash) {
            (None, None) => return None,
            (Some(_), Some(_)) => Err(FieldProblem::body(
                "/password_hash",
                Invalid::new("two_credentials", "Give password or password_hash, not both."),
            )),
            (Some(password), None) => passwords::check_password(password.expose_secret())
                .map(|()| Self::Password(password))
                .map_err(|invalid| FieldProblem::body("/password", invalid)),
            (None, Some(hash)) => passwords::check_hash(&hash)
                .map(Self::Hash)
                .map_err(|invalid| FieldProblem::body("/password_hash", invalid)),
        };
        read.map_err(|error| errors.push(error)).ok()
    }

    pub(super) async fn hash(self, app: &App) -> Result<PasswordHash, Problem> {
        match self {
            Self::Password(password) => app.hasher.hash(password).await,
            Self::Hash(hash) => Ok(hash),
        }
    }
}

/// Parses a field, or notes what is wrong with it.
pub(in crate::api) fn read_field<T: std::str::FromStr<Err = Invalid>>(
    pointer: &str,
    text: Option<&str>,
    errors: &mut Vec<FieldProblem>,
) -> Option<T> {
    text.map(str::parse).transpose().unwrap_or_else(|invalid| {
        errors.push(FieldProblem::body(pointer, invalid));
        None
    })
}
