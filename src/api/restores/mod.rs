//! `/restores`: plan, apply, cancel, undo, look.

pub mod act;
pub mod changes;
pub mod conflicts;
mod source;
pub mod start;
pub mod undo;
pub(super) mod view;
pub mod wire;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};

use super::auth::{limit_to, require, require_scope};
use super::cursor;
use super::extract::{Path, Query, parameter};
use super::jobs::{accepted, list_parameter, preferred_wait, wait_for};
use super::pages::PageRequest;
use super::problem::{Problem, Problems};
use super::wire::RestoreStateView;
use crate::app::App;
use crate::domain::ids::RestoreId;
use crate::domain::restore::{Restore, RestoreState};
use crate::domain::token::{Caller, Scope};
use crate::store::restores::RestoreFilter;
use view::view;
use wire::{RestorePage, RestoreQuery, RestoreView};

/// Adds the plan's `ETag`, once there is a plan.
fn with_etag(mut response: Response, hash: Option<&str>) -> Response {
    if let Some(value) = hash.and_then(|hash| HeaderValue::from_str(&format!("\"{hash}\"")).ok()) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

async fn read(app: &App, id: &RestoreId) -> Result<Restore, Problem> {
    app.store.restores.get(id).await?.ok_or_else(|| Problem::not_found("restore"))
}

async fn load(app: &App, caller: &Caller, scope: Scope, id: &RestoreId) -> Result<Restore, Problem> {
    require_scope(caller, scope)?;
    let restore = read(app, id).await?;
    require(caller, scope, &restore.department, "restore")?;
    Ok(restore)
}

/// Answers with the restore as it is now, or as it is when the client's patience ends.
async fn answer(app: &App, restore: Restore, headers: &HeaderMap) -> Result<Response, Problem> {
    let id = restore.id.clone();
    let wait = preferred_wait(headers);
    // A plan that waits for `apply` has come as far as it can by itself.
    let rests =
        |restore: &Restore| restore.state.is_final() || (restore.state == RestoreState::Planned && !restore.apply);
    let restore = wait_for(app, restore, wait, rests, || read(app, &id)).await?;
    let ended = rests(&restore);
    let hash = restore.plan.as_ref().map(|plan| plan.hash.clone());
    let response = accepted(&format!("/restores/{id}"), &view(app, restore), ended, wait);
    Ok(with_etag(response, hash.as_deref()))
}

/// Lists restores.
///
/// Newest first, in any state unless `state` says which.
#[utoipa::path(get, path = "/restores", operation_id = "listRestores", tag = "restores", params(RestoreQuery),
    security(("bearer" = ["restores:read"])),
    responses((status = 200, description = "One page; `Link` names the next.", body = RestorePage), Problems))]
pub(super) async fn list_restores(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    Query(query): Query<RestoreQuery>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::RestoresRead)?;
    let states: Vec<RestoreStateView> = list_parameter("state", query.state.as_deref())?;
    let filter = RestoreFilter {
        department: limit_to(&caller, parameter("department", query.department.as_deref())?)?,
        states: states.into_iter().map(Into::into).collect(),
    };
    let print = cursor::fingerprint("restores", &filter);
    let page = PageRequest::read(&app.auth, uri, query.limit.as_deref(), query.cursor.as_deref(), print)?;
    let before = page.before()?;
    let mut restores = app.store.restores.list(&filter, before.as_ref(), page.read_limit()).await?;
    let next_cursor =
        page.cut(&app.auth, &mut restores, |restore| (restore.requested_at.as_millis(), restore.id.to_string()));
    let items = restores.into_iter().map(|restore| view(&app, restore)).collect();
    let view = RestorePage { items, next_cursor };
    Ok(page.respond(&view, view.next_cursor.as_deref()))
}

/// Reads a restore.
///
/// `ETag` is the plan's, once there is a plan; `apply` wants it in `If-Match`.
#[utoipa::path(get, path = "/restores/{restore_id}", operation_id = "getRestore", tag = "restores",
    params(("restore_id" = String, Path, description = "Id of the restore.")),
    security(("bearer" = ["restores:read"])),
    responses((status = 200, description = "The restore.", body = RestoreView), Problems))]
pub(super) async fn get_restore(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<RestoreId>,
) -> Result<Response, Problem> {
    let restore = load(&app, &caller, Scope::RestoresRead, &id).await?;
    let hash = restore.plan.as_ref().map(|plan| plan.hash.clone());
    Ok(with_etag(axum::Json(view(&app, restore)).into_response(), hash.as_deref()))
}
