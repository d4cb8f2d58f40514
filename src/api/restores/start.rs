//! `POST /restores`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::source::{department_of, read_source};
use super::wire::{RestoreRequest, RestoreView};
use super::{answer, read};
use crate::api::audit::recorded;
use crate::api::auth::{require, require_scope};
use crate::api::extract::Json;
use crate::api::idempotency::Effect;
use crate::api::problem::{FieldProblem, Kind, Problem, Problems};
use crate::api::users::read_field;
use crate::app::App;
use crate::domain::audit::{AuditAction, AuditRecord};
use crate::domain::department::DepartmentState;
use crate::domain::ids::{DepartmentName, RestoreId, UserId};
use crate::domain::restore::{RESTORE_USERS_MAX, Restore, RestoreRequest as Wish};
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};
use crate::store::StoreError;

/// Starts a restore.
///
/// The leader takes a safety backup and computes the plan; nothing is changed before `apply`, unless `apply` is true.
#[utoipa::path(post, path = "/restores", operation_id = "startRestore", tag = "restores",
    params(("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most 60.")),
    request_body = RestoreRequest,
    security(("bearer" = ["restores:write"])),
    responses((status = 202, description = "Recorded; `Location` shows its progress.", body = RestoreView),
        (status = 200, description = "Planned or ended while the answer waited.", body = RestoreView), Problems))]
pub(in crate::api) async fn start_restore(
    State(app): State<App>,
    caller: Caller,
    effect: Effect,
    headers: HeaderMap,
    Json(body): Json<RestoreRequest>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::RestoresWrite)?;
    let id: RestoreId = effect.id(&app.clock).into();
    if let Some(made) = made_before(&app, &effect, &id).await? {
        return answer(&app, made, &headers).await;
    }
    let mut errors = Vec::new();
    let source = read_source(&body.from, &mut errors);
    let into: Option<DepartmentName> = read_field("/into", body.into.as_deref(), &mut errors);
    let users = body.users.as_deref().map(|users| read_users(users, &mut errors));
    let (Some(source), true) = (source, errors.is_empty()) else {
        return Err(Problem::fields_invalid(errors));
    };
    let department = department_of(&app, &caller, &source).await?;
    let into = into.filter(|into| *into != department);
    if let Some(into) = &into {
        require(&caller, Scope::RestoresWrite, into, "department")?;
    }
    let department = into.clone().unwrap_or(department);
    takes_users(&app, &department).await?;
    let request = Wish {
        source,
        into,
        users,
        mode: body.mode.map(Into::into).unwrap_or_default(),
        credentials: body.credentials.map(Into::into).unwrap_or_default(),
        locked: body.locked.map(Into::into).unwrap_or_default(),
        on_conflict: body.on_conflict.map(Into::into).unwrap_or_default(),
    };
    let entry = recorded(&app, &caller, AuditAction::StartRestore, Some(&department), &id);
    let wish = Restore::queued(id, department, request, caller.name, entry.at);
    let restore = record(&app, Restore { apply: body.apply.unwrap_or(false), ..wish }, &entry).await?;
    answer(&app, restore, &headers).await
}

/// Records the wish, unless another execution of the same request has done so.
async fn record(app: &App, restore: Restore, entry: &AuditRecord) -> Result<Restore, Problem> {
    match app.store.restores.insert(&restore, entry).await {
        Ok(()) => Ok(restore),
        Err(StoreError::Taken(_)) => read(app, &restore.id).await,
        Err(error) => Err(error.into()),
    }
}

/// The restore that another execution of the same request has recorded.
pub(super) async fn made_before(app: &App, effect: &Effect, id: &RestoreId) -> Result<Option<Restore>, Problem> {
    if effect.is_repeated() { Ok(app.store.restores.get(id).await?) } else { Ok(None) }
}

fn read_users(users: &[String], errors: &mut Vec<FieldProblem>) -> Vec<UserId> {
    if users.len() > RESTORE_USERS_MAX || users.is_empty() {
        let invalid = Invalid::new("invalid_users", "Name 1 to 10,000 users, or leave `users` out to restore all.");
        errors.push(FieldProblem::body("/users", invalid));
        return Vec::new();
    }
    let ids = users.iter().enumerate().filter_map(|(at, id)| read_field(&format!("/users/{at}"), Some(id), errors));
    let mut ids: Vec<UserId> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Refuses a department that is not there or was deleted.
pub(super) async fn takes_users(app: &App, name: &DepartmentName) -> Result<(), Problem> {
    let found = app.store.departments.get(name).await?;
    let department = found.ok_or_else(|| Problem::not_found("department"))?;
    if department.state != DepartmentState::Active {
        let detail = format!("The department {name} was deleted. Make it again with PUT /departments/{name} first.");
        return Err(Problem::new(Kind::Conflict, detail).code("department_deleted"));
    }
    Ok(())
}
