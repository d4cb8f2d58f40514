//! Counts one request, also when its client leaves before the answer.
//!
//! Rule: a route is its template, and what has none is `unmatched`; so nobody can make series by asking for paths.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};

use crate::telemetry::Metrics;

/// A request that is being answered.
pub(super) struct Metered {
    metrics: Arc<Metrics>,
    method: &'static str,
    route: Cow<'static, str>,
    began: Instant,
    status: &'static str,
}

impl Metered {
    pub(super) fn begin(metrics: &Arc<Metrics>, request: &Request) -> Self {
        metrics.http.in_flight.move_by([], 1.0);
        let matched = request.extensions().get::<MatchedPath>();
        Self {
            metrics: Arc::clone(metrics),
            method: method(request.method()),
            route: matched.map_or("unmatched".into(), |path| path.as_str().to_owned().into()),
            began: Instant::now(),
            status: "gone",
        }
    }

    pub(super) fn end(mut self, status: StatusCode) {
        self.status = match status.as_u16() {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        let http = &self.metrics.http;
        let route = std::mem::take(&mut self.route);
        http.in_flight.move_by([], -1.0);
        http.duration.observe([self.method.into(), route.clone()], self.began.elapsed());
        http.requests.inc([self.method.into(), route, self.status.into()]);
    }
}

/// A client may invent methods.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{Form, StoreMetrics};

    fn request() -> Request {
        Request::builder().method("BREW").uri("/nowhere/at/all").body(axum::body::Body::empty()).unwrap()
    }

    #[test]
    fn a_request_counts_also_when_its_client_leaves() {
        let metrics = Arc::new(Metrics::new("r1", &StoreMetrics::unregistered()));
        let waiting = Metered::begin(&metrics, &request());
        assert!(metrics.export(Form::Classic).contains("\nrollkeeper_http_requests_in_flight 1"));
        drop(waiting);
        Metered::begin(&metrics, &request()).end(StatusCode::NOT_FOUND);
        let text = metrics.export(Form::Classic);
        let counted = |status| {
            format!("rollkeeper_http_requests_total{{method=\"other\",route=\"unmatched\",status=\"{status}\"}} 1\n")
        };
        assert!(text.contains(&counted("gone")) && text.contains(&counted("4xx")), "{text}");
        assert!(text.contains("\nrollkeeper_http_requests_in_flight 0"), "{text}");
    }
}
