//! `/metrics`: on the service for callers with a token, on a listener of its own for Prometheus alone.
//!
//! Rule: metrics name departments and targets, so nobody reads them without a token unless the configuration says so.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::auth::require_scope;
use super::metering::Metered;
use super::middleware::{Edge, edge};
use super::problem::{Kind, Problem, Problems};
use super::server;
use crate::app::App;
use crate::domain::token::{Caller, Scope};
use crate::telemetry::metrics::Form;

/// Shows the metrics of this replica.
///
/// In the text form of Prometheus, or in `OpenMetrics` where `Accept` asks for it. A department is shown by the replica that
/// leads it. Needs the scope `cluster:read` and a token that is not limited to one department.
#[utoipa::path(get, path = "/metrics", operation_id = "getMetrics", tag = "health", security(("bearer" = ["cluster:read"])),
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain"), Problems))]
pub(super) async fn get_metrics(
    State(app): State<App>,
    caller: Result<Caller, Problem>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !app.config.telemetry.metrics_public {
        let caller = caller?;
        require_scope(&caller, Scope::ClusterRead)?;
        if caller.department.is_some() {
            let detail = "Metrics are of all departments, and the token is limited to one.";
            return Err(Problem::new(Kind::Forbidden, detail).code("limited_to_department"));
        }
    }
    Ok(shown(&app, &headers).await)
}

async fn get_open(State(app): State<App>, headers: HeaderMap) -> Response {
    shown(&app, &headers).await
}

async fn shown(app: &App, headers: &HeaderMap) -> Response {
    let form = Form::accepted(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    let kind = HeaderValue::from_static(form.media_type());
    ([(header::CONTENT_TYPE, kind)], app.scrape(form).await).into_response()
}

/// Counts a request, around everything else that happens to it.
pub(super) async fn meter(State(app): State<App>, request: Request, next: Next) -> Response {
    let metered = Metered::begin(&app.metrics, &request);
    let response = next.run(request).await;
    metered.end(response.status());
    response
}

/// Serves `/metrics` alone, without a token, until shutdown.
///
/// # Errors
/// When the listener fails.
pub async fn serve(app: App, listener: tokio::net::TcpListener) -> std::io::Result<()> {
    let (stop, replica, config) = (app.shutdown.token.clone(), app.replica.clone(), Arc::clone(&app.config));
    let around = Arc::new(Edge::new(&replica, config.http.request_timeout, config.limits.body_timeout));
    let router = Router::new().route("/metrics", get(get_open)).layer(from_fn_with_state(around, edge)).with_state(app);
    server::serve(listener, router, &replica, &config.limits, stop).await
}
