//! `POST /restores/{restore_id}/undo`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::start::{made_before, takes_users};
use super::wire::RestoreView;
use super::{answer, load};
use crate::api::audit::recorded;
use crate::api::extract::Path;
use crate::api::idempotency::Effect;
use crate::api::problem::{Kind, Problem, Problems};
use crate::app::App;
use crate::domain::audit::AuditAction;
use crate::domain::backup::BackupState;
use crate::domain::ids::RestoreId;
use crate::domain::restore::{Restore, RestoreRequest, RestoreSource};
use crate::domain::token::{Caller, Scope};
use crate::store::restore_undo::UndoRequested;

/// Undoes a restore.
///
/// A new restore, which is applied without a stop: it gives each record that the restore wrote the value that it had
/// just before. A record that was changed since then stays as it is and is a conflict. No policy applies, so an undo may
/// bring an old password hash back or unlock a user. An undo can be undone.
#[utoipa::path(post, path = "/restores/{restore_id}/undo", operation_id = "undoRestore", tag = "restores",
    params(("restore_id" = String, Path, description = "Id of the restore."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most 60.")),
    security(("bearer" = ["restores:undo"])),
    responses((status = 202, description = "Recorded; `Location` shows its progress.", body = RestoreView),
        (status = 200, description = "Ended while the answer waited.", body = RestoreView), Problems))]
pub(in crate::api) async fn undo_restore(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<RestoreId>,
    effect: Effect,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let undone = load(&app, &caller, Scope::RestoresUndo, &id).await?;
    let fresh: RestoreId = effect.id(&app.clock).into();
    if let Some(made) = made_before(&app, &effect, &fresh).await? {
        return answer(&app, made, &headers).await;
    }
    takes_users(&app, &undone.department).await?;
    still_undoable(&app, &undone).await?;
    let record = recorded(&app, &caller, AuditAction::UndoRestore, Some(&undone.department), &fresh);
    let request = RestoreRequest::everything(RestoreSource::Undo(id.clone()));
    let undo = Restore { apply: true, ..Restore::queued(fresh, undone.department, request, caller.name, record.at) };
    match app.store.restores.request_undo(&undo, &record).await? {
        UndoRequested::Queued => answer(&app, undo, &headers).await,
        // Another execution of the same request was faster.
        UndoRequested::Undone(other) if other == undo.id => answer(&app, undo, &headers).await,
        UndoRequested::Unfinished(_) => {
            let detail = format!("The restore has not ended. Wait for its end, or POST /restores/{id}/cancel first.");
            Err(Problem::new(Kind::Conflict, detail).code("not_ended"))
        }
        UndoRequested::Undone(other) => {
            let detail = format!(
                "The restore is undone already, by the restore {other}. To take that back, POST /restores/{other}/undo."
            );
            Err(Problem::new(Kind::Conflict, detail).code("already_undone"))
        }
    }
}

/// What the records were before is read from the backup that was taken then, which retention drops one day.
async fn still_undoable(app: &App, undone: &Restore) -> Result<(), Problem> {
    let Some(id) = undone.safety_backup_id.as_ref().filter(|_| undone.progress.batches > 0) else { return Ok(()) };
    let safety = app.store.backups.get(id).await?;
    if !undone.state.is_final() || safety.is_some_and(|backup| backup.state == BackupState::Complete) {
        return Ok(());
    }
    let detail = format!(
        "The backup {id}, which was taken before the restore, is gone: it is kept for keep_within of the department's \
         policy, at least for restore.undo_lifetime. Restore from a backup or a moment instead."
    );
    Err(Problem::new(Kind::Conflict, detail).code("undo_expired"))
}
