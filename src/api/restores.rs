//! `/restores`: plan, apply, cancel, look.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::{limit_to, require, require_scope};
use super::cursor;
use super::extract::{IfMatch, Json, Path, Query, Tags, not_null, parameter};
use super::jobs::{accepted, fresh_uuid, list_parameter, preferred_wait, wait_for, waiting_cause};
use super::pages::PageRequest;
use super::problem::{FieldProblem, Kind, Problem, Problems};
use super::users::read_field;
use super::wire::{
    ActionView, CauseView, ConflictCauseView, CredentialsView, ExecutorView, LockedView, OnConflictView, PassView,
    RestoreModeView, RestoreStateView,
};
use crate::app::App;
use crate::domain::backup::{Backup, BackupState};
use crate::domain::clock::Timestamp;
use crate::domain::department::DepartmentState;
use crate::domain::ids::{BackupId, RestoreId, UserId};
use crate::domain::restore::{
    Plan, PlanSample, RESTORE_USERS_MAX, Restore, RestoreProgress, RestoreRequest as Wish, RestoreState,
};
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};
use crate::store::StoreError;
use crate::store::restores::RestoreFilter;

/// A wish for a restore. The defaults are the safe ones.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"from": {"backup_id": "019aaf5c-2f3e-7d10-8a55-0c6f3f2b9a01"}}))]
pub struct RestoreRequest {
    /// The restore point.
    from: RestoreFrom,
    /// Only these users, at most 10,000; absent means all.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    users: Option<Vec<String>>,
    /// What becomes of users that the point does not have. Default `merge`: they stay.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    mode: Option<RestoreModeView>,
    /// Which password hash wins. Default `keep`: the live one.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    credentials: Option<CredentialsView>,
    /// Whether users are locked afterwards. Default `keep`.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    locked: Option<LockedView>,
    /// What becomes of a record that was changed after the plan. Default `skip`.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    on_conflict: Option<OnConflictView>,
    /// Whether to go on from the plan to its application. Default false.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    apply: Option<bool>,
}

/// A restore point.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreFrom {
    /// Id of a complete backup.
    backup_id: String,
}

/// What a restore would change.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanView {
    /// Records to create.
    pub creates: u64,
    /// Records to change.
    pub updates: u64,
    /// Records to delete.
    pub deletes: u64,
    /// Records that are as wanted.
    pub unchanged: u64,
    /// Records of which a policy keeps the live hash or lock against the point.
    pub security_kept: u64,
    /// Users that were asked for by id and that the restore point does not have.
    pub missing_users: Vec<String>,
    /// Hash over every planned change; the `ETag` without its quotes.
    pub hash: String,
    /// The first few changes of each kind.
    pub samples: Vec<PlanSampleView>,
    /// When it was computed.
    #[schema(format = DateTime)]
    pub computed_at: String,
}

/// One change of a plan.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanSampleView {
    /// What happens.
    pub action: ActionView,
    /// The user.
    pub user_id: String,
    /// The name it has or gets.
    pub name: String,
    /// Names of the fields that change.
    pub fields: Vec<String>,
}

/// How far the application has come.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestoreProgressView {
    /// The pass that is under way.
    pub pass: PassView,
    /// Ranges that are committed.
    pub batches: u64,
    /// Planned changes that are dealt with, conflicts included.
    pub changes_done: u64,
    /// Planned changes in all.
    pub changes_total: u64,
    /// Users that were really written.
    pub changes_applied: u64,
    /// Changes that could not be made, or were made over a conflict.
    pub conflicts: u64,
}

/// A restore: its request, its plan and its progress.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestoreView {
    /// Its id.
    pub id: String,
    /// The department that is restored.
    pub department: String,
    /// The restore point.
    pub from: RestoreFrom,
    /// Only these users; null means all.
    pub users: Option<Vec<String>>,
    /// What becomes of users that the point does not have.
    pub mode: RestoreModeView,
    /// Which password hash wins.
    pub credentials: CredentialsView,
    /// Whether users are locked afterwards.
    pub locked: LockedView,
    /// What becomes of a record that was changed after the plan.
    pub on_conflict: OnConflictView,
    /// Whether it goes on from the plan to its application.
    pub apply: bool,
    /// How far it has come.
    pub state: RestoreStateView,
    /// Why it waits, failed or was cancelled.
    pub cause: Option<CauseView>,
    /// Whether somebody asked to stop it.
    pub cancel_requested: bool,
    /// Who carries or carried it out.
    pub executed_by: Option<ExecutorView>,
    /// The epoch that carries or carried it out.
    pub epoch: Option<i64>,
    /// Who asked for it.
    pub requested_by: String,
    /// When it was asked for.
    #[schema(format = DateTime)]
    pub requested_at: String,
    /// The backup taken before anything is changed.
    pub safety_backup_id: Option<String>,
    /// What it would change, or changes; null until it is computed.
    pub plan: Option<PlanView>,
    /// How far the application has come.
    pub progress: RestoreProgressView,
    /// When the plan was begun.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
}

/// A page of restores.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestorePage {
    /// The restores, newest first.
    pub items: Vec<RestoreView>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

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

/// Filter and page of a list of restores.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RestoreQuery {
    /// Only this department.
    department: Option<String>,
    /// States, separated by commas or repeated. Default: all.
    state: Option<String>,
    /// Items of the page, 1 to 1000. Default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Page of a list of conflicts or planned changes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConflictQuery {
    /// Items of the page, 1 to 1000. Default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(super) limit: Option<String>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// One planned change as it is shown.
pub(super) fn sample_view(sample: PlanSample) -> PlanSampleView {
    PlanSampleView {
        action: sample.action.into(),
        user_id: sample.user_id.to_string(),
        name: sample.name,
        fields: sample.fields,
    }
}

fn plan_view(plan: Plan) -> PlanView {
    let samples = plan.samples.into_iter().map(sample_view);
    PlanView {
        creates: plan.creates,
        updates: plan.updates,
        deletes: plan.deletes,
        unchanged: plan.unchanged,
        security_kept: plan.security_kept,
        missing_users: plan.missing_users.iter().map(ToString::to_string).collect(),
        hash: plan.hash,
        samples: samples.collect(),
        computed_at: plan.computed_at.to_string(),
    }
}

fn view(app: &App, restore: Restore) -> RestoreView {
    let waits = restore.state == RestoreState::Queued && restore.cause.is_none();
    let cause = if waits { waiting_cause(app, &restore.department) } else { restore.cause };
    let request = restore.request;
    RestoreView {
        id: restore.id.to_string(),
        department: restore.department.to_string(),
        from: RestoreFrom { backup_id: request.backup_id.to_string() },
        users: request.users.map(|users| users.iter().map(ToString::to_string).collect()),
        mode: request.mode.into(),
        credentials: request.credentials.into(),
        locked: request.locked.into(),
        on_conflict: request.on_conflict.into(),
        apply: restore.apply,
        state: restore.state.into(),
        cause: cause.map(Into::into),
        cancel_requested: restore.cancel_requested,
        epoch: restore.executed_by.as_ref().map(|executor| executor.epoch.0),
        executed_by: restore.executed_by.map(Into::into),
        requested_by: restore.requested_by,
        requested_at: restore.requested_at.to_string(),
        safety_backup_id: restore.safety_backup_id.map(|id| id.to_string()),
        plan: restore.plan.map(plan_view),
        progress: RestoreProgressView {
            pass: restore.progress.pass.into(),
            batches: restore.progress.batches,
            changes_done: restore.progress.changes_done,
            changes_total: restore.progress.changes_total,
            changes_applied: restore.progress.changes_applied,
            conflicts: restore.progress.conflicts,
        },
        started_at: restore.started_at.map(|time| time.to_string()),
        finished_at: restore.finished_at.map(|time| time.to_string()),
    }
}

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

pub(super) async fn load(app: &App, caller: &Caller, scope: Scope, id: &RestoreId) -> Result<Restore, Problem> {
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

/// Starts a restore.
///
/// The leader takes a safety backup and computes the plan; nothing is changed before `apply`, unless `apply` is true.
#[utoipa::path(post, path = "/restores", operation_id = "startRestore", tag = "restores",
    params(("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most 60.")),
    request_body = RestoreRequest,
    responses((status = 202, description = "Recorded; `Location` shows its progress.", body = RestoreView),
        (status = 200, description = "Planned or ended while the answer waited.", body = RestoreView), Problems))]
pub(super) async fn start_restore(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Json(body): Json<RestoreRequest>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::RestoresWrite)?;
    let mut errors = Vec::new();
    let backup_id: Option<BackupId> = read_field("/from/backup_id", Some(&body.from.backup_id), &mut errors);
    let users = body.users.as_deref().map(|users| read_users(users, &mut errors));
    let (Some(backup_id), true) = (backup_id, errors.is_empty()) else {
        return Err(Problem::fields_invalid(errors));
    };
    let backup = usable_backup(&app, &caller, &backup_id).await?;
    let restore = Restore {
        id: fresh_uuid(&app.clock).into(),
        department: backup.department,
        request: Wish {
            backup_id,
            users,
            mode: body.mode.map(Into::into).unwrap_or_default(),
            credentials: body.credentials.map(Into::into).unwrap_or_default(),
            locked: body.locked.map(Into::into).unwrap_or_default(),
            on_conflict: body.on_conflict.map(Into::into).unwrap_or_default(),
        },
        state: RestoreState::Queued,
        cause: None,
        requested_by: caller.name,
        requested_at: app.clock.now(),
        apply: body.apply.unwrap_or(false),
        cancel_requested: false,
        executed_by: None,
        safety_backup_id: None,
        plan: None,
        progress: RestoreProgress::default(),
        started_at: None,
        finished_at: None,
    };
    app.store.restores.insert(&restore).await?;
    answer(&app, restore, &headers).await
}

fn read_users(users: &[String], errors: &mut Vec<FieldProblem>) -> Vec<UserId> {
    if users.len() > RESTORE_USERS_MAX || users.is_empty() {
        let invalid = Invalid::new("invalid_users", "Name 1 to 10,000 users, or leave `users` out to restore all.");
        errors.push(FieldProblem::body("/users", invalid));
        return Vec::new();
    }
    let ids = users.iter().enumerate().filter_map(|(at, id)| read_field(&format!("/users/{at}"), Some(id), errors));
    let mut ids: Vec<UserId> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The backup of a request, if the caller may see it and it can be restored.
async fn usable_backup(app: &App, caller: &Caller, id: &BackupId) -> Result<Backup, Problem> {
    let found = app.store.backups.get(id).await?.filter(|backup| caller.sees(&backup.department));
    let backup = found.ok_or_else(|| Problem::not_found("backup"))?;
    if backup.state != BackupState::Complete {
        let invalid = Invalid::new("backup_not_complete", "Only a complete backup can be restored.");
        return Err(Problem::field_invalid("/from/backup_id", invalid));
    }
    let department = app.store.departments.get(&backup.department).await?;
    if department.is_none_or(|department| department.state != DepartmentState::Active) {
        let name = &backup.department;
        let detail = format!("The department {name} was deleted. Make it again with PUT /departments/{name} first.");
        return Err(Problem::new(Kind::Conflict, detail).code("department_deleted"));
    }
    Ok(backup)
}

/// Lists restores.
///
/// Newest first, in any state unless `state` says which.
#[utoipa::path(get, path = "/restores", operation_id = "listRestores", tag = "restores", params(RestoreQuery),
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
    let page: PageRequest<(i64, String)> =
        PageRequest::read(&app.auth, uri, query.limit.as_deref(), query.cursor.as_deref(), print)?;
    let before = match &page.after {
        Some((millis, id)) => {
            let id = id.parse().map_err(|invalid| Problem::parameter_invalid("cursor", invalid))?;
            Some((Timestamp::from_millis(*millis), id))
        }
        None => None,
    };
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

/// Applies a planned restore.
///
/// `If-Match` has to carry the plan's `ETag`, so that what is applied is what was looked at.
#[utoipa::path(post, path = "/restores/{restore_id}/apply", operation_id = "applyRestore", tag = "restores",
    params(("restore_id" = String, Path, description = "Id of the restore."),
        ("If-Match" = String, Header, description = "The plan's `ETag`."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most 60.")),
    responses((status = 202, description = "The leader applies it.", body = RestoreView),
        (status = 200, description = "Ended while the answer waited.", body = RestoreView), Problems))]
pub(super) async fn apply_restore(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<RestoreId>,
    guard: IfMatch,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let restore = load(&app, &caller, Scope::RestoresWrite, &id).await?;
    // `*` would apply a plan that nobody looked at.
    let Some(Tags::List(_)) = guard.0 else {
        let detail = "Send the plan's ETag in If-Match; GET the restore shows it.";
        return Err(Problem::new(Kind::PreconditionRequired, detail));
    };
    let Some(plan) = restore.plan.as_ref().filter(|_| restore.state == RestoreState::Planned) else {
        return Err(not_planned());
    };
    guard.check(&plan.hash)?;
    match app.store.restores.request_apply(&id, &plan.hash).await {
        Ok(()) => {}
        Err(StoreError::Stale) => {
            let now = read(&app, &id).await?;
            let applicable = now.state == RestoreState::Planned && !now.cancel_requested;
            return Err(if applicable { Problem::stale() } else { not_planned() });
        }
        Err(error) => return Err(error.into()),
    }
    // Until the leader has seen the wish, the state is still `planned`, and `apply` is true.
    answer(&app, read(&app, &id).await?, &headers).await
}

fn not_planned() -> Problem {
    Problem::new(Kind::Conflict, "Only a restore in state `planned` can be applied.").code("not_planned")
}

/// Cancels a restore.
///
/// What was applied before stays applied, and is counted.
#[utoipa::path(post, path = "/restores/{restore_id}/cancel", operation_id = "cancelRestore", tag = "restores",
    params(("restore_id" = String, Path, description = "Id of the restore."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most 60.")),
    responses((status = 202, description = "The leader stops it.", body = RestoreView),
        (status = 200, description = "Ended while the answer waited.", body = RestoreView), Problems))]
pub(super) async fn cancel_restore(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<RestoreId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    load(&app, &caller, Scope::RestoresWrite, &id).await?;
    match app.store.restores.request_cancel(&id).await {
        Ok(()) => {}
        Err(StoreError::Stale) => {
            return Err(Problem::new(Kind::Conflict, "The restore has ended already.").code("already_ended"));
        }
        Err(error) => return Err(error.into()),
    }
    answer(&app, read(&app, &id).await?, &headers).await
}

/// Lists the conflicts of a restore.
///
/// Every planned change that met something else than the plan expected, with its cause.
#[utoipa::path(get, path = "/restores/{restore_id}/conflicts", operation_id = "listConflicts", tag = "restores",
    params(("restore_id" = String, Path, description = "Id of the restore."), ConflictQuery),
    responses((status = 200, description = "One page; `Link` names the next.", body = ConflictPage), Problems))]
pub(super) async fn list_conflicts(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<RestoreId>,
    uri: Uri,
    Query(query): Query<ConflictQuery>,
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
