//! `POST /users/{user_id}/verify-password`: whether a password is that of a user.
//!
//! Rule: nobody learns from the answer, or from what is computed for it, whether there is such a user; that a user is
//! locked is told to those only who know the password.

use axum::Extension;
use axum::extract::State;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

use crate::api::auth::require_scope;
use crate::api::extract::{Json, Path};
use crate::api::limits::Meter;
use crate::api::passwords;
use crate::api::problem::{FieldProblem, Problem, Problems};
use crate::app::App;
use crate::config::limits::LimitsConfig;
use crate::domain::ids::UserId;
use crate::domain::token::{Caller, Scope};
use crate::domain::user::{Rev, User};

/// A password to compare.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"password": "correct horse battery staple"}))]
pub struct PasswordQuestion {
    /// The password; 1 to 1024 bytes.
    #[schema(value_type = String, write_only, min_length = 1, max_length = 1024)]
    pub(super) password: SecretString,
}

/// Whether a password is that of a user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"verified": true}))]
pub struct PasswordVerdict {
    /// Whether the user may come in with this password.
    pub verified: bool,
    /// Why not; absent when `verified` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<RefusalReason>,
}

/// Why a password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// There is no such user, or its password is another one.
    WrongCredentials,
    /// The password is right, and the user is locked.
    Locked,
}

/// Wrong passwords, counted for each user and for each caller.
#[derive(Debug, Clone)]
pub(in crate::api) struct Attempts(Arc<Meters>);

#[derive(Debug)]
struct Meters {
    user: Meter,
    caller: Meter,
}

impl Attempts {
    pub(in crate::api) fn new(limits: &LimitsConfig) -> Self {
        Self(Arc::new(Meters { user: Meter::new(limits.verify_user), caller: Meter::new(limits.verify_caller) }))
    }

    /// Counts an attempt as a wrong one until it is known to be none, so that many at once are no way around.
    fn begin(&self, caller: &Caller, id: &UserId) -> Result<(), Problem> {
        let Meters { user, caller: callers } = &*self.0;
        let refused = |wait| {
            let detail = "There were too many wrong passwords. The limits are counted by user and by token.";
            Problem::too_many(detail, wait).code("too_many_attempts")
        };
        callers.take(&caller.name).map_err(refused)?;
        user.take(id.as_str()).map_err(|wait| {
            callers.give_back(&caller.name);
            refused(wait)
        })
    }

    fn was_none(&self, caller: &Caller, id: &UserId) {
        self.0.user.give_back(id.as_str());
        self.0.caller.give_back(&caller.name);
    }
}

/// Verifies a password.
///
/// The answer for a user that is not there is the one for a wrong password, and takes as much computing as a hash that is
/// made now. A right password for a hash that is weaker than those that are made now, or of another format, is hashed
/// anew, which changes the user's `ETag`. Wrong passwords are counted by user and by token, on each replica for itself:
/// 429 with `Retry-After` when there are too many, whether the next would be right or not. Of a password whose hash is
/// bcrypt the first 72 bytes count.
#[utoipa::path(post, path = "/users/{user_id}/verify-password", operation_id = "verifyPassword", tag = "users",
    params(("user_id" = String, Path, description = "Id of the user.")), request_body = PasswordQuestion,
    security(("bearer" = ["users:verify"])),
    responses((status = 200, description = "Whether it is the password.", body = PasswordVerdict), Problems))]
pub(in crate::api) async fn verify_password(
    State(app): State<App>,
    Extension(attempts): Extension<Attempts>,
    caller: Caller,
    Path(id): Path<UserId>,
    Json(question): Json<PasswordQuestion>,
) -> Result<axum::Json<PasswordVerdict>, Problem> {
    require_scope(&caller, Scope::UsersVerify)?;
    let password = question.password;
    passwords::check_password(password.expose_secret())
        .map_err(|invalid| Problem::fields_invalid(vec![FieldProblem::body("/password", invalid)]))?;
    attempts.begin(&caller, &id)?;
    let judged = judge(&app, &caller, &id, password).await;
    // What was not judged was no attempt, and neither was a right one.
    if judged.as_ref().map_or(true, |reason| *reason != Some(RefusalReason::WrongCredentials)) {
        attempts.was_none(&caller, &id);
    }
    let reason = judged?;
    Ok(axum::Json(PasswordVerdict { verified: reason.is_none(), reason }))
}

/// Why the password is refused, if it is.
async fn judge(
    app: &App,
    caller: &Caller,
    id: &UserId,
    password: SecretString,
) -> Result<Option<RefusalReason>, Problem> {
    // A user of a foreign department is none, as everywhere.
    let user = app.store.users.get(id).await?.filter(|user| caller.sees(&user.department));
    let hash = user.as_ref().map(|user| &user.password_hash);
    let verdict = app.hasher.verify(password.clone(), hash).await?;
    tracing::debug!(hash.work = verdict.work, "a password was compared");
    let Some(user) = user.filter(|_| verdict.right) else {
        return Ok(Some(RefusalReason::WrongCredentials));
    };
    if user.locked {
        return Ok(Some(RefusalReason::Locked));
    }
    if verdict.outdated {
        rehash(app, user, password).await;
    }
    Ok(None)
}

/// Gives a user the same password with a hash as they are made now. Whatever stops that, the next time will do.
async fn rehash(app: &App, mut user: User, password: SecretString) {
    let made = match app.hasher.hash(password).await {
        Ok(made) => made,
        Err(problem) => {
            tracing::debug!(user.id = %user.id, code = problem.code_str(), "the password is not hashed anew this time");
            return;
        }
    };
    let read = user.rev;
    user.password_hash = made;
    user.rev = Rev::random();
    user.version += 1;
    user.updated_at = app.clock.now().max(user.created_at);
    match app.store.users.replace(&user, read).await {
        Ok(()) => tracing::info!(user.id = %user.id, "the password was hashed anew with the present parameters"),
        Err(error) => tracing::debug!(user.id = %user.id, %error, "the new hash was not written this time"),
    }
}
