//! `/users/{user_id}/history`: every version of a user within the recovery window.
//!
//! Rule: a version says that a hash has changed, never to what.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::past::visible;
use super::wire::UserView;
use crate::api::auth::{require, require_scope};
use crate::api::cursor;
use crate::api::extract::{Path, Query, parameter};
use crate::api::pages::PageRequest;
use crate::api::past::refused;
use crate::api::problem::{Problem, Problems};
use crate::app::App;
use crate::backup::past::{Version, VersionKind};
use crate::domain::history::{Sequence, Timeline};
use crate::domain::ids::{DepartmentName, UserId};
use crate::domain::token::{Caller, Scope};

/// What made a version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VersionKindView {
    /// The user was made.
    Created,
    /// The user was changed.
    Updated,
    /// The user was deleted.
    Deleted,
}

/// One version of a user.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionView {
    /// The department.
    pub department: String,
    /// Number of the change in the department's history.
    pub sequence: i64,
    /// The department's time at the change; `at` with this time reads this version.
    #[schema(format = DateTime)]
    pub time: String,
    /// What happened.
    pub kind: VersionKindView,
    /// Names of the fields that differ from the version before.
    pub changed: Vec<String>,
    /// The user after the change; null after a delete.
    pub user: Option<UserView>,
}

/// A page of versions.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionPage {
    /// The versions, newest first.
    pub items: Vec<VersionView>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// Page of the versions of a user.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// The department whose history is read. Absent: the one that the user is in, else the first that knows the id.
    pub(super) department: Option<String>,
    /// Items of the page, 1 to 1000. Default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(super) limit: Option<String>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// Lists the versions of a user.
///
/// Every change within the recovery window, newest first, of deleted users too; password hashes are only named as changed.
#[utoipa::path(get, path = "/users/{user_id}/history", operation_id = "listVersions", tag = "users",
    params(("user_id" = String, Path, description = "Id of the user."), HistoryQuery),
    security(("bearer" = ["users:read"])),
    responses((status = 200, description = "One page; `Link` names the next.", body = VersionPage), Problems))]
pub(in crate::api) async fn list_versions(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<UserId>,
    uri: Uri,
    Query(query): Query<HistoryQuery>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::UsersRead)?;
    let named: Option<DepartmentName> = parameter("department", query.department.as_deref())?;
    if let Some(named) = &named {
        require(&caller, Scope::UsersRead, named, "department")?;
    }
    let print = cursor::fingerprint("history", &(&id, &named));
    let page: PageRequest<(String, i64, i64)> =
        PageRequest::read(&app.auth, uri, query.limit.as_deref(), query.cursor.as_deref(), print)?;
    let (departments, before) = match &page.after {
        Some((department, timeline, sequence)) => {
            let department = department.parse().map_err(|invalid| Problem::parameter_invalid("cursor", invalid))?;
            (vec![department], Some((Timeline(*timeline), Sequence(*sequence))))
        }
        None => (candidates(&app, &caller, &id, named).await?, None),
    };
    let mut found = None;
    for department in departments {
        let versions = Box::pin(app.past.history(&department, &id, before, page.read_limit())).await;
        let versions = versions.map_err(|error| refused(error, "user_id"))?;
        if !versions.is_empty() || before.is_some() {
            found = Some((department, versions));
            break;
        }
    }
    let Some((department, mut versions)) = found else { return Err(Problem::not_found("user")) };
    let key = |version: &Version| (department.to_string(), version.timeline.0, version.sequence.0);
    let next_cursor = page.cut(&app.auth, &mut versions, key);
    let items = versions.into_iter().map(|version| view(&department, version)).collect();
    let view = VersionPage { items, next_cursor };
    Ok(page.respond(&view, view.next_cursor.as_deref()))
}

/// Where the history of a user may be, the likeliest first.
async fn candidates(
    app: &App,
    caller: &Caller,
    id: &UserId,
    named: Option<DepartmentName>,
) -> Result<Vec<DepartmentName>, Problem> {
    if let Some(named) = named {
        return Ok(vec![named]);
    }
    let live = app.store.users.get(id).await?.map(|user| user.department);
    match live.filter(|department| caller.sees(department)) {
        Some(department) => Ok(vec![department]),
        None => visible(app, caller).await,
    }
}

fn view(department: &DepartmentName, version: Version) -> VersionView {
    VersionView {
        department: department.to_string(),
        sequence: version.sequence.0,
        time: version.time.to_string(),
        kind: match version.kind {
            VersionKind::Created => VersionKindView::Created,
            VersionKind::Updated => VersionKindView::Updated,
            VersionKind::Deleted => VersionKindView::Deleted,
        },
        changed: version.fields.into_iter().map(str::to_owned).collect(),
        user: version.user.as_ref().map(UserView::from),
    }
}
