//! `/users`: create, list, read, change, delete.
//!
//! Rule: no view of a user has its password hash.

mod credential;
pub mod history;
mod past;
pub mod verify;
pub mod wire;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::audit::recorded;
use super::auth::{limit_to, require, require_scope};
use super::cursor;
use super::departments::Known;
use super::extract::{IfMatch, IfNoneMatch, Json, Path, Query, flag, parameter};
use super::idempotency::Effect;
use super::jobs::list_parameter;
use super::pages::PageRequest;
use super::problem::{FieldProblem, Kind, Problem, Problems};
use crate::app::App;
use crate::domain::audit::{AuditAction, AuditOutcome};
use crate::domain::cause::chain;
use crate::domain::ids::{DepartmentName, UserId};
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};
use crate::domain::user::{Rev, User, UserName};
use crate::store::StoreError;
use crate::store::error::UniqueField;
use crate::store::users::UserFilter;
pub(super) use credential::{Credential, read_field};
use wire::{MomentQuery, NewUser, UserPage, UserPatch, UserQuery, UserView};

/// How often a change without `If-Match` is tried against other writers.
const ATTEMPTS: usize = 5;
/// Most ids that a list may name.
const IDS_MAX: usize = 200;

/// Creates a user.
///
/// The record is majority-committed and journaled when the answer comes.
#[utoipa::path(post, path = "/users", operation_id = "createUser", tag = "users", request_body = NewUser,
    security(("bearer" = ["users:write"])),
    responses((status = 201, description = "Created; `Location` and `ETag` are set.", body = UserView), Problems))]
pub(super) async fn create_user(
    State(app): State<App>,
    Extension(known): Extension<Known>,
    caller: Caller,
    effect: Effect,
    Json(body): Json<NewUser>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::UsersWrite)?;
    let mut errors = Vec::new();
    let id: Option<UserId> = read_field("/id", body.id.as_deref(), &mut errors);
    let department = read_field("/department", body.department.as_deref(), &mut errors);
    let name: Option<UserName> = read_field("/name", Some(&body.name), &mut errors);
    if body.password.is_none() && body.password_hash.is_none() {
        let invalid = Invalid::new("missing_credential", "Give password or password_hash.");
        errors.push(FieldProblem::body("/password", invalid));
    }
    let credential = Credential::read(body.password, body.password_hash, &mut errors);
    let (Some(name), Some(credential), true) = (name, credential, errors.is_empty()) else {
        return Err(Problem::fields_invalid(errors));
    };
    let department: DepartmentName = department.unwrap_or_else(DepartmentName::default_department);
    require(&caller, Scope::UsersWrite, &department, "department")?;
    let own_id = id.is_some();
    let id = id.unwrap_or_else(|| effect.id(&app.clock).into());
    if effect.is_repeated()
        && let Some(user) = made_before(&app, &effect, &id, own_id).await?
    {
        return Ok(created(&user));
    }
    known.require(&app, &department).await?;

    let password_hash = credential.hash(&app).await?;
    let now = app.clock.now();
    let user = User {
        id,
        department,
        name,
        password_hash,
        locked: body.locked.unwrap_or(false),
        rev: effect.rev(),
        version: 1,
        created_at: now,
        updated_at: now,
    };
    match app.store.users.insert(&user).await {
        Ok(()) => Ok(created(&user)),
        // Another execution of the same request may have been faster.
        Err(taken @ StoreError::Taken(UniqueField::Id)) => {
            let made = made_before(&app, &effect, &user.id, own_id).await?;
            made.map(|user| created(&user)).ok_or_else(|| taken.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The user that another execution of the same request made. With an id of the client's own, only the revision tells.
async fn made_before(app: &App, effect: &Effect, id: &UserId, own_id: bool) -> Result<Option<User>, Problem> {
    let found = app.store.users.get(id).await?;
    Ok(found.filter(|user| user.rev == effect.rev() || !own_id))
}

fn created(user: &User) -> Response {
    let mut response = tagged(StatusCode::CREATED, user);
    if let Ok(location) = HeaderValue::from_str(&format!("/users/{}", user.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Lists users.
///
/// Pages are in the order of department and id, and stable while users are written. With `at`, the users of one department as
/// they were then; a page may be short, and only the absence of `next_cursor` says that it is the last.
#[utoipa::path(get, path = "/users", operation_id = "listUsers", tag = "users", params(UserQuery),
    security(("bearer" = ["users:read"])),
    responses((status = 200, description = "One page; `Link` names the next.", body = UserPage), Problems))]
pub(super) async fn list_users(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    Query(query): Query<UserQuery>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::UsersRead)?;
    let department = parameter("department", query.department.as_deref())?;
    let ids = query.ids.as_deref().map(|ids| list_parameter::<UserId>("ids", Some(ids))).transpose()?;
    if ids.as_ref().is_some_and(|ids| ids.len() > IDS_MAX) {
        return Err(Problem::parameter_invalid("ids", Invalid::new("too_many_ids", "At most 200 ids can be asked.")));
    }
    let at = parameter("at", query.at.as_deref())?;
    let filter = UserFilter {
        department: limit_to(&caller, department)?,
        name_prefix: query.name_prefix,
        locked: flag("locked", query.locked.as_deref())?,
        updated_since: parameter("updated_since", query.updated_since.as_deref())?,
        ids,
    };
    let print = cursor::fingerprint("users", &(&filter, at));
    let page: PageRequest<(String, String)> =
        PageRequest::read(&app.auth, uri, query.limit.as_deref(), query.cursor.as_deref(), print)?;
    let after = match &page.after {
        Some((department, id)) => Some((
            department.parse().map_err(|invalid| Problem::parameter_invalid("cursor", invalid))?,
            id.parse().map_err(|invalid| Problem::parameter_invalid("cursor", invalid))?,
        )),
        None => None,
    };
    if let Some(at) = at {
        return past::list(&app, &filter, at, page, after).await;
    }
    let mut users = app.store.users.list(&filter, after.as_ref(), page.read_limit()).await?;
    let next_cursor = page.cut(&app.auth, &mut users, |user| (user.department.to_string(), user.id.to_string()));
    let items = users.iter().map(UserView::from).collect();
    let view = UserPage { items, next_cursor };
    Ok(page.respond(&view, view.next_cursor.as_deref()))
}

/// Reads a user.
///
/// With `If-None-Match`, an unchanged record answers 304. With `at`, the user as it was then, deleted ones included.
#[utoipa::path(get, path = "/users/{user_id}", operation_id = "getUser", tag = "users",
    params(("user_id" = String, Path, description = "Id of the user."), MomentQuery,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` that the client has.")),
    security(("bearer" = ["users:read"])),
    responses((status = 200, description = "The user; `ETag` is set.", body = UserView),
        (status = 304, description = "The client has this version."), Problems))]
pub(super) async fn get_user(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<UserId>,
    known: IfNoneMatch,
    Query(query): Query<MomentQuery>,
) -> Result<Response, Problem> {
    let user = match parameter("at", query.at.as_deref())? {
        Some(at) => past::user(&app, &caller, &id, query.department.as_deref(), at).await?,
        None if query.department.is_some() => return Err(past::only_with_at()),
        None => load(&app, &caller, Scope::UsersRead, &id).await?,
    };
    if known.knows(&user.rev.to_string()) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag(user.rev))]).into_response());
    }
    Ok(tagged(StatusCode::OK, &user))
}

/// Changes a user.
///
/// JSON merge patch. With `If-Match` the change is made to that version only; without, it is made to whatever is there.
#[utoipa::path(patch, path = "/users/{user_id}", operation_id = "updateUser", tag = "users",
    params(("user_id" = String, Path, description = "Id of the user."),
        ("If-Match" = Option<String>, Header, description = "Change only the version with this `ETag`.")),
    request_body(content((UserPatch = "application/merge-patch+json"), (UserPatch = "application/json")),
        description = "The fields to change."),
    security(("bearer" = ["users:write"])),
    responses((status = 200, description = "The changed user; `ETag` is set.", body = UserView), Problems))]
pub(super) async fn update_user(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<UserId>,
    guard: IfMatch,
    Json(patch): Json<UserPatch>,
) -> Result<Response, Problem> {
    let mut user = load(&app, &caller, Scope::UsersWrite, &id).await?;
    guard.check(&user.rev.to_string())?;
    let mut errors = Vec::new();
    let name: Option<UserName> = read_field("/name", patch.name.as_deref(), &mut errors);
    if patch.department.as_deref().is_some_and(|department| department != user.department.as_str()) {
        let invalid = Invalid::new("department_fixed", "A user cannot change its department.");
        errors.push(FieldProblem::body("/department", invalid));
    }
    let credential = Credential::read(patch.password, patch.password_hash, &mut errors);
    if !errors.is_empty() {
        return Err(Problem::fields_invalid(errors));
    }
    // Hashed once, however often the write is tried.
    let hash = match credential {
        Some(credential) => Some(credential.hash(&app).await?),
        None => None,
    };
    for _ in 0..ATTEMPTS {
        let read = user.rev;
        if let Some(name) = &name {
            user.name = name.clone();
        }
        if let Some(hash) = &hash {
            user.password_hash = hash.clone();
        }
        user.locked = patch.locked.unwrap_or(user.locked);
        user.rev = Rev::random();
        user.version += 1;
        user.updated_at = app.clock.now().max(user.created_at);
        match app.store.users.replace(&user, read).await {
            Ok(()) => return Ok(tagged(StatusCode::OK, &user)),
            Err(StoreError::Stale) => {
                user = load(&app, &caller, Scope::UsersWrite, &id).await?;
                guard.check(&user.rev.to_string())?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(contended())
}

/// Deletes a user.
///
/// With `If-Match` only that version is deleted.
#[utoipa::path(delete, path = "/users/{user_id}", operation_id = "deleteUser", tag = "users",
    params(("user_id" = String, Path, description = "Id of the user."),
        ("If-Match" = Option<String>, Header, description = "Delete only the version with this `ETag`.")),
    security(("bearer" = ["users:write"])),
    responses((status = 204, description = "Deleted."), Problems))]
pub(super) async fn delete_user(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<UserId>,
    guard: IfMatch,
) -> Result<StatusCode, Problem> {
    let user = load(&app, &caller, Scope::UsersWrite, &id).await?;
    guard.check(&user.rev.to_string())?;
    // The deletion is a write of its own, whose place in the change stream nothing else shares, so it is recorded before.
    let record = recorded(&app, &caller, AuditAction::DeleteUser, Some(&user.department), &id);
    app.store.audit.begin(&record).await?;
    let deleted = delete(&app, &caller, user, &guard).await;
    let outcome = match &deleted {
        Ok(()) => AuditOutcome::Done,
        // Perhaps it was done.
        Err(problem) if problem.status().is_server_error() => AuditOutcome::Begun,
        Err(_) => AuditOutcome::Refused,
    };
    if outcome != AuditOutcome::Begun
        && let Err(error) = app.store.audit.settle(&record.id, outcome).await
    {
        tracing::warn!(error = %chain(&error), "an audit record goes on saying that the deletion of a user was begun");
    }
    deleted.map(|()| StatusCode::NO_CONTENT)
}

async fn delete(app: &App, caller: &Caller, mut user: User, guard: &IfMatch) -> Result<(), Problem> {
    for _ in 0..ATTEMPTS {
        match app.store.users.delete(&user.department, &user.id, user.rev).await {
            Ok(()) => return Ok(()),
            Err(StoreError::Stale) => {
                user = load(app, caller, Scope::UsersWrite, &user.id).await?;
                guard.check(&user.rev.to_string())?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(contended())
}

async fn load(app: &App, caller: &Caller, scope: Scope, id: &UserId) -> Result<User, Problem> {
    require_scope(caller, scope)?;
    let user = match app.store.users.get(id).await? {
        Some(user) => user,
        None => app.store.users.get_after_all(id).await?.ok_or_else(|| Problem::not_found("user"))?,
    };
    require(caller, scope, &user.department, "user")?;
    Ok(user)
}

fn tagged(status: StatusCode, user: &User) -> Response {
    (status, [(header::ETAG, etag(user.rev))], axum::Json(UserView::from(user))).into_response()
}

/// The `ETag` of a revision.
pub(super) fn etag(rev: Rev) -> String {
    format!("\"{rev}\"")
}

/// Other writers were faster every time.
pub(super) fn contended() -> Problem {
    Problem::new(Kind::Conflict, "Others write this at the same time. Nothing was changed; try again.")
        .code("contended")
}
