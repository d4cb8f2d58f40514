//! Serves connections, and cuts those that are slow on purpose or by accident.
//!
//! Rule: a connection costs a bounded time of doing nothing: for the head of a request and between two requests
//! (`limits.header_timeout`), for the next piece of a body (`limits.body_timeout`, see `extract::drain`), and until a piece of
//! an answer is taken (`limits.write_timeout`, see `listener`).

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listener::{Connection, Door, refusal};
use super::problem::Problem;
use crate::config::limits::LimitsConfig;
use crate::domain::ids::ReplicaId;

/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// How long a connection that finds no room has to ask, and to take the answer that says so.
const REFUSE_WITHIN: Duration = Duration::from_secs(1);
/// How many of these there may be at a time; the next ones are closed without a word.
const REFUSED_MAX: usize = 256;

/// Serves until it is told to stop, then lets open requests end.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    replica: &ReplicaId,
    limits: &LimitsConfig,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut door = Door::new(listener, replica, limits.write_timeout);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_header_size(HEAD_BYTES_MAX);
    let (room, refusals) = (super::limits::connections(limits.connections), Arc::new(Semaphore::new(REFUSED_MAX)));
    let room = Arc::new(Semaphore::new(room));
    let connections = TaskTracker::new();
    while let Some((connection, _)) = stop.run_until_cancelled(door.accept()).await {
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                let full = Problem::unavailable("There are too many connections.").code("too_many_connections");
                let answer = refusal(&full, replica);
                connections.spawn(async move {
                    let _ = tokio::time::timeout(REFUSE_WITHIN, refuse(connection, &answer)).await;
                    drop(place);
                });
            }
            continue;
        };
        let served = serve_one(http.clone(), connection, router.clone(), stop.clone());
        connections.spawn(async move {
            served.await;
            drop(place);
        });
    }
    drop(door);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// Answers a connection for which there is no room, in a way that its client hears of it: it is heard first, since clients do
/// not expect an answer to nothing, and what it still sends is taken, since closing on it would throw our answer away.
async fn refuse(mut connection: Connection, answer: &[u8]) -> io::Result<()> {
    let mut heard = [0; 4096];
    if connection.read(&mut heard).await? == 0 {
        return Ok(());
    }
    connection.write_all(answer).await?;
    connection.shutdown().await?;
    while connection.read(&mut heard).await? > 0 {}
    Ok(())
}

async fn serve_one(http: http1::Builder, connection: Connection, router: Router, stop: CancellationToken) {
    let mut served = pin!(http.serve_connection(TokioIo::new(connection), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection was cut");
    }
}
