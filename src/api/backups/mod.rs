//! `/backups`: ask for one, list, look, verify, hold, delete.

pub mod diff;
pub mod keep;
pub mod users;
pub mod verify;
pub mod wire;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;

use super::auth::{limit_to, require, require_scope};
use super::cursor;
use super::departments::Known;
use super::extract::{Json, Path, Query, parameter};
use super::idempotency::Effect;
use super::jobs::{accepted, list_parameter, preferred_wait, wait_for};
use super::pages::PageRequest;
use super::problem::{Problem, Problems};
use super::wire::BackupStateView;
use crate::app::App;
use crate::domain::backup::{Backup, BackupKind, BackupState};
use crate::domain::ids::{BackupId, DepartmentName};
use crate::domain::token::{Caller, Scope};
use crate::store::StoreError;
use crate::store::backups::BackupFilter;
use wire::{BackupPage, BackupQuery, BackupRequest, BackupView, view};

/// Starts a backup.
///
/// The leader of the department carries it out. With `Prefer: wait=N` the answer waits up to N seconds for its end.
#[utoipa::path(post, path = "/backups", operation_id = "startBackup", tag = "backups",
    params(("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most 60.")),
    request_body = BackupRequest,
    security(("bearer" = ["backups:write"])),
    responses((status = 202, description = "Recorded; `Location` shows its progress.", body = BackupView),
        (status = 200, description = "Ended while the answer waited.", body = BackupView), Problems))]
pub(super) async fn start_backup(
    State(app): State<App>,
    Extension(known): Extension<Known>,
    caller: Caller,
    effect: Effect,
    headers: HeaderMap,
    Json(body): Json<BackupRequest>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::BackupsWrite)?;
    let department: DepartmentName =
        body.department.parse().map_err(|invalid| Problem::field_invalid("/department", invalid))?;
    require(&caller, Scope::BackupsWrite, &department, "department")?;
    let id: BackupId = effect.id(&app.clock).into();
    let before = if effect.is_repeated() { app.store.backups.get(&id).await? } else { None };
    let backup = if let Some(backup) = before {
        backup
    } else {
        known.require(&app, &department).await?;
        let wish = Backup::queued(id.clone(), department, BackupKind::OnDemand, app.clock.now());
        record(&app, Backup { requested_by: Some(caller.name), ..wish }).await?
    };
    let wait = preferred_wait(&headers);
    let backup = wait_for(&app, backup, wait, |backup| backup.state.is_final(), || read(&app, &id)).await?;
    let ended = backup.state.is_final();
    Ok(accepted(&format!("/backups/{id}"), &view(&app, backup), ended, wait))
}

/// Records the wish, unless another execution of the same request has done so.
async fn record(app: &App, backup: Backup) -> Result<Backup, Problem> {
    match app.store.backups.insert(&backup).await {
        Ok(()) => Ok(backup),
        Err(StoreError::Taken(_)) => read(app, &backup.id).await,
        Err(error) => Err(error.into()),
    }
}

/// Lists backups.
///
/// Newest first; only complete ones unless `state` asks for others.
#[utoipa::path(get, path = "/backups", operation_id = "listBackups", tag = "backups", params(BackupQuery),
    security(("bearer" = ["backups:read"])),
    responses((status = 200, description = "One page; `Link` names the next.", body = BackupPage), Problems))]
pub(super) async fn list_backups(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    Query(query): Query<BackupQuery>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::BackupsRead)?;
    let department = limit_to(&caller, parameter("department", query.department.as_deref())?)?;
    let states: Vec<BackupStateView> = list_parameter("state", query.state.as_deref())?;
    let mut states: Vec<BackupState> = states.into_iter().map(Into::into).collect();
    if states.is_empty() {
        states.push(BackupState::Complete);
    }
    let filter = BackupFilter { department, states };
    let print = cursor::fingerprint("backups", &filter);
    let page = PageRequest::read(&app.auth, uri, query.limit.as_deref(), query.cursor.as_deref(), print)?;
    let before = page.before()?;
    let mut backups = app.store.backups.list(&filter, before.as_ref(), page.read_limit()).await?;
    let next_cursor =
        page.cut(&app.auth, &mut backups, |backup| (backup.requested_at.as_millis(), backup.id.to_string()));
    let items = backups.into_iter().map(|backup| view(&app, backup)).collect();
    let view = BackupPage { items, next_cursor };
    Ok(page.respond(&view, view.next_cursor.as_deref()))
}

/// Reads a backup.
///
/// In any state.
#[utoipa::path(get, path = "/backups/{backup_id}", operation_id = "getBackup", tag = "backups",
    params(("backup_id" = String, Path, description = "Id of the backup.")),
    security(("bearer" = ["backups:read"])),
    responses((status = 200, description = "The backup.", body = BackupView), Problems))]
pub(super) async fn get_backup(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<BackupId>,
) -> Result<axum::Json<BackupView>, Problem> {
    let backup = load(&app, &caller, &id).await?;
    Ok(axum::Json(view(&app, backup)))
}

async fn load(app: &App, caller: &Caller, id: &BackupId) -> Result<Backup, Problem> {
    require_scope(caller, Scope::BackupsRead)?;
    let backup = read(app, id).await?;
    require(caller, Scope::BackupsRead, &backup.department, "backup")?;
    Ok(backup)
}

async fn read(app: &App, id: &BackupId) -> Result<Backup, Problem> {
    app.store.backups.get(id).await?.ok_or_else(|| Problem::not_found("backup"))
}
