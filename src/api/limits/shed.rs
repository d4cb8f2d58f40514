//! Refuses what is too much: of one token by its rate, and of all together by how many are answered at a time.
//!
//! Rule: a replica that has more to do than it can says so at once. What waits in a queue makes everybody slow, and is done
//! for clients that have gone away.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::Meter;
use crate::api::jobs::preferred_wait;
use crate::api::problem::Problem;
use crate::config::limits::LimitsConfig;

/// Asked by machines that would end a replica which does not answer, or be blind when it matters.
const EXEMPT: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// What a replica takes at a time.
#[derive(Debug)]
pub(in crate::api) struct Gate {
    requests: Meter,
    in_flight: Arc<Semaphore>,
    /// Those who wait for a job or a receipt, which costs nothing but time, take nobody's place.
    waiting: Arc<Semaphore>,
}

impl Gate {
    pub(in crate::api) fn new(limits: &LimitsConfig) -> Self {
        Self {
            requests: Meter::new(limits.requests),
            in_flight: Arc::new(Semaphore::new(limits.in_flight)),
            waiting: Arc::new(Semaphore::new(limits.waiting)),
        }
    }
}

/// Lets a request in, or says when to come again.
pub(in crate::api) async fn shed(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if EXEMPT.contains(&path) {
        return next.run(request).await;
    }
    // Whoever has no token learns that from the handler, which costs next to nothing.
    let token = request.headers().get(header::AUTHORIZATION).and_then(|token| token.to_str().ok());
    if let Some(Err(wait)) = token.map(|token| gate.requests.take(token)) {
        let detail = "The token is used more often than this replica allows (limits.requests).";
        return Problem::too_many(detail, wait).code("rate_limited").into_response();
    }
    let waits = path.ends_with("/sync") || path.ends_with("/verify") || preferred_wait(request.headers()).is_some();
    let room = if waits { &gate.waiting } else { &gate.in_flight };
    let Ok(place) = Arc::clone(room).try_acquire_owned() else {
        let detail = "This replica answers as many requests as it can at the moment. Try again, or ask another one.";
        return Problem::unavailable(detail).code("overloaded").into_response();
    };
    let response = next.run(request).await;
    drop(place);
    response
}
