//! `/restores/{restore_id}/changes`: every change of a plan, page by page, computed again from its two sides.
//!
//! Rule: reading a plan is no leader work; any replica reads the targets.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::load;
use super::view::sample_view;
use super::wire::PlanSampleView;
use crate::api::auth::Tokens;
use crate::api::cursor;
use crate::api::extract::{Path, Query};
use crate::api::pages::{PageQuery, PageRequest};
use crate::api::problem::{Kind, Problem, Problems};
use crate::app::App;
use crate::backup::sides::Reads;
use crate::backup::{BackupError, plan};
use crate::domain::ids::{RestoreId, UserId};
use crate::domain::token::{Caller, Scope};

/// A page of planned changes.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangePage {
    /// The changes, in the order of user ids.
    pub items: Vec<PlanSampleView>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// Lists the changes of a restore's plan.
///
/// Every record that the restore creates, changes or deletes; password hashes are only named as changed.
#[utoipa::path(get, path = "/restores/{restore_id}/changes", operation_id = "listChanges", tag = "restores",
    params(("restore_id" = String, Path, description = "Id of the restore."), PageQuery),
    security(("bearer" = ["restores:read"])),
    responses((status = 200, description = "One page; `Link` names the next.", body = ChangePage), Problems))]
pub(in crate::api) async fn list_changes(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<RestoreId>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let restore = load(&app, &caller, Scope::RestoresRead, &id).await?;
    let page = page(&app.auth, uri, &query, &id)?;
    if restore.plan.is_none() {
        return Err(Problem::new(Kind::Conflict, "The restore has no plan yet; ask again when it is `planned`.")
            .code("not_planned"));
    }
    let Some(repository) = app.repository.get() else {
        return Err(Problem::unavailable("The repository of backups is not open yet."));
    };
    let reads = Reads { store: &app.store, repository, targets: &app.targets, past: &app.past };
    let sides = reads.sides(&restore).await.map_err(unreadable)?;
    let after = page.after.as_deref().and_then(|after| after.parse::<UserId>().ok());
    let found = plan::changes(&sides, after.as_ref(), page.read_limit()).await;
    let mut changes = found.map_err(unreadable)?;
    let next_cursor = page.cut(&app.auth, &mut changes, |change| change.key().to_string());
    let items = changes.iter().map(|change| sample_view(plan::describe(change, &sides.request)));
    let view = ChangePage { items: items.collect(), next_cursor };
    Ok(page.respond(&view, view.next_cursor.as_deref()))
}

fn page(tokens: &Tokens, uri: Uri, query: &PageQuery, id: &RestoreId) -> Result<PageRequest<String>, Problem> {
    let print = cursor::fingerprint("changes", id);
    PageRequest::read(tokens, uri, query.limit.as_deref(), query.cursor.as_deref(), print)
}

/// No copy of an object that the plan needs can be read now.
fn unreadable(error: BackupError) -> Problem {
    let error = match error {
        BackupError::Unrestorable(cause) => return Problem::new(Kind::NotFound, cause.message),
        BackupError::Store(error) => return error.into(),
        error => error,
    };
    Problem::unavailable("No target gives a good copy of what the plan was made from.").source(error)
}
