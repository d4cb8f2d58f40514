//! What a department keeps: its retention policy on the wire, and `GET /departments/{department}/retention`, the plan.
//!
//! Rule: the plan that is shown is the one that the leader carries out, made by the same function.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::put::read_duration;
use super::wire::in_units;
use crate::api::auth::require;
use crate::api::cursor;
use crate::api::extract::{Path, Query, not_null, whole_not_null};
use crate::api::pages::{PageQuery, PageRequest};
use crate::api::problem::{FieldProblem, Problem, Problems};
use crate::app::App;
use crate::domain::ids::DepartmentName;
use crate::domain::retention::{Decision, Reason, Retention, plan, plan_of_deleted};
use crate::domain::text::Invalid;
use crate::domain::token::Scope;
use crate::store::kept::Points;

/// What shall be kept; absent fields keep the present value, or take the default.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionRequest {
    /// Every point of so long stays: all backups and the whole history. 1s to 3650d.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, example = "24h", pattern = "^[0-9]{1,6}[smhd]( ?[0-9]{1,6}[smhd])*$")]
    pub keep_within: Option<String>,
    /// So many of the newest backups stay.
    #[serde(default, deserialize_with = "whole_not_null")]
    #[schema(nullable = false, maximum = 100_000)]
    pub keep_last: Option<u32>,
    /// The newest backup of each of so many hours that have one.
    #[serde(default, deserialize_with = "whole_not_null")]
    #[schema(nullable = false, maximum = 100_000)]
    pub keep_hourly: Option<u32>,
    /// The same by days.
    #[serde(default, deserialize_with = "whole_not_null")]
    #[schema(nullable = false, maximum = 100_000)]
    pub keep_daily: Option<u32>,
    /// The same by weeks.
    #[serde(default, deserialize_with = "whole_not_null")]
    #[schema(nullable = false, maximum = 100_000)]
    pub keep_weekly: Option<u32>,
    /// The same by months.
    #[serde(default, deserialize_with = "whole_not_null")]
    #[schema(nullable = false, maximum = 100_000)]
    pub keep_monthly: Option<u32>,
    /// The same by years.
    #[serde(default, deserialize_with = "whole_not_null")]
    #[schema(nullable = false, maximum = 100_000)]
    pub keep_yearly: Option<u32>,
}

impl RetentionRequest {
    /// Notes every field that is not valid.
    pub(super) fn check(&self, errors: &mut Vec<FieldProblem>) {
        if let Err(invalid) = self.applied(&Retention::default()) {
            let field = if invalid.code == "invalid_keep_count" { "" } else { "/keep_within" };
            errors.push(FieldProblem::body(format!("/policy/retention{field}"), invalid));
        }
    }

    /// A retention with what was asked for over it. What was asked for has been checked.
    pub(super) fn over(&self, present: Retention) -> Retention {
        self.applied(&present).unwrap_or(present)
    }

    fn applied(&self, present: &Retention) -> Result<Retention, Invalid> {
        let keep_within = self.keep_within.as_deref().map(read_duration).transpose()?;
        Retention {
            keep_within: keep_within.unwrap_or(present.keep_within),
            keep_last: self.keep_last.unwrap_or(present.keep_last),
            keep_hourly: self.keep_hourly.unwrap_or(present.keep_hourly),
            keep_daily: self.keep_daily.unwrap_or(present.keep_daily),
            keep_weekly: self.keep_weekly.unwrap_or(present.keep_weekly),
            keep_monthly: self.keep_monthly.unwrap_or(present.keep_monthly),
            keep_yearly: self.keep_yearly.unwrap_or(present.keep_yearly),
        }
        .checked()
    }
}

/// What is kept of backups and history.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetentionView {
    /// Every point of so long stays: all backups and the whole history.
    #[schema(example = "1d")]
    pub keep_within: String,
    /// So many of the newest backups stay.
    pub keep_last: u32,
    /// The newest backup of each of so many hours that have one.
    pub keep_hourly: u32,
    /// The same by days.
    pub keep_daily: u32,
    /// The same by weeks.
    pub keep_weekly: u32,
    /// The same by months.
    pub keep_monthly: u32,
    /// The same by years.
    pub keep_yearly: u32,
}

impl From<&Retention> for RetentionView {
    fn from(keep: &Retention) -> Self {
        Self {
            keep_within: in_units(keep.keep_within),
            keep_last: keep.keep_last,
            keep_hourly: keep.keep_hourly,
            keep_daily: keep.keep_daily,
            keep_weekly: keep.keep_weekly,
            keep_monthly: keep.keep_monthly,
            keep_yearly: keep.keep_yearly,
        }
    }
}

/// What becomes of one backup.
#[derive(Debug, Serialize, ToSchema)]
pub struct DecisionView {
    /// The backup.
    pub backup_id: String,
    /// Its line of history.
    pub timeline: i64,
    /// Its place on it.
    pub sequence: i64,
    /// The department's time at that place.
    #[schema(format = DateTime)]
    pub taken_at: String,
    /// `keep` or `drop`.
    #[schema(example = "keep")]
    pub decision: &'static str,
    /// Every reason: newest, within, `begins_window`, last, hourly, daily, weekly, monthly, yearly, held, pinned (an open
    /// restore reads it), undo (the safety backup of a restore that can still be undone); for a drop requested or expired.
    #[schema(example = json!(["within", "hourly"]))]
    pub reasons: Vec<&'static str>,
    /// The restore that needs it.
    pub pinned_by: Option<String>,
    /// Until when that restore can be undone, `restore.undo_lifetime` and `keep_within` after its end; null while it is open.
    #[schema(format = DateTime)]
    pub pinned_until: Option<String>,
}

impl From<Decision> for DecisionView {
    fn from(decision: Decision) -> Self {
        let point = decision.point;
        Self {
            backup_id: point.id.to_string(),
            timeline: point.timeline.0,
            sequence: point.sequence.0,
            taken_at: point.taken_at.to_string(),
            decision: if decision.keep { "keep" } else { "drop" },
            reasons: decision.reasons.iter().map(word).collect(),
            pinned_until: point.pinned_by.as_ref().and_then(|pin| pin.until).map(|until| until.to_string()),
            pinned_by: point.pinned_by.map(|pin| pin.restore.to_string()),
        }
    }
}

fn word(reason: &Reason) -> &'static str {
    match reason {
        Reason::Newest => "newest",
        Reason::Within => "within",
        Reason::BeginsWindow => "begins_window",
        Reason::Last => "last",
        Reason::Hourly => "hourly",
        Reason::Daily => "daily",
        Reason::Weekly => "weekly",
        Reason::Monthly => "monthly",
        Reason::Yearly => "yearly",
        Reason::Held => "held",
        Reason::Pinned(_) => "pinned",
        Reason::Undo(_) => "undo",
        Reason::Requested => "requested",
        Reason::Expired => "expired",
    }
}

/// A page of the plan, newest backup first.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetentionPlanView {
    /// The policy that it is made with.
    pub policy: RetentionView,
    /// The present time of the department, which the plan counts from.
    #[schema(format = DateTime)]
    pub now: String,
    /// Null unless the department was deleted. Until then everything of it stays; from then on nothing stays for being the
    /// newest or one of the last, counts cover so many hours, days, … up to now, and when nothing stays all of it goes.
    #[schema(format = DateTime)]
    pub ends_from: Option<String>,
    /// Complete backups that stay.
    pub kept: usize,
    /// Complete backups that are dropped.
    pub dropped: usize,
    /// What becomes of each.
    pub items: Vec<DecisionView>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// Shows what retention keeps and drops.
///
/// A dry run: the leader carries out the same plan after each backup. Each backup comes with every reason. A deleted
/// department shows its plan as long as anything of it is there.
#[utoipa::path(get, path = "/departments/{department}/retention", operation_id = "getRetention", tag = "departments",
    params(("department" = String, Path, description = "Name of the department."), PageQuery),
    security(("bearer" = ["departments:read"])),
    responses((status = 200, description = "The plan; `Link` names the next page.", body = RetentionPlanView), Problems))]
pub(in crate::api) async fn get_retention(
    State(app): State<App>,
    caller: crate::domain::token::Caller,
    Path(name): Path<DepartmentName>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    require(&caller, Scope::DepartmentsRead, &name, "department")?;
    let department = app.store.departments.get(&name).await?.ok_or_else(|| Problem::not_found("department"))?;
    let print = cursor::fingerprint("retention", &name);
    let page: PageRequest<(i64, i64, String)> =
        PageRequest::read(&app.auth, uri, query.limit.as_deref(), query.cursor.as_deref(), print)?;
    let keep = &department.policy.retention;
    let undo = keep.undo_lifetime(app.config.restore.undo_lifetime);
    let Points { points, now, .. } = app.store.kept.points(&name, undo, app.clock.now()).await?;
    let ends_from = department.ends_from(app.config.backup.deleted_lifetime);
    let ends = ends_from.is_some_and(|from| from <= now);
    let plan = if ends { plan_of_deleted(keep, points, now) } else { plan(keep, points, now) };
    let dropped = plan.dropped().count();
    let kept = plan.decisions.len() - dropped;
    let key = |decision: &Decision| {
        let at = &decision.point;
        (at.timeline.0, at.sequence.0, at.id.to_string())
    };
    let mut decisions = plan.decisions;
    decisions.sort_by_key(|decision| std::cmp::Reverse(key(decision)));
    if let Some(after) = &page.after {
        decisions.retain(|decision| key(decision) < *after);
    }
    decisions.truncate(page.read_limit());
    let next_cursor = page.cut(&app.auth, &mut decisions, key);
    let items = decisions.into_iter().map(Into::into).collect();
    let view = RetentionPlanView {
        policy: keep.into(),
        now: now.to_string(),
        ends_from: ends_from.map(|from| from.to_string()),
        kept,
        dropped,
        items,
        next_cursor,
    };
    Ok(page.respond(&view, view.next_cursor.as_deref()))
}
