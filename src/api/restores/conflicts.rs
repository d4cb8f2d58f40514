//! `GET /restores/{restore_id}/conflicts`.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::load;
use crate::api::cursor;
use crate::api::extract::{Path, Query};
use crate::api::pages::{PageQuery, PageRequest};
use crate::api::problem::{Problem, Problems};
use crate::api::wire::{ActionView, ConflictCauseView};
use crate::app::App;
use crate::domain::ids::RestoreId;
use crate::domain::token::{Caller, Scope};

/// A planned change that met something else than the plan expected.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConflictView {
    /// The user.
    pub user_id: String,
    /// What was planned.
    pub action: ActionView,
    /// What stood in the way.
    pub cause: ConflictCauseView,
    /// Whether it was overwritten.
    pub overwritten: bool,
}

/// A page of conflicts.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConflictPage {
    /// The conflicts, in the order in which they were met.
    pub items: Vec<ConflictView>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// Lists the conflicts of a restore.
///
/// Every planned change that met something else than the plan expected, with its cause.
#[utoipa::path(get, path = "/restores/{restore_id}/conflicts", operation_id = "listConflicts", tag = "restores",
    params(("restore_id" = String, Path, description = "Id of the restore."), PageQuery),
    security(("bearer" = ["restores:read"])),
    responses((status = 200, description = "One page; `Link` names the next.", body = ConflictPage), Problems))]
pub(in crate::api) async fn list_conflicts(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<RestoreId>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    load(&app, &caller, Scope::RestoresRead, &id).await?;
    let print = cursor::fingerprint("conflicts", &id);
    let page: PageRequest<u64> =
        PageRequest::read(&app.auth, uri, query.limit.as_deref(), query.cursor.as_deref(), print)?;
    let skip = page.after.unwrap_or(0);
    let mut conflicts = app.store.restore_batches.conflicts(&id, skip, page.read_limit()).await?;
    let reached = skip + u64::try_from(page.limit).unwrap_or(0);
    let next_cursor = page.cut(&app.auth, &mut conflicts, |_| reached);
    let items = conflicts.into_iter().map(|conflict| ConflictView {
        user_id: conflict.user_id.to_string(),
        action: conflict.action.into(),
        cause: conflict.cause.into(),
        overwritten: conflict.overwritten,
    });
    let view = ConflictPage { items: items.collect(), next_cursor };
    Ok(page.respond(&view, view.next_cursor.as_deref()))
}
