//! `rollkeeper serve`: runs a replica until SIGTERM or SIGINT.
//!
//! The end, in this order: `/readyz` answers 503 and every answer closes its connection; after `http.drain_notice` no new
//! connections; leaderships are handed over while open requests end; every task is waited for. Each step has a limit, so
//! that the whole stays below the grace period of a pod.

use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{EXIT_FAILURE, EXIT_USAGE, output};
use crate::app::{App, Built};
use crate::config::Config;

/// Longest time to hand over leaderships.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(10);
/// Longest time for tasks to end after that.
const TASKS_WITHIN: Duration = Duration::from_secs(5);

/// Runs the command; the exit code.
pub(super) async fn run(config: Config) -> u8 {
    let listen = config.http.listen;
    let listener = match TcpListener::bind(listen).await {
        Ok(listener) => listener,
        Err(error) => {
            output::problem(&format!("cannot listen on {listen} ({error}); set http.listen to another address"));
            return EXIT_FAILURE;
        }
    };
    let built = match App::build(config).await {
        Ok(built) => built,
        Err(error) => {
            output::problem(&format!("{error:#}"));
            return EXIT_USAGE;
        }
    };
    let metrics = match metrics_listener(&built.app).await {
        Ok(metrics) => metrics,
        Err(sentence) => {
            output::problem(&sentence);
            return EXIT_FAILURE;
        }
    };
    match serve(built, listener, metrics).await {
        Ok(code) => code,
        Err(error) => {
            output::problem(&format!("{error:#}"));
            EXIT_FAILURE
        }
    }
}

/// The listener for metrics alone, where there is one.
async fn metrics_listener(app: &App) -> Result<Option<TcpListener>, String> {
    let Some(listen) = app.config.telemetry.metrics_listen else { return Ok(None) };
    let bound = TcpListener::bind(listen).await;
    bound.map(Some).map_err(|error| {
        format!("cannot listen on {listen} ({error}); set telemetry.metrics_listen to another address")
    })
}

async fn serve(built: Built, listener: TcpListener, metrics: Option<TcpListener>) -> anyhow::Result<u8> {
    let Built { app, claims, departments } = built;
    app.shutdown.on_signals().context("listen for signals")?;
    let address = listener.local_addr().context("read the address of the listener")?;
    tracing::info!(replica = %app.replica, %address, version = env!("CARGO_PKG_VERSION"), "serving");

    app.prepare(departments);
    app.shutdown.spawn("tasks", crate::tasks::run(app.task_parts(), claims, app.shutdown.token.clone()));
    let http = app.shutdown.spawn("http", http(app.clone(), listener));
    app.shutdown.spawn("changes", app.clone().count_changes());
    if let Some(listener) = metrics {
        app.shutdown.spawn("metrics", metrics_alone(app.clone(), listener));
    }

    app.shutdown.token.cancelled().await;
    drain(&app, http).await;
    tracing::info!(code = app.shutdown.exit_code(), "ended");
    Ok(app.shutdown.exit_code())
}

/// Serves until the token is cancelled and the open requests have ended.
async fn http(app: App, listener: TcpListener) {
    let shutdown = app.shutdown.clone();
    if let Err(error) = crate::api::serve(app, listener).await {
        tracing::error!(error = %error, "the HTTP server failed");
        shutdown.fail(EXIT_FAILURE);
    }
}

/// Serves metrics alone until the token is cancelled.
async fn metrics_alone(app: App, listener: TcpListener) {
    let shutdown = app.shutdown.clone();
    if let Err(error) = crate::api::metrics::serve(app, listener).await {
        tracing::error!(error = %error, "the server of metrics failed");
        shutdown.fail(EXIT_FAILURE);
    }
}

/// The token is cancelled: nothing new is taken after the notice. Ends what is open.
async fn drain(app: &App, http: JoinHandle<()>) {
    let stop_http = http.abort_handle();
    let requests = async {
        if tokio::time::timeout(app.config.http.drain_timeout, http).await.is_err() {
            tracing::warn!("requests were still open after http.drain_timeout; they are cut off");
            stop_http.abort();
        }
    };
    // The limit around it holds even if the drain itself hangs.
    let hand_over = async {
        let limit = HAND_OVER_WITHIN + Duration::from_secs(1);
        if tokio::time::timeout(limit, app.cluster.drain(HAND_OVER_WITHIN)).await.is_err() {
            tracing::warn!("leaderships were not handed over in time; they end with the session");
        }
    };
    tokio::join!(requests, hand_over);
    app.shutdown.tracker.close();
    if tokio::time::timeout(TASKS_WITHIN, app.shutdown.tracker.wait()).await.is_err() {
        tracing::warn!(tasks = app.shutdown.tracker.len(), "tasks were still running; they are cut off");
    }
}
