//! `PUT /departments/{department}`: create, or change the policy.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::tagged;
use super::wire::{DepartmentRequest, DepartmentView};
use crate::api::auth::{require, require_scope};
use crate::api::extract::{IfMatch, IfNoneMatch, Json, PathText};
use crate::api::problem::{Kind, Problem, Problems};
use crate::api::users::contended;
use crate::app::App;
use crate::domain::department::{Department, DepartmentState, Policy, Schedule};
use crate::domain::ids::DepartmentName;
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};
use crate::domain::user::Rev;
use crate::store::StoreError;

/// How often a write without `If-Match` is tried against other writers.
const ATTEMPTS: usize = 5;

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
pub(in crate::api) async fn put_department(
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
