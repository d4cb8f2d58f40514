//! What keeps a backup or lets it go: `POST /backups/{backup_id}/hold` and `/release`, `DELETE /backups/{backup_id}`.
//!
//! Rule: a hold counts as soon as it is answered; a deletion is a wish that the leader carries out.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::read;
use super::wire::{BackupView, view};
use crate::api::audit::recorded;
use crate::api::auth::{require, require_scope};
use crate::api::extract::Path;
use crate::api::jobs::accepted;
use crate::api::problem::{Kind, Problem, Problems};
use crate::app::App;
use crate::domain::audit::AuditAction;
use crate::domain::backup::{Backup, BackupState, Wish};
use crate::domain::ids::{BackupId, TargetName};
use crate::domain::retention::Pin;
use crate::domain::token::{Caller, Scope};
use crate::store::StoreError;

/// Holds a backup.
///
/// Retention does not drop it and nobody can delete it until it is released. Holding a held one changes nothing.
#[utoipa::path(post, path = "/backups/{backup_id}/hold", operation_id = "holdBackup", tag = "backups",
    params(("backup_id" = String, Path, description = "Id of a complete backup.")),
    security(("bearer" = ["backups:write"])),
    responses((status = 200, description = "It is held.", body = BackupView), Problems))]
pub(in crate::api) async fn hold_backup(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<BackupId>,
) -> Result<axum::Json<BackupView>, Problem> {
    let backup = load(&app, &caller, Scope::BackupsWrite, &id).await?;
    if backup.held.is_none() {
        let record = recorded(&app, &caller, AuditAction::HoldBackup, Some(&backup.department), &id);
        let wish = Wish { by: caller.name, at: record.at };
        match app.store.kept.hold(&id, &wish, &targets(&app), &record).await {
            Ok(()) => {}
            Err(StoreError::Stale) => {
                let now = read(&app, &id).await?;
                if now.held.is_none() {
                    return Err(not_to_be_held(&now));
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(axum::Json(view(&app, read(&app, &id).await?)))
}

fn not_to_be_held(backup: &Backup) -> Problem {
    if backup.unwanted.is_some() || backup.state == BackupState::Deleted {
        let detail = "The backup is being deleted, so it cannot be held any more.";
        return Problem::new(Kind::Conflict, detail).code("backup_deleted");
    }
    Problem::new(Kind::Conflict, "Only a complete backup can be held.").code("backup_not_complete")
}

/// Releases a held backup.
///
/// From now on retention decides about it again. Releasing one that nobody holds changes nothing.
#[utoipa::path(post, path = "/backups/{backup_id}/release", operation_id = "releaseBackup", tag = "backups",
    params(("backup_id" = String, Path, description = "Id of the backup.")),
    security(("bearer" = ["backups:delete"])),
    responses((status = 200, description = "Nobody holds it.", body = BackupView), Problems))]
pub(in crate::api) async fn release_backup(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<BackupId>,
) -> Result<axum::Json<BackupView>, Problem> {
    let backup = load(&app, &caller, Scope::BackupsDelete, &id).await?;
    let record = recorded(&app, &caller, AuditAction::ReleaseBackup, Some(&backup.department), &id);
    match app.store.kept.release(&id, &targets(&app), &record).await {
        Ok(()) | Err(StoreError::Stale) => Ok(axum::Json(view(&app, read(&app, &id).await?))),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a backup.
///
/// The leader carries it out: the backup leaves the list, every target hears of it, and what only it needed is deleted after
/// a grace period. Refused for a backup that is held, the newest, one that a restore needs, and one that has not ended.
#[utoipa::path(delete, path = "/backups/{backup_id}", operation_id = "deleteBackup", tag = "backups",
    params(("backup_id" = String, Path, description = "Id of the backup.")),
    security(("bearer" = ["backups:delete"])),
    responses((status = 202, description = "Recorded; `Location` shows when it is deleted.", body = BackupView),
        (status = 204, description = "It is deleted already."), Problems))]
pub(in crate::api) async fn delete_backup(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<BackupId>,
) -> Result<Response, Problem> {
    let backup = load(&app, &caller, Scope::BackupsDelete, &id).await?;
    if backup.state == BackupState::Deleted {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    if backup.unwanted.is_none() {
        refuse_needed(&app, &backup).await?;
        let record = recorded(&app, &caller, AuditAction::DeleteBackup, Some(&backup.department), &id);
        let wish = Wish { by: caller.name, at: record.at };
        match app.store.kept.request_delete(&id, &wish, &record).await {
            Ok(()) => {}
            Err(StoreError::Stale) => {
                refuse_needed(&app, &read(&app, &id).await?).await?;
                return Err(Problem::stale());
            }
            Err(error) => return Err(error.into()),
        }
    }
    let backup = read(&app, &id).await?;
    Ok(accepted(&format!("/backups/{id}"), &view(&app, backup), false, None))
}

async fn refuse_needed(app: &App, backup: &Backup) -> Result<(), Problem> {
    let refuse = |code, detail: String| Err(Problem::new(Kind::Conflict, detail).code(code));
    if !backup.state.is_final() {
        return refuse("backup_not_ended", "The backup has not ended yet; delete it when it has.".to_owned());
    }
    if let Some(held) = &backup.held {
        let detail = format!("The backup is held by {} since {}. Release it first.", held.by, held.at);
        return refuse("backup_held", detail);
    }
    if backup.state != BackupState::Complete {
        return Ok(());
    }
    let newest = app.store.backups.newest_complete(&backup.department).await?;
    if newest.is_some_and(|newest| newest.id == backup.id) {
        let detail = "This is the newest backup of its department. Take another one first.".to_owned();
        return refuse("newest_backup", detail);
    }
    let department = app.store.departments.get(&backup.department).await?;
    let retention = department.map(|department| department.policy.retention).unwrap_or_default();
    let undo = retention.undo_lifetime(app.config.restore.undo_lifetime);
    let pin = app.store.kept.pin_of((&backup.department, &backup.id), undo, app.clock.now()).await?;
    if let Some(Pin { restore, until }) = pin {
        let detail = until.map_or_else(
            || format!("The restore {restore} needs this backup. Wait until it has ended, or cancel it."),
            |until| format!("The undo of the restore {restore} needs this backup until {until}."),
        );
        return refuse("backup_pinned", detail);
    }
    Ok(())
}

async fn load(app: &App, caller: &Caller, scope: Scope, id: &BackupId) -> Result<Backup, Problem> {
    require_scope(caller, scope)?;
    let backup = read(app, id).await?;
    require(caller, scope, &backup.department, "backup")?;
    Ok(backup)
}

/// Every target has to hear of it.
fn targets(app: &App) -> Vec<TargetName> {
    app.targets.iter().map(|target| target.name().clone()).collect()
}
