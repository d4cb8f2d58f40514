//! `/livez` and `/readyz`.
//!
//! Rule: livez touches nothing. readyz is about `/users` only: a follower without `ZooKeeper` is ready.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::problem::{Problem, Problems};
use crate::app::App;

/// How long an answer of MongoDB stands.
const CACHED_FOR: Duration = Duration::from_secs(1);
/// How long MongoDB may take.
const PING_WITHIN: Duration = Duration::from_secs(1);

/// When MongoDB was last asked, and whether it answered. Probes that come together share one question.
#[derive(Debug, Clone, Default)]
pub(super) struct Readiness(Arc<Mutex<Option<(Instant, bool)>>>);

/// The service is well.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`; what is not well is a problem.
    #[schema(example = "ok")]
    pub status: &'static str,
}

/// Tells whether the process runs.
///
/// Touches neither MongoDB nor ZooKeeper.
#[utoipa::path(get, path = "/livez", operation_id = "getLiveness", tag = "health", security(()),
    responses((status = 200, description = "The process runs.", body = Health), Problems))]
pub(super) async fn get_liveness() -> axum::Json<Health> {
    axum::Json(Health { status: "ok" })
}

/// Tells whether the replica can serve `/users`.
///
/// 503 while MongoDB does not answer and while the replica shuts down.
#[utoipa::path(get, path = "/readyz", operation_id = "getReadiness", tag = "health", security(()),
    responses((status = 200, description = "The replica serves.", body = Health), Problems))]
pub(super) async fn get_readiness(
    State(app): State<App>,
    Extension(readiness): Extension<Readiness>,
) -> Result<axum::Json<Health>, Problem> {
    if app.shutdown.token.is_cancelled() {
        return Err(Problem::unavailable("The replica is shutting down.").code("shutting_down"));
    }
    let mut last = readiness.0.lock().await;
    let up = match *last {
        Some((asked, up)) if asked.elapsed() < CACHED_FOR => up,
        _ => {
            let up = matches!(tokio::time::timeout(PING_WITHIN, app.store.ping()).await, Ok(Ok(())));
            *last = Some((Instant::now(), up));
            up
        }
    };
    drop(last);
    if up {
        Ok(axum::Json(Health { status: "ok" }))
    } else {
        Err(Problem::unavailable("MongoDB does not answer.").code("mongodb_down"))
    }
}
