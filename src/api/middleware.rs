//! What every request goes through: its id, `X-Served-By`, the trace span, panics and the time limit.
//!
//! Rule: whatever leaves here with an error status is problem+json, framework errors included.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tracing::Instrument;
use tracing::field::Empty;

use super::extract::Rest;
use super::import;
use super::problem::{Kind, PROBLEM_JSON, Problem};
use crate::domain::ids::ReplicaId;
use crate::telemetry::TraceContext;

/// Id of a request, given by the client or made here.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The replica that answered.
pub const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
/// The trace that a request belongs to, in the form of the W3C.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longest request id that is taken over from a client.
const REQUEST_ID_MAX: usize = 128;
/// How many times longer an import may pause than any other body.
const IMPORT_PAUSE: u32 = 15;

tokio::task_local! {
    static REQUEST: RequestName;
}

/// How problems and logs call the request that is being answered.
#[derive(Debug, Clone)]
pub struct RequestName {
    /// Its id.
    pub id: String,
    /// Its path, without the query.
    pub path: String,
}

/// The request that the present task answers, if it answers one.
pub fn current_request() -> Option<RequestName> {
    REQUEST.try_with(Clone::clone).ok()
}

/// What the middleware needs to know.
#[derive(Debug)]
pub struct Edge {
    served_by: HeaderValue,
    request_timeout: Duration,
    body_timeout: Duration,
}

impl Edge {
    /// For a replica, with the longest time that a request, and the next piece of its body, may take.
    pub fn new(replica: &ReplicaId, request_timeout: Duration, body_timeout: Duration) -> Self {
        // Labels are ASCII, so this cannot fail; a fallback is kinder than a panic at the start.
        let served_by = HeaderValue::from_str(replica.as_str()).unwrap_or(HeaderValue::from_static("unknown"));
        Self { served_by, request_timeout, body_timeout }
    }

    /// How long the next piece of a body may take: an import may pause while its records are being made.
    fn patience(&self, path: &str) -> Duration {
        if path == import::PATH { self.body_timeout * IMPORT_PAUSE } else { self.body_timeout }
    }
}

/// Names the request, runs it guarded, and marks the response.
pub async fn edge(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let name = RequestName { id: id.clone(), path: request.uri().path().to_owned() };
    let span = tracing::info_span!("request", request.id = %id, method = %request.method(), path = %name.path, department.id = Empty, status = Empty, trace.id = Empty, trace.parent_id = Empty);
    if let Some(trace) = trace_of(&request) {
        trace.adopt(&span);
        span.record("trace.id", trace.trace_id).record("trace.parent_id", trace.parent_id);
    }
    let (request, rest) = Rest::of(request, edge.patience(&name.path));
    let limit = edge.request_timeout + super::jobs::preferred_wait(request.headers()).unwrap_or_default();

    let guarded = async {
        let started = std::time::Instant::now();
        let run = AssertUnwindSafe(next.run(request)).catch_unwind();
        let response = match tokio::time::timeout(limit, run).await {
            Ok(Ok(response)) => as_problem(response),
            Ok(Err(panic)) => panicked(panic.as_ref()).into_response(),
            Err(_) => Problem::unavailable(
                "The request took too long. A write may have been made: read before you repeat it.",
            )
            .code("timeout")
            .into_response(),
        };
        if response.status().is_client_error() || response.status().is_server_error() {
            rest.drain().await;
        }
        tracing::debug!(status = response.status().as_u16(), elapsed_ms = started.elapsed().as_millis(), "answered");
        response
    };
    let mut response = REQUEST.scope(name, guarded).instrument(span.clone()).await;
    span.record("status", response.status().as_u16());

    response.headers_mut().insert(X_SERVED_BY, edge.served_by.clone());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}

/// The client's own id where it is short and printable, else a fresh one.
fn request_id(request: &Request) -> String {
    let printable =
        |text: &&str| !text.is_empty() && text.len() <= REQUEST_ID_MAX && text.bytes().all(|b| b.is_ascii_graphic());
    request
        .headers()
        .get(X_REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(printable)
        .map_or_else(fresh_request_id, str::to_owned)
}

/// The trace that the client says the request belongs to. Two headers say nothing.
fn trace_of(request: &Request) -> Option<TraceContext> {
    let mut said = request.headers().get_all(TRACEPARENT).iter();
    let only = said.next().filter(|_| said.next().is_none())?;
    TraceContext::parse(only.to_str().ok()?)
}

/// An id for a request that brought none.
pub(super) fn fresh_request_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Problem {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned());
    Problem::new(Kind::Internal, "The service failed. The log has the cause under the request id.")
        .code("panic")
        .source(text)
}

/// Gives an error of the framework the body that all errors have, and keeps its headers (`Allow`).
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_problem =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes() == PROBLEM_JSON.as_bytes());
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let kind = Kind::of_status(status);
    let detail = match kind {
        Kind::NotFound => "There is nothing under this path; /openapi.json lists all paths.",
        Kind::MethodNotAllowed => "The path does not have this method; Allow names those that it has.",
        _ => "The request was refused before it reached its handler.",
    };
    let mut problem = Problem::new(kind, detail).into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allow.clone());
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    async fn ask(method: &str, path: &str) -> Response {
        let edge_state = Arc::new(Edge::new(&"r1".parse().unwrap(), Duration::from_millis(50), Duration::from_secs(1)));
        let router: Router = Router::new()
            .route("/fine", get(|| async { "fine" }))
            .route("/panic", get(|| async { panic!("secret plan") as &str }))
            .route("/stuck", get(|| async { std::future::pending::<&str>().await }))
            .layer(axum::middleware::from_fn_with_state(edge_state, edge));
        let request = Request::builder().method(method).uri(path).header("x-request-id", "abc").body(Body::empty());
        router.oneshot(request.unwrap()).await.unwrap()
    }

    async fn check(method: &str, path: &str, status: u16, code: &str) -> Response {
        let response = ask(method, path).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[X_SERVED_BY], "r1");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 65_536).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body["code"], code);
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"], "abc");
        assert_eq!(body["instance"], path);
        assert!(!body.to_string().contains("secret"));
        Response::from_parts(parts, Body::empty())
    }

    #[tokio::test]
    async fn a_good_answer_echoes_the_request_id_and_names_the_replica() {
        let response = ask("GET", "/fine").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[X_REQUEST_ID], "abc");
        assert_eq!(response.headers()[X_SERVED_BY], "r1");
    }

    #[tokio::test]
    async fn a_path_that_is_not_there_is_a_problem() {
        check("GET", "/nowhere", 404, "not_found").await;
    }

    #[tokio::test]
    async fn a_wrong_method_is_a_problem_that_names_the_right_ones() {
        let response = check("DELETE", "/fine", 405, "method_not_allowed").await;
        assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_without_its_text() {
        check("GET", "/panic", 500, "panic").await;
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_a_problem() {
        let response = check("GET", "/stuck", 503, "timeout").await;
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
