//! `/backups/{backup_id}/diff`: what differs between a backup and the live records, or another backup.
//!
//! Rule: chunks that both sides share are not read, so the time follows the difference; a hash is only named as changed.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::load;
use super::users::point_of;
use crate::api::auth::require_scope;
use crate::api::cursor;
use crate::api::extract::{Path, Query, parameter};
use crate::api::pages::PageRequest;
use crate::api::past::refused;
use crate::api::problem::{Problem, Problems};
use crate::api::users::wire::UserView;
use crate::api::wire::PlaceView;
use crate::app::App;
use crate::backup::past::PastPoint;
use crate::backup::plan::changes;
use crate::backup::sides::Sides;
use crate::domain::backup::Backup;
use crate::domain::history::Sequence;
use crate::domain::ids::{BackupId, UserId};
use crate::domain::plan::{PlannedChange, changed_fields};
use crate::domain::restore::{Action, RestoreRequest, RestoreSource};
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};
use crate::domain::window::Moment;

/// What a backup is compared with.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    /// `live`, or the id of another backup of the department. Default `live`: what the history holds by now.
    #[param(pattern = "^(live|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$")]
    against: Option<String>,
    /// Items of the page, 1 to 1000. Default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// How a user differs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Only the other side has it: it was made since.
    Added,
    /// Only the backup has it: it was deleted since.
    Removed,
    /// Both have it, and fields differ.
    Changed,
}

/// A user that differs.
#[derive(Debug, Serialize, ToSchema)]
pub struct DifferenceView {
    /// The user.
    pub user_id: String,
    /// How it differs.
    pub kind: DifferenceKind,
    /// Names of the fields that differ, where both sides have the user; `rev`, `version` and `updated_at` do not count.
    pub changed: Vec<String>,
    /// The user in the backup; null where it has none.
    pub before: Option<UserView>,
    /// The user on the other side; null where it has none.
    pub after: Option<UserView>,
}

/// A page of differences.
#[derive(Debug, Serialize, ToSchema)]
pub struct DiffPage {
    /// The other side: the history up to here.
    pub against: PlaceView,
    /// The differences, in the order of user ids.
    pub items: Vec<DifferenceView>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// Compares a backup with the live records or another backup.
///
/// Field by field; all pages of one walk compare with the same moment.
#[utoipa::path(get, path = "/backups/{backup_id}/diff", operation_id = "diffBackup", tag = "backups",
    params(("backup_id" = String, Path, description = "Id of the backup."), DiffQuery),
    security(("bearer" = ["users:read", "backups:read"])),
    responses((status = 200, description = "One page; `Link` names the next.", body = DiffPage), Problems))]
pub(in crate::api) async fn diff_backup(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<BackupId>,
    uri: Uri,
    Query(query): Query<DiffQuery>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::UsersRead)?;
    let backup = load(&app, &caller, &id).await?;
    let against = query.against.as_deref().unwrap_or("live");
    let print = cursor::fingerprint("diff", &(&id, against));
    let page: PageRequest<(i64, String)> =
        PageRequest::read(&app.auth, uri, query.limit.as_deref(), query.cursor.as_deref(), print)?;
    let (until, after) = match &page.after {
        Some((until, id)) => (Some(Sequence(*until)), parameter::<UserId>("cursor", Some(id))?),
        None => (None, None),
    };
    let from = point_of(&backup)?;
    let other = other_side(&app, &caller, &backup, against, until).await?;
    let unreadable = |error| refused(error, "against");
    let (then, now) =
        (app.past.state(&from).await.map_err(unreadable)?, app.past.state(&other).await.map_err(unreadable)?);
    let request = RestoreRequest::everything(RestoreSource::Backup(id));
    let sides = Sides::of(now, then, request, backup.department);
    // From the backup to the other side, as if the other side were to be restored over it.
    let found = changes(&sides, after.as_ref(), page.read_limit()).await;
    let mut changes = found.map_err(|error| unreadable(error.into()))?;
    let until = other.point.sequence.0;
    let next_cursor = page.cut(&app.auth, &mut changes, |change| (until, change.user_id.to_string()));
    let items = changes.iter().map(view).collect();
    let view = DiffPage { against: other.place().into(), items, next_cursor };
    Ok(page.respond(&view, view.next_cursor.as_deref()))
}

/// What the backup is compared with: another backup, or the history up to a sequence or as far as it goes.
async fn other_side(
    app: &App,
    caller: &Caller,
    backup: &Backup,
    against: &str,
    until: Option<Sequence>,
) -> Result<PastPoint, Problem> {
    if against != "live" {
        let id: BackupId = parameter("against", Some(against))?.ok_or_else(|| Problem::not_found("backup"))?;
        let other = load(app, caller, &id).await?;
        if other.department != backup.department {
            let message = "Only two backups of the same department can be compared.";
            return Err(Problem::parameter_invalid("against", Invalid::new("other_department", message)));
        }
        return point_of(&other);
    }
    let department = &backup.department;
    let window = app.store.windows.get(department).await?;
    let moment = until.map(Moment::Sequence).or(window.through().map(|place| Moment::Time(place.time)));
    let moment = moment.unwrap_or(Moment::Sequence(Sequence(0)));
    app.past.locate(department, moment).await.map_err(|error| refused(error, "against"))
}

fn view(change: &PlannedChange) -> DifferenceView {
    let changed = match (&change.base, &change.wanted) {
        (Some(before), Some(after)) => changed_fields(before, after),
        _ => Vec::new(),
    };
    DifferenceView {
        user_id: change.user_id.to_string(),
        kind: match change.action {
            Action::Create => DifferenceKind::Added,
            Action::Update => DifferenceKind::Changed,
            Action::Delete => DifferenceKind::Removed,
        },
        changed: changed.into_iter().map(str::to_owned).collect(),
        before: change.base.as_ref().map(UserView::from),
        after: change.wanted.as_ref().map(UserView::from),
    }
}
