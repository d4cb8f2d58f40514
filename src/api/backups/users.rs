//! `/backups/{backup_id}/users`: the records inside a backup.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use futures::TryStreamExt;

use super::load;
use crate::api::auth::require_scope;
use crate::api::cursor;
use crate::api::extract::{Path, Path2, Query};
use crate::api::pages::{PageQuery, PageRequest};
use crate::api::past::refused;
use crate::api::problem::{Kind, Problem, Problems};
use crate::api::users::wire::{UserPage, UserView};
use crate::app::App;
use crate::backup::past::PastPoint;
use crate::domain::backup::Backup;
use crate::domain::ids::{BackupId, UserId};
use crate::domain::token::{Caller, Scope};
use crate::domain::user::User;

/// The point that a complete backup stands for.
pub(super) fn point_of(backup: &Backup) -> Result<PastPoint, Problem> {
    let content = backup.content.as_ref().ok_or_else(|| {
        Problem::new(Kind::Conflict, "The backup is not complete, so it holds nothing yet.").code("backup_not_complete")
    })?;
    Ok(PastPoint::of_backup(&backup.department, content))
}

/// Lists the users inside a backup.
///
/// In the order of ids, without their hashes.
#[utoipa::path(get, path = "/backups/{backup_id}/users", operation_id = "listBackupUsers", tag = "backups",
    params(("backup_id" = String, Path, description = "Id of the backup."), PageQuery),
    security(("bearer" = ["users:read", "backups:read"])),
    responses((status = 200, description = "One page; `Link` names the next.", body = UserPage), Problems))]
pub(in crate::api) async fn list_backup_users(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<BackupId>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::UsersRead)?;
    let backup = load(&app, &caller, &id).await?;
    let print = cursor::fingerprint("backup users", &id);
    let page: PageRequest<String> =
        PageRequest::read(&app.auth, uri, query.limit.as_deref(), query.cursor.as_deref(), print)?;
    let after: Option<UserId> = crate::api::extract::parameter("cursor", page.after.as_deref())?;
    let state = app.past.state(&point_of(&backup)?).await.map_err(|error| refused(error, "backup_id"))?;
    let mut batches = Box::pin(state.users(after));
    let mut users: Vec<User> = Vec::new();
    while users.len() < page.read_limit()
        && let Some(batch) = batches.try_next().await.map_err(|error| refused(error.into(), "backup_id"))?
    {
        users.extend(batch);
    }
    let next_cursor = page.cut(&app.auth, &mut users, |user| user.id.to_string());
    let view = UserPage { items: users.iter().map(UserView::from).collect(), next_cursor };
    Ok(page.respond(&view, view.next_cursor.as_deref()))
}

/// Reads a user inside a backup.
///
/// As it was then, without its hash.
#[utoipa::path(get, path = "/backups/{backup_id}/users/{user_id}", operation_id = "getBackupUser", tag = "backups",
    params(("backup_id" = String, Path, description = "Id of the backup."),
        ("user_id" = String, Path, description = "Id of the user.")),
    security(("bearer" = ["users:read", "backups:read"])),
    responses((status = 200, description = "The user.", body = UserView), Problems))]
pub(in crate::api) async fn get_backup_user(
    State(app): State<App>,
    caller: Caller,
    Path2(id, user): Path2<BackupId, UserId>,
) -> Result<axum::Json<UserView>, Problem> {
    require_scope(&caller, Scope::UsersRead)?;
    let backup = load(&app, &caller, &id).await?;
    let found = app.past.user(&point_of(&backup)?, &user).await.map_err(|error| refused(error, "backup_id"))?;
    let user = found.ok_or_else(|| Problem::not_found("user"))?;
    Ok(axum::Json(UserView::from(&user)))
}
