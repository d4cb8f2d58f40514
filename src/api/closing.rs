//! How clients leave a replica that shuts down.
//!
//! A connection that is kept alive and closed by us may carry a request at that moment, which its client sees fail. So each
//! answer first tells the client to connect anew, where it finds another replica, and only then idle connections are closed.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tokio_util::sync::CancellationToken;

/// Makes each answer after the beginning of the shutdown the last of its connection.
pub(super) async fn mark(State(stop): State<CancellationToken>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if stop.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Waits for the shutdown, and then for clients to hear of it.
pub(super) async fn after_notice(stop: CancellationToken, notice: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(notice).await;
}
