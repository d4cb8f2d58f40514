//! A diverged department on the wire, and `POST /departments/{department}/rebase`, which ends that.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::wire::{DepartmentView, view};
use crate::api::audit::recorded;
use crate::api::auth::require;
use crate::api::extract::{Json, Path};
use crate::api::idempotency::Effect;
use crate::api::problem::{Kind, Problem, Problems};
use crate::app::App;
use crate::domain::audit::AuditAction;
use crate::domain::divergence::{Divergence, RebaseRequest};
use crate::domain::history::Head;
use crate::domain::ids::DepartmentName;
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};
use crate::store::StoreError;

/// Why nothing is written to the targets of a department, and what can be done about it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DivergenceView {
    /// `mongodb_rolled_back`: the targets hold more of the history than MongoDB. `another_writer`: another database
    /// writes to them.
    #[schema(example = "mongodb_rolled_back")]
    pub cause: String,
    /// The same in a sentence.
    pub message: String,
    /// When it was found.
    #[schema(format = DateTime)]
    pub found_at: String,
    /// What shows it.
    pub evidence: EvidenceView,
    /// What an operator can do.
    pub remedy: String,
    /// When somebody asked to go on with the live records; null until then.
    #[schema(format = DateTime)]
    pub rebase_requested_at: Option<String>,
}

/// An object on a target that the history of the department cannot explain.
#[derive(Debug, Serialize, ToSchema)]
pub struct EvidenceView {
    /// The target.
    pub target: String,
    /// The path of the object.
    pub object: String,
    /// The line of history that it belongs to.
    pub timeline: i64,
    /// The history on the target goes at least so far.
    pub sequence: i64,
    /// The epoch of the leader that wrote it.
    pub epoch: i64,
}

/// A wish to go on with the live records.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"confirm": "eng"}))]
pub struct RebaseBody {
    /// The name of the department once more.
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    pub(super) confirm: String,
}

/// The divergence of a head, if it has one.
pub(in crate::api) fn divergence_view(head: &Head) -> Option<DivergenceView> {
    let divergence = head.diverged.as_ref()?;
    let evidence = &divergence.evidence;
    Some(DivergenceView {
        cause: divergence.cause.code().to_owned(),
        message: divergence.cause.meaning().to_owned(),
        found_at: divergence.found_at.to_string(),
        evidence: EvidenceView {
            target: evidence.target.to_string(),
            object: evidence.object.clone(),
            timeline: evidence.timeline.0,
            sequence: evidence.sequence.0,
            epoch: evidence.epoch.0,
        },
        remedy: Divergence::remedy(&head.department),
        rebase_requested_at: divergence.rebase.as_ref().map(|request| request.requested_at.to_string()),
    })
}

/// Goes on with the live records of a diverged department.
///
/// On a new timeline above everything that the targets hold; the gap is recorded with the cause `rebased`, and a backup is
/// taken at once. What the other history has stays on the targets. The leader does it; `diverged` of the department is null
/// when it is done.
#[utoipa::path(post, path = "/departments/{department}/rebase", operation_id = "rebaseDepartment", tag = "departments",
    params(("department" = String, Path, description = "Name of the department.")),
    request_body = RebaseBody,
    security(("bearer" = ["departments:write"])),
    responses((status = 202, description = "Asked for.", body = DepartmentView), Problems))]
pub(in crate::api) async fn rebase_department(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<DepartmentName>,
    effect: Effect,
    Json(body): Json<RebaseBody>,
) -> Result<Response, Problem> {
    require(&caller, Scope::DepartmentsWrite, &name, "department")?;
    if body.confirm != name.as_str() {
        let message = format!("This is the name of the department, {name}, to show that it is meant.");
        return Err(Problem::field_invalid("/confirm", Invalid::new("not_confirmed", message)));
    }
    let department = app.store.departments.get(&name).await?.ok_or_else(|| Problem::not_found("department"))?;
    let record = recorded(&app, &caller, AuditAction::RebaseDepartment, Some(&name), &name);
    let request = RebaseRequest { requested_by: caller.name.clone(), requested_at: record.at };
    match app.store.divergences.request(&name, &request, &record).await {
        Ok(()) => {}
        // Another execution of the same request has asked for it, and it is done.
        Err(StoreError::Stale) if effect.is_repeated() => {}
        Err(StoreError::Stale) => {
            let text = format!("The department {name} is not diverged, so there is nothing to decide.");
            return Err(Problem::new(Kind::Conflict, text).code("not_diverged"));
        }
        Err(error) => return Err(error.into()),
    }
    tracing::warn!(department.id = %name, caller = caller.name, "an operator re-bases a diverged department");
    let mut response = (StatusCode::ACCEPTED, axum::Json(view(&app, &department).await?)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/departments/{name}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
