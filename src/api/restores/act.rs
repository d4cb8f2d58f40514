//! `POST /restores/{restore_id}/apply` and `/cancel`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::wire::RestoreView;
use super::{answer, load, read};
use crate::api::audit::recorded;
use crate::api::extract::{IfMatch, Path, Tags};
use crate::api::idempotency::Effect;
use crate::api::problem::{Kind, Problem, Problems};
use crate::app::App;
use crate::domain::audit::AuditAction;
use crate::domain::ids::RestoreId;
use crate::domain::restore::{Plan, Restore, RestoreState};
use crate::domain::token::{Caller, Scope};
use crate::store::StoreError;

/// Applies a planned restore.
///
/// `If-Match` has to carry the plan's `ETag`, so that what is applied is what was looked at. A plan that nobody applies
/// until `expires_at` is given up; after that this answers 409 `plan_expired`.
#[utoipa::path(post, path = "/restores/{restore_id}/apply", operation_id = "applyRestore", tag = "restores",
    params(("restore_id" = String, Path, description = "Id of the restore."),
        ("If-Match" = String, Header, description = "The plan's `ETag`."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most 60.")),
    security(("bearer" = ["restores:write"])),
    responses((status = 202, description = "The leader applies it.", body = RestoreView),
        (status = 200, description = "Ended while the answer waited.", body = RestoreView), Problems))]
pub(in crate::api) async fn apply_restore(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<RestoreId>,
    guard: IfMatch,
    effect: Effect,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let restore = load(&app, &caller, Scope::RestoresWrite, &id).await?;
    // `*` would apply a plan that nobody looked at.
    let Some(Tags::List(_)) = guard.0 else {
        let detail = "Send the plan's ETag in If-Match; GET the restore shows it.";
        return Err(Problem::new(Kind::PreconditionRequired, detail));
    };
    let is_the_plan = |plan: &Plan| guard.check(&plan.hash).is_ok();
    if effect.is_repeated() && restore.apply && restore.plan.as_ref().is_some_and(is_the_plan) {
        return answer(&app, restore, &headers).await;
    }
    let Some(plan) = restore.plan.as_ref().filter(|_| restore.state == RestoreState::Planned) else {
        return Err(not_planned(&restore));
    };
    guard.check(&plan.hash)?;
    let record = recorded(&app, &caller, AuditAction::ApplyRestore, Some(&restore.department), &id);
    match app.store.restores.request_apply(&id, &plan.hash, &record).await {
        Ok(()) => {}
        Err(StoreError::Stale) => {
            let now = read(&app, &id).await?;
            let applicable = now.state == RestoreState::Planned && !now.cancel_requested;
            return Err(if applicable { Problem::stale() } else { not_planned(&now) });
        }
        Err(error) => return Err(error.into()),
    }
    // Until the leader has seen the wish, the state is still `planned`, and `apply` is true.
    answer(&app, read(&app, &id).await?, &headers).await
}

fn not_planned(restore: &Restore) -> Problem {
    if let Some(cause) = restore.cause.as_ref().filter(|cause| cause.code == "plan_expired") {
        return Problem::new(Kind::Conflict, cause.message.clone()).code("plan_expired");
    }
    Problem::new(Kind::Conflict, "Only a restore in state `planned` can be applied.").code("not_planned")
}

/// Cancels a restore.
///
/// What was applied before stays applied, and is counted.
#[utoipa::path(post, path = "/restores/{restore_id}/cancel", operation_id = "cancelRestore", tag = "restores",
    params(("restore_id" = String, Path, description = "Id of the restore."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most 60.")),
    security(("bearer" = ["restores:write"])),
    responses((status = 202, description = "The leader stops it.", body = RestoreView),
        (status = 200, description = "Ended while the answer waited.", body = RestoreView), Problems))]
pub(in crate::api) async fn cancel_restore(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<RestoreId>,
    effect: Effect,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let restore = load(&app, &caller, Scope::RestoresWrite, &id).await?;
    if effect.is_repeated() && restore.cancel_requested {
        return answer(&app, restore, &headers).await;
    }
    let record = recorded(&app, &caller, AuditAction::CancelRestore, Some(&restore.department), &id);
    match app.store.restores.request_cancel(&id, &record).await {
        Ok(()) => {}
        Err(StoreError::Stale) => {
            return Err(Problem::new(Kind::Conflict, "The restore has ended already.").code("already_ended"));
        }
        Err(error) => return Err(error.into()),
    }
    answer(&app, read(&app, &id).await?, &headers).await
}
