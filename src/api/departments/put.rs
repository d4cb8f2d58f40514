//! `PUT /departments/{department}`: create, or change the policy.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::keep::RetentionRequest;
use super::tagged;
use super::wire::{DepartmentRequest, DepartmentView};
use crate::api::audit::recorded;
use crate::api::auth::{require, require_scope};
use crate::api::extract::{IfMatch, IfNoneMatch, Json, PathText};
use crate::api::problem::{FieldProblem, Problem, Problems};
use crate::api::users::contended;
use crate::app::App;
use crate::domain::audit::AuditAction;
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
    security(("bearer" = ["departments:write"])),
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
            let policy = asked.over(present.policy.clone());
            if policy == present.policy {
                return tagged(&app, StatusCode::OK, present).await;
            }
            let record = recorded(&app, &caller, AuditAction::ChangePolicy, Some(&name), &name);
            let changed = Department { policy, rev: Rev::random(), updated_at: record.at, ..present.clone() };
            let replaced = app.store.departments.replace_policy(&changed, present.rev, &record).await;
            replaced.map(|()| (StatusCode::OK, changed))
        } else {
            if if_match.0.is_some() {
                return Err(Problem::stale());
            }
            let made = new_department(&app, &name, asked.over(app.config.backup.policy()));
            let record = recorded(&app, &caller, AuditAction::CreateDepartment, Some(&name), &name);
            app.store.departments.insert(&made, Some(&record)).await.map(|()| (StatusCode::CREATED, made))
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

/// The parts of a policy that were asked for, each valid.
struct Asked {
    backup_every: Option<Duration>,
    retention: Option<RetentionRequest>,
}

impl Asked {
    /// A policy with what was asked for over it.
    fn over(&self, policy: Policy) -> Policy {
        let retention = match &self.retention {
            Some(asked) => asked.over(policy.retention),
            None => policy.retention,
        };
        Policy { backup_every: self.backup_every.unwrap_or(policy.backup_every), retention }
    }
}

fn read_policy(body: DepartmentRequest) -> Result<Asked, Problem> {
    let Some(policy) = body.policy else { return Ok(Asked { backup_every: None, retention: None }) };
    let mut errors = Vec::new();
    let backup_every = policy.backup_every.and_then(|text| {
        let every = read_duration(&text).and_then(|every| Policy::checked(every).map(|policy| policy.backup_every));
        every.map_err(|invalid| errors.push(FieldProblem::body("/policy/backup_every", invalid))).ok()
    });
    let retention = policy.retention;
    if let Some(asked) = &retention {
        asked.check(&mut errors);
    }
    if errors.is_empty() { Ok(Asked { backup_every, retention }) } else { Err(Problem::fields_invalid(errors)) }
}

/// Reads a duration with its unit.
pub(in crate::api) fn read_duration(text: &str) -> Result<Duration, Invalid> {
    humantime::parse_duration(text).map_err(|_| {
        Invalid::new("invalid_duration", "This is a duration with its unit, for example \"10s\", \"1h\" or \"7d\".")
    })
}

fn new_department(app: &App, name: &DepartmentName, policy: Policy) -> Department {
    let now = app.clock.now();
    Department {
        name: name.clone(),
        policy,
        state: DepartmentState::Active,
        rev: Rev::random(),
        created_at: now,
        updated_at: now,
        schedule: Schedule { last_slot: None, missed_slots: 0 },
    }
}
