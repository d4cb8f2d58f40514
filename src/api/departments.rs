//! `/departments`: policy, leader, followers, history and targets of each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::auth::{require, require_scope};
use super::cursor;
use super::extract::{IfMatch, IfNoneMatch, Json, Path, PathText, Query, not_null, object_not_null};
use super::pages::PageRequest;
use super::problem::{Kind, Problem, Problems};
use super::users::{contended, etag};
use super::wire::{DepartmentStateView, TargetView};
use crate::app::App;
use crate::domain::department::{Department, DepartmentState, Policy, Schedule};
use crate::domain::history::Head;
use crate::domain::ids::DepartmentName;
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};
use crate::domain::user::Rev;
use crate::store::StoreError;

/// How long a department is believed to take users after it was seen active.
const BELIEVED_FOR: Duration = Duration::from_secs(1);
/// How often a write without `If-Match` is tried against other writers.
const ATTEMPTS: usize = 5;
/// Heads that a list reads at the same time.
const HEADS_AT_ONCE: usize = 8;

/// Departments seen active a moment ago, so that creating a user costs no second read.
#[derive(Debug, Clone, Default)]
pub(super) struct Known(Arc<RwLock<Option<Seen>>>);

/// When the departments were read, and which were active.
type Seen = (Instant, BTreeSet<DepartmentName>);

impl Known {
    /// Refuses a department that does not take users.
    ///
    /// # Errors
    /// 422 at `/department`.
    pub(super) async fn require(&self, app: &App, name: &DepartmentName) -> Result<(), Problem> {
        if self.takes_users(app, name).await? {
            return Ok(());
        }
        let message = format!("There is no department {name}; PUT /departments/{name} makes it.");
        Err(Problem::field_invalid("/department", Invalid::new("unknown_department", message)))
    }

    /// Whether a department takes users, as seen within the last second.
    pub(super) async fn takes_users(&self, app: &App, name: &DepartmentName) -> Result<bool, Problem> {
        if let Some((since, names)) = &*self.0.read().await
            && since.elapsed() < BELIEVED_FOR
            && names.contains(name)
        {
            return Ok(true);
        }
        let department = app.store.departments.get(name).await?;
        let active = department.is_some_and(|department| department.state == DepartmentState::Active);
        let mut known = self.0.write().await;
        match &mut *known {
            Some((since, names)) if since.elapsed() < BELIEVED_FOR => {
                if active {
                    names.insert(name.clone());
                } else {
                    names.remove(name);
                }
            }
            // The whole set starts anew: it is as old as its oldest member.
            stale => *stale = Some((Instant::now(), active.then(|| name.clone()).into_iter().collect())),
        }
        Ok(active)
    }

    async fn forget(&self) {
        *self.0.write().await = None;
    }
}

/// What is wanted of a department.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"policy": {"backup_every": "10s"}}))]
pub struct DepartmentRequest {
    /// The policy; absent keeps the present one, or takes the default.
    #[serde(default, deserialize_with = "object_not_null")]
    #[schema(nullable = false)]
    policy: Option<PolicyRequest>,
}

/// What the leader of a department shall keep to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRequest {
    /// Time between two scheduled backups, 10s to 31d; absent keeps the present one, or takes the default.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, example = "10s")]
    backup_every: Option<String>,
}

/// What the leader of a department keeps to.
#[derive(Debug, Serialize, ToSchema)]
pub struct PolicyView {
    /// Time between two scheduled backups.
    #[schema(example = "1h")]
    pub backup_every: String,
}

/// The leader of a department.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeaderView {
    /// The replica that leads.
    pub replica: String,
    /// Its epoch.
    pub epoch: i64,
    /// Since when.
    #[schema(format = DateTime)]
    pub since: String,
}

/// How far a schedule has come.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScheduleView {
    /// The newest slot that was taken.
    #[schema(format = DateTime)]
    pub last_slot: Option<String>,
    /// Slots that passed without a backup.
    pub missed_slots: u64,
}

/// How far a history goes.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeadView {
    /// The line of history.
    pub timeline: i64,
    /// Changes up to this number are in it.
    pub sequence: i64,
    /// The department's time at that point.
    #[schema(format = DateTime)]
    pub time: String,
    /// Breaks of the history.
    pub gaps: Vec<GapView>,
}

/// A stretch of history that could not be captured.
#[derive(Debug, Serialize, ToSchema)]
pub struct GapView {
    /// The last sequence before it.
    pub after: i64,
    /// When it was found.
    #[schema(format = DateTime)]
    pub found_at: String,
    /// Why it is there.
    pub cause: String,
}

/// A department.
#[derive(Debug, Serialize, ToSchema)]
pub struct DepartmentView {
    /// Its name.
    pub name: String,
    /// What its leader keeps to.
    pub policy: PolicyView,
    /// Whether it takes users.
    pub state: DepartmentStateView,
    /// The replica that leads it; null while there is none.
    pub leader: Option<LeaderView>,
    /// Replicas that follow.
    pub followers: Vec<String>,
    /// How far its schedule has come.
    pub schedule: ScheduleView,
    /// How far its history goes; null before its first leader.
    pub head: Option<HeadView>,
    /// The targets of its backups, as the answering replica sees them.
    pub targets: Vec<TargetView>,
    /// Revision; the `ETag` without its quotes.
    pub rev: String,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When its policy was last written.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// A page of departments.
#[derive(Debug, Serialize, ToSchema)]
pub struct DepartmentPage {
    /// The departments, in the order of names.
    pub items: Vec<DepartmentView>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// The replicas of a department by role.
#[derive(Debug, Serialize, ToSchema)]
pub struct FollowersView {
    /// The department.
    pub department: String,
    /// The replica that leads; null while there is none.
    pub leader: Option<String>,
    /// Replicas that follow.
    pub followers: Vec<String>,
}

/// Page of a list of departments.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DepartmentQuery {
    /// Items of the page, 1 to 1000. Default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The leader and the followers of a department, as the cluster view has them.
fn roles(app: &App, name: &DepartmentName) -> (Option<LeaderView>, Vec<String>) {
    let view = app.cluster.view();
    let leader = view.leaders.get(name);
    let followers = view.members.iter().map(|member| &member.replica);
    let followers = followers.filter(|replica| leader.is_none_or(|leader| &leader.replica != *replica));
    let followers = followers.map(ToString::to_string).collect();
    let leader = leader.map(|leader| LeaderView {
        replica: leader.replica.to_string(),
        epoch: leader.epoch.0,
        since: leader.since.to_string(),
    });
    (leader, followers)
}

fn head_view(head: Head) -> HeadView {
    let gaps = head.gaps.into_iter().map(|gap| GapView {
        after: gap.after.0,
        found_at: gap.found_at.to_string(),
        cause: gap.cause,
    });
    HeadView {
        timeline: head.timeline.0,
        sequence: head.position.sequence.0,
        time: head.position.time.to_string(),
        gaps: gaps.collect(),
    }
}

async fn view(app: &App, department: &Department) -> Result<DepartmentView, Problem> {
    let head = app.store.heads.get(&department.name).await?;
    let (leader, followers) = roles(app, &department.name);
    Ok(DepartmentView {
        name: department.name.to_string(),
        policy: PolicyView { backup_every: humantime::format_duration(department.policy.backup_every).to_string() },
        state: department.state.into(),
        leader,
        followers,
        schedule: ScheduleView {
            last_slot: department.schedule.last_slot.map(|slot| slot.to_string()),
            missed_slots: department.schedule.missed_slots,
        },
        head: head.map(head_view),
        targets: app.targets.statuses().into_iter().map(Into::into).collect(),
        rev: department.rev.to_string(),
        created_at: department.created_at.to_string(),
        updated_at: department.updated_at.to_string(),
    })
}

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
    params(DepartmentQuery),
    responses((status = 200, description = "One page; `Link` names the next.", body = DepartmentPage), Problems))]
pub(super) async fn list_departments(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    Query(query): Query<DepartmentQuery>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::DepartmentsRead)?;
    let print = cursor::fingerprint("departments", &caller.department);
    let page: PageRequest<String> =
        PageRequest::read(&app.auth, uri, query.limit.as_deref(), query.cursor.as_deref(), print)?;
    let after: Option<DepartmentName> = super::extract::parameter("cursor", page.after.as_deref())?;
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

/// Creates a department, or changes its policy.
///
/// `{}` creates with the default policy and changes nothing in one that is there. `If-None-Match: *` only creates.
#[utoipa::path(put, path = "/departments/{department}", operation_id = "putDepartment", tag = "departments",
    params(("department" = String, Path, description = "`[a-z0-9][a-z0-9-]{0,62}`."),
        ("If-Match" = Option<String>, Header, description = "Change only the version with this `ETag`."),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only create.")),
    request_body = DepartmentRequest,
    responses((status = 200, description = "Changed.", body = DepartmentView),
        (status = 201, description = "Created.", body = DepartmentView), Problems))]
pub(super) async fn put_department(
    State(app): State<App>,
    caller: Caller,
    PathText(name): PathText,
    guards: (IfMatch, IfNoneMatch),
    Json(body): Json<DepartmentRequest>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::DepartmentsWrite)?;
    let name: DepartmentName = name.parse().map_err(|invalid| Problem::parameter_invalid("department", invalid))?;
    require(&caller, Scope::DepartmentsWrite, &name, "department")?;
    let asked = read_policy(body)?;
    let (if_match, if_none_match) = guards;
    for _ in 0..ATTEMPTS {
        let present = app.store.departments.get(&name).await?;
        let active = present.as_ref().filter(|department| department.state == DepartmentState::Active);
        let written = if let Some(present) = active {
            let tag = present.rev.to_string();
            if_match.check(&tag)?;
            if if_none_match.knows(&tag) {
                return Err(Problem::stale());
            }
            let policy = asked.clone().unwrap_or_else(|| present.policy.clone());
            if policy == present.policy {
                return tagged(&app, StatusCode::OK, present).await;
            }
            let changed = Department { policy, rev: Rev::random(), updated_at: app.clock.now(), ..present.clone() };
            app.store.departments.replace_policy(&changed, present.rev).await.map(|()| (StatusCode::OK, changed))
        } else {
            if if_match.0.is_some() {
                return Err(Problem::stale());
            }
            let made = new_department(&app, &name, asked.clone())?;
            app.store.departments.insert(&made).await.map(|()| (StatusCode::CREATED, made))
        };
        match written {
            Ok((status, department)) => {
                let mut response = tagged(&app, status, &department).await?;
                if status == StatusCode::CREATED
                    && let Ok(location) = HeaderValue::from_str(&format!("/departments/{name}"))
                {
                    response.headers_mut().insert(header::LOCATION, location);
                }
                return Ok(response);
            }
            Err(StoreError::Stale) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(contended())
}

fn read_policy(body: DepartmentRequest) -> Result<Option<Policy>, Problem> {
    let Some(text) = body.policy.and_then(|policy| policy.backup_every) else { return Ok(None) };
    let every = humantime::parse_duration(&text).map_err(|_| {
        Invalid::new("invalid_duration", "This is a duration with its unit, for example \"10s\", \"1h\" or \"7d\".")
    });
    let policy = every.and_then(Policy::checked);
    policy.map(Some).map_err(|invalid| Problem::field_invalid("/policy/backup_every", invalid))
}

fn new_department(app: &App, name: &DepartmentName, policy: Option<Policy>) -> Result<Department, Problem> {
    let policy = match policy {
        Some(policy) => policy,
        None => Policy::checked(app.config.backup.backup_every)
            .map_err(|invalid| Problem::new(Kind::Internal, "The default policy is not valid.").source(invalid))?,
    };
    let now = app.clock.now();
    Ok(Department {
        name: name.clone(),
        policy,
        state: DepartmentState::Active,
        rev: Rev::random(),
        created_at: now,
        updated_at: now,
        schedule: Schedule { last_slot: None, missed_slots: 0 },
    })
}

/// Deletes a department without users.
///
/// Its backups stay, and its history goes on where it ended when it is made again.
#[utoipa::path(delete, path = "/departments/{department}", operation_id = "deleteDepartment", tag = "departments",
    params(("department" = String, Path, description = "Name of the department."),
        ("If-Match" = Option<String>, Header, description = "Delete only the version with this `ETag`.")),
    responses((status = 204, description = "Deleted."), Problems))]
pub(super) async fn delete_department(
    State(app): State<App>,
    axum::Extension(known): axum::Extension<Known>,
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
    app.store.departments.set_deleted(&name, department.rev, true, deleted, app.clock.now()).await?;
    known.forget().await;
    // A user may have come in between the look and the deletion: then the department stays.
    if app.store.users.any_in(&name).await? {
        app.store.departments.set_deleted(&name, deleted, false, Rev::random(), app.clock.now()).await?;
        return Err(not_empty());
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the replicas that follow in a department.
///
/// Every live replica but the leader follows.
#[utoipa::path(get, path = "/departments/{department}/followers", operation_id = "listFollowers", tag = "departments",
    params(("department" = String, Path, description = "Name of the department.")),
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
