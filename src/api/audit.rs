//! `GET /audit`, and the records that handlers write.

use std::fmt::Display;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::{limit_to, require_scope};
use super::cursor;
use super::extract::{Query, parameter};
use super::jobs::{fresh_uuid, list_parameter};
use super::middleware::current_request;
use super::pages::PageRequest;
use super::problem::{Problem, Problems};
use super::wire::{AuditActionView, AuditOutcomeView};
use crate::app::App;
use crate::domain::audit::{AuditAction, AuditFilter, AuditRecord};
use crate::domain::ids::DepartmentName;
use crate::domain::token::{Caller, Scope};

/// One act of a caller.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditRecord)]
pub struct AuditRecordView {
    /// Its id.
    pub id: String,
    /// When it was done, by the clock of the replica.
    #[schema(format = DateTime)]
    pub at: String,
    /// Name of the caller.
    pub caller: String,
    /// The token of the caller; null for the bootstrap token.
    pub token_id: Option<String>,
    /// What was done.
    pub action: AuditActionView,
    /// The department that it concerns; null where it concerns all.
    pub department: Option<String>,
    /// Id or name of what it was done to.
    pub subject: String,
    /// Id of the request, as in `X-Request-Id` and in the log.
    pub request_id: Option<String>,
    /// The replica that answered the request.
    pub replica: String,
    /// How far it went. What was only `requested` is carried out by a leader; its job says how that ended.
    pub outcome: AuditOutcomeView,
}

impl From<AuditRecord> for AuditRecordView {
    fn from(record: AuditRecord) -> Self {
        Self {
            id: record.id.to_string(),
            at: record.at.to_string(),
            caller: record.caller,
            token_id: record.token_id.map(|id| id.to_string()),
            action: record.action.into(),
            department: record.department.map(|department| department.to_string()),
            subject: record.subject,
            request_id: record.request_id,
            replica: record.replica.to_string(),
            outcome: record.outcome.into(),
        }
    }
}

/// A page of audit records.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    /// The records, newest first.
    pub items: Vec<AuditRecordView>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// Filter and page of the audit records.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only this department.
    department: Option<String>,
    /// Only callers of this name.
    caller: Option<String>,
    /// Actions, separated by commas or repeated. Default: all.
    #[param(value_type = Option<Vec<AuditActionView>>)]
    action: Option<String>,
    /// From this moment on.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    /// Before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<String>,
    /// Items of the page, 1 to 1000. Default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists who did what.
///
/// Newest first: restores, deletions, holds, policies, re-bases, exports and tokens. A record is written in one transaction
/// with its effect, so neither is there without the other; only the deletion of a user and an export are written down before
/// as `begun`, and settled afterwards. Kept for `auth.audit_lifetime`. Callers that are bound to a department see the records of that one.
#[utoipa::path(get, path = "/audit", operation_id = "listAuditRecords", tag = "audit", params(AuditQuery),
    security(("bearer" = ["audit:read"])),
    responses((status = 200, description = "One page; `Link` names the next.", body = AuditPage), Problems))]
pub(super) async fn list_audit_records(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    Query(query): Query<AuditQuery>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::AuditRead)?;
    let actions: Vec<AuditActionView> = list_parameter("action", query.action.as_deref())?;
    let filter = AuditFilter {
        department: limit_to(&caller, parameter("department", query.department.as_deref())?)?,
        caller: query.caller,
        actions: actions.into_iter().map(Into::into).collect(),
        since: parameter("since", query.since.as_deref())?,
        until: parameter("until", query.until.as_deref())?,
    };
    let print = cursor::fingerprint("audit", &filter);
    let page = PageRequest::read(&app.auth, uri, query.limit.as_deref(), query.cursor.as_deref(), print)?;
    let before = page.before()?;
    let mut records = app.store.audit.list(&filter, before.as_ref(), page.read_limit()).await?;
    let next_cursor = page.cut(&app.auth, &mut records, |record| (record.at.as_millis(), record.id.to_string()));
    let items = records.into_iter().map(Into::into).collect();
    let view = AuditPage { items, next_cursor };
    Ok(page.respond(&view, view.next_cursor.as_deref()))
}

/// The record of what a caller does now.
pub(super) fn recorded(
    app: &App,
    caller: &Caller,
    action: AuditAction,
    department: Option<&DepartmentName>,
    subject: &impl Display,
) -> AuditRecord {
    let at = app.clock.now();
    AuditRecord {
        id: fresh_uuid(&app.clock).into(),
        at,
        caller: caller.name.clone(),
        token_id: caller.token_id.clone(),
        action,
        department: department.cloned(),
        subject: subject.to_string(),
        request_id: current_request().map(|request| request.id),
        replica: app.replica.clone(),
        outcome: action.outcome(),
        expires_at: at.later_by(app.config.auth.audit_lifetime),
    }
}
