//! `POST /users/import`: a stream of records in, a stream of results out, in the same order.
//!
//! Rule: memory is one batch, however long the stream is; a bad line fails alone. What is sent again is found unchanged.

mod again;
pub(crate) mod lines;
mod run;
pub mod wire;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::auth::{require, require_scope};
use super::departments::Known;
use super::extract::{Query, parameter};
use super::problem::{Kind, Problem, Problems};
use crate::app::App;
use crate::domain::ids::DepartmentName;
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};
use run::{Import, OnTaken};
use wire::ImportQuery;

/// Where it is: a stream has other limits than other requests, and no answer that could be kept.
pub(super) const PATH: &str = "/users/import";
/// The media type of lines of JSON, in and out.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// Other names of lines of JSON, and of bytes that say nothing of themselves.
const ALSO_TAKEN: [&str; 4] =
    ["application/ndjson", "application/jsonl", "application/x-jsonlines", "application/octet-stream"];
/// Batches of results that may wait for a slow reader.
const RESULTS_AHEAD: usize = 4;

/// Imports users from a stream of lines.
///
/// NDJSON in and out: one result for each line, in order, while the rest is still on its way. Read the results while
/// you send: the service stops reading when nobody takes them. A line whose record is there already, with the same content, is
/// `unchanged` whatever `on_conflict` says, so what was broken off is sent again as a whole.
#[utoipa::path(post, path = "/users/import", operation_id = "importUsers", tag = "users", params(ImportQuery),
    request_body(content = String, content_type = "application/x-ndjson",
        description = "One `ImportLine` a line, each at most 64 KiB."),
    security(("bearer" = ["users:write"])),
    responses((status = 200, description = "One `ImportResult` a line.", body = String,
        content_type = "application/x-ndjson"), Problems))]
pub(super) async fn import_users(
    State(app): State<App>,
    Extension(known): Extension<Known>,
    caller: Caller,
    Query(query): Query<ImportQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::UsersWrite)?;
    check_media_type(&headers)?;
    let on_taken = match query.on_conflict.as_deref() {
        None | Some("fail") => OnTaken::Fail,
        Some("skip") => OnTaken::Skip,
        Some("replace") => OnTaken::Replace,
        Some(_) => {
            let invalid = Invalid::new("invalid_on_conflict", "on_conflict is fail, skip or replace.");
            return Err(Problem::parameter_invalid("on_conflict", invalid));
        }
    };
    let department = parameter("department", query.department.as_deref())?;
    let department: DepartmentName = department.unwrap_or_else(DepartmentName::default_department);
    require(&caller, Scope::UsersWrite, &department, "department")?;
    if !known.takes_users(&app, &department).await? {
        return Err(Problem::parameter_invalid(
            "department",
            Invalid::new("unknown_department", "There is no such department."),
        ));
    }
    let (results, told) = mpsc::channel(RESULTS_AHEAD);
    let tracker = app.shutdown.tracker.clone();
    let import = Import { app, known, caller, on_taken, department };
    tracker.spawn(async move { import.run(body, results).await });
    let stream = tokio_stream::wrappers::ReceiverStream::new(told);
    let body = Body::from_stream(stream.map(Ok::<Bytes, std::convert::Infallible>));
    Ok(([(header::CONTENT_TYPE, NDJSON)], body).into_response())
}

/// A body without a media type is taken for lines.
fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(sent) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = sent.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == NDJSON || ALSO_TAKEN.contains(&essence.as_str()) {
        return Ok(());
    }
    Err(Problem::new(Kind::UnsupportedMediaType, format!("Send the lines with `Content-Type: {NDJSON}`.")))
}
