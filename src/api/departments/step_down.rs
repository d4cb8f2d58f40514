//! `POST /departments/{department}/step-down`: the leadership of a department goes to another replica.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::wire::{DepartmentView, view};
use crate::api::extract::{Path, Query, parameter};
use crate::api::problem::{Kind, Problem, Problems};
use crate::app::App;
use crate::cluster::ClusterView;
use crate::domain::balance::lightest;
use crate::domain::ids::{DepartmentName, ReplicaId};
use crate::domain::step_down::{StepDown, StepDownReason};
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};

/// Who should lead next.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct StepDownQuery {
    /// The id of a live replica. Without it, the one that leads the fewest departments.
    #[param(example = "r2")]
    to: Option<String>,
}

/// Hands the leadership to another replica.
///
/// The leader does it within moments: what is under way goes on under the next leader, and nothing is lost. A wish that is
/// not followed within ten seconds is void. Asked again with the same `to`, it changes nothing. 409 when nobody leads, or
/// nobody else is there.
#[utoipa::path(post, path = "/departments/{department}/step-down", operation_id = "stepDownLeader", tag = "departments",
    params(("department" = String, Path, description = "Name of the department."), StepDownQuery),
    security(("bearer" = ["departments:write"])),
    responses((status = 202, description = "Asked for; `leader` of the department shows when it is done.",
        body = DepartmentView), Problems))]
pub(in crate::api) async fn step_down_leader(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<DepartmentName>,
    Query(query): Query<StepDownQuery>,
) -> Result<Response, Problem> {
    let department = super::load(&app, &caller, Scope::DepartmentsWrite, &name).await?;
    let to: Option<ReplicaId> = parameter("to", query.to.as_deref())?;
    if let Some(wish) = wish(&app, &name, to)? {
        app.store.step_downs.ask(&wish).await?;
        tracing::info!(department.id = %name, to = %wish.to, caller = caller.name, "a leader is asked to step down");
    }
    let mut response = (StatusCode::ACCEPTED, axum::Json(view(&app, &department).await?)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/departments/{name}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// The wish, as the cluster is now; none when the named replica leads already.
fn wish(app: &App, department: &DepartmentName, to: Option<ReplicaId>) -> Result<Option<StepDown>, Problem> {
    let cluster = app.cluster.view();
    let Some(leader) = cluster.leaders.get(department) else {
        let text = format!("The department {department} has no leader that could step down; one is being elected.");
        return Err(Problem::new(Kind::Conflict, text).code("no_leader"));
    };
    if to.as_ref() == Some(&leader.replica) {
        return Ok(None);
    }
    let others = others(&cluster, &leader.replica);
    if let Some(to) = to.as_ref().filter(|to| !others.contains(*to)) {
        let text =
            format!("No live replica has the id {to}; GET /cluster lists them, those that shut down do not count.");
        return Err(Problem::parameter_invalid("to", Invalid::new("unknown_replica", text)));
    }
    let leaders = cluster.leaders.iter().map(|(name, leader)| (name.clone(), leader.replica.clone())).collect();
    let Some(to) = to.or_else(|| lightest(&others, &leaders)) else {
        let text = format!("No other replica is there to lead the department {department}; start one first.");
        return Err(Problem::new(Kind::Conflict, text).code("no_other_replica"));
    };
    let requested_at = app.clock.now();
    let (department, epoch) = (department.clone(), leader.epoch);
    Ok(Some(StepDown { department, epoch, to, reason: StepDownReason::Asked, requested_at }))
}

/// The live replicas without the leader and those that shut down.
fn others(cluster: &ClusterView, leader: &ReplicaId) -> BTreeSet<ReplicaId> {
    let others = cluster.members.iter().filter(|member| !member.draining && member.replica != *leader);
    others.map(|member| member.replica.clone()).collect()
}
