//! `/departments`: policy, leader, followers, history and targets of each.

pub mod divergence;
pub mod keep;
mod known;
pub mod put;
pub mod step_down;
pub mod window;
pub mod wire;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt};

use super::audit::recorded;
use super::auth::{require, require_scope};
use super::cursor;
use super::extract::{IfMatch, Path, Query, parameter};
use super::pages::{PageQuery, PageRequest};
use super::problem::{Kind, Problem, Problems};
use super::users::etag;
use crate::app::App;
use crate::domain::audit::{AuditAction, AuditOutcome, AuditRecord};
use crate::domain::department::{Department, DepartmentState};
use crate::domain::ids::DepartmentName;
use crate::domain::token::{Caller, Scope};
use crate::domain::user::Rev;
pub(super) use known::Known;
use wire::{DepartmentPage, DepartmentView, FollowersView, roles, view};

/// Heads that a list reads at the same time.
const HEADS_AT_ONCE: usize = 8;

async fn tagged(app: &App, status: StatusCode, department: &Department) -> Result<Response, Problem> {
    let body = axum::Json(view(app, department).await?);
    Ok((status, [(header::ETAG, etag(department.rev))], body).into_response())
}

async fn load(app: &App, caller: &Caller, scope: Scope, name: &DepartmentName) -> Result<Department, Problem> {
    require(caller, scope, name, "department")?;
    let department = app.store.departments.get(name).await?;
    department
        .filter(|department| department.state == DepartmentState::Active)
        .ok_or_else(|| Problem::not_found("department"))
}

/// Lists departments.
///
/// Deleted ones are not listed.
#[utoipa::path(get, path = "/departments", operation_id = "listDepartments", tag = "departments",
    params(PageQuery),
    security(("bearer" = ["departments:read"])),
    responses((status = 200, description = "One page; `Link` names the next.", body = DepartmentPage), Problems))]
pub(super) async fn list_departments(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::DepartmentsRead)?;
    let print = cursor::fingerprint("departments", &caller.department);
    let page: PageRequest<String> =
        PageRequest::read(&app.auth, uri, query.limit.as_deref(), query.cursor.as_deref(), print)?;
    let after: Option<DepartmentName> = parameter("cursor", page.after.as_deref())?;
    let mut departments = match &caller.department {
        Some(own) => app.store.departments.get(own).await?.into_iter().collect(),
        None => app.store.departments.list(after.as_ref(), page.read_limit()).await?,
    };
    departments.retain(|department: &Department| department.state == DepartmentState::Active);
    let next_cursor = page.cut(&app.auth, &mut departments, |department| department.name.to_string());
    let views = futures::stream::iter(departments).map(|department| {
        let app = app.clone();
        async move { view(&app, &department).await }
    });
    let items = views.buffered(HEADS_AT_ONCE).try_collect().await?;
    let view = DepartmentPage { items, next_cursor };
    Ok(page.respond(&view, view.next_cursor.as_deref()))
}

/// Reads a department.
///
/// Leader and followers are as the answering replica last saw them.
#[utoipa::path(get, path = "/departments/{department}", operation_id = "getDepartment", tag = "departments",
    params(("department" = String, Path, description = "Name of the department.")),
    security(("bearer" = ["departments:read"])),
    responses((status = 200, description = "The department; `ETag` is set.", body = DepartmentView), Problems))]
pub(super) async fn get_department(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<DepartmentName>,
) -> Result<Response, Problem> {
    // No 304: leader and head change without the rev.
    let department = load(&app, &caller, Scope::DepartmentsRead, &name).await?;
    tagged(&app, StatusCode::OK, &department).await
}

/// Deletes a department without users.
///
/// Its history goes on where it ended when it is made again. All of it stays for `backup.deleted_lifetime` and `keep_within`;
/// then backups go as its policy drops them, and with the last one everything of it, from every target. What keeps it is
/// shown by its retention plan.
#[utoipa::path(delete, path = "/departments/{department}", operation_id = "deleteDepartment", tag = "departments",
    params(("department" = String, Path, description = "Name of the department."),
        ("If-Match" = Option<String>, Header, description = "Delete only the version with this `ETag`.")),
    security(("bearer" = ["departments:write"])),
    responses((status = 204, description = "Deleted."), Problems))]
pub(super) async fn delete_department(
    State(app): State<App>,
    Extension(known): Extension<Known>,
    caller: Caller,
    Path(name): Path<DepartmentName>,
    guard: IfMatch,
) -> Result<StatusCode, Problem> {
    let department = load(&app, &caller, Scope::DepartmentsWrite, &name).await?;
    guard.check(&department.rev.to_string())?;
    if name == DepartmentName::default_department() {
        return Err(Problem::new(Kind::Conflict, "The default department always exists.").code("default_department"));
    }
    let not_empty =
        || Problem::new(Kind::Conflict, format!("The department {name} still has users.")).code("department_not_empty");
    if app.store.users.any_in(&name).await? {
        return Err(not_empty());
    }
    let deleted = Rev::random();
    let record = recorded(&app, &caller, AuditAction::DeleteDepartment, Some(&name), &name);
    app.store.departments.set_deleted(&name, department.rev, true, deleted, &record).await?;
    known.forget_everywhere().await;
    // A user may have come in between the look and the deletion, also by another replica: then the department stays.
    if app.store.users.any_in(&name).await? {
        let record = AuditRecord {
            outcome: AuditOutcome::TakenBack,
            ..recorded(&app, &caller, AuditAction::DeleteDepartment, Some(&name), &name)
        };
        app.store.departments.set_deleted(&name, deleted, false, Rev::random(), &record).await?;
        return Err(not_empty());
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the replicas that follow in a department.
///
/// Every live replica but the leader follows.
#[utoipa::path(get, path = "/departments/{department}/followers", operation_id = "listFollowers", tag = "departments",
    params(("department" = String, Path, description = "Name of the department.")),
    security(("bearer" = ["departments:read"])),
    responses((status = 200, description = "The replicas by role.", body = FollowersView), Problems))]
pub(super) async fn list_followers(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<DepartmentName>,
) -> Result<axum::Json<FollowersView>, Problem> {
    load(&app, &caller, Scope::DepartmentsRead, &name).await?;
    let (leader, followers) = roles(&app, &name);
    let leader = leader.map(|leader| leader.replica);
    Ok(axum::Json(FollowersView { department: name.to_string(), leader, followers }))
}
