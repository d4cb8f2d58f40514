//! `POST /restores`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::answer;
use super::wire::{RestoreRequest, RestoreView};
use crate::api::auth::require_scope;
use crate::api::extract::Json;
use crate::api::jobs::fresh_uuid;
use crate::api::problem::{FieldProblem, Kind, Problem, Problems};
use crate::api::users::read_field;
use crate::app::App;
use crate::domain::backup::{Backup, BackupState};
use crate::domain::department::DepartmentState;
use crate::domain::ids::{BackupId, DepartmentName, UserId};
use crate::domain::restore::{RESTORE_USERS_MAX, Restore, RestoreRequest as Wish, RestoreSource};
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};

/// Starts a restore.
///
/// The leader takes a safety backup and computes the plan; nothing is changed before `apply`, unless `apply` is true.
#[utoipa::path(post, path = "/restores", operation_id = "startRestore", tag = "restores",
    params(("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most 60.")),
    request_body = RestoreRequest,
    responses((status = 202, description = "Recorded; `Location` shows its progress.", body = RestoreView),
        (status = 200, description = "Planned or ended while the answer waited.", body = RestoreView), Problems))]
pub(in crate::api) async fn start_restore(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Json(body): Json<RestoreRequest>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::RestoresWrite)?;
    let mut errors = Vec::new();
    let backup_id: Option<BackupId> = read_field("/from/backup_id", Some(&body.from.backup_id), &mut errors);
    let users = body.users.as_deref().map(|users| read_users(users, &mut errors));
    let (Some(backup_id), true) = (backup_id, errors.is_empty()) else {
        return Err(Problem::fields_invalid(errors));
    };
    let backup = usable_backup(&app, &caller, &backup_id).await?;
    let request = Wish {
        source: RestoreSource::Backup(backup_id),
        users,
        mode: body.mode.map(Into::into).unwrap_or_default(),
        credentials: body.credentials.map(Into::into).unwrap_or_default(),
        locked: body.locked.map(Into::into).unwrap_or_default(),
        on_conflict: body.on_conflict.map(Into::into).unwrap_or_default(),
    };
    let (id, now) = (fresh_uuid(&app.clock).into(), app.clock.now());
    let restore = Restore {
        apply: body.apply.unwrap_or(false),
        ..Restore::queued(id, backup.department, request, caller.name, now)
    };
    app.store.restores.insert(&restore).await?;
    answer(&app, restore, &headers).await
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

/// The backup of a request, if the caller may see it and it can be restored.
async fn usable_backup(app: &App, caller: &Caller, id: &BackupId) -> Result<Backup, Problem> {
    let found = app.store.backups.get(id).await?.filter(|backup| caller.sees(&backup.department));
    let backup = found.ok_or_else(|| Problem::not_found("backup"))?;
    if backup.state != BackupState::Complete {
        let invalid = Invalid::new("backup_not_complete", "Only a complete backup can be restored.");
        return Err(Problem::field_invalid("/from/backup_id", invalid));
    }
    takes_users(app, &backup.department).await?;
    Ok(backup)
}

/// Refuses a department that was deleted.
pub(super) async fn takes_users(app: &App, name: &DepartmentName) -> Result<(), Problem> {
    let department = app.store.departments.get(name).await?;
    if department.is_none_or(|department| department.state != DepartmentState::Active) {
        let detail = format!("The department {name} was deleted. Make it again with PUT /departments/{name} first.");
        return Err(Problem::new(Kind::Conflict, detail).code("department_deleted"));
    }
    Ok(())
}
