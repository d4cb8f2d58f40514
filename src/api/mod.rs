//! The HTTP API: the only module that names `axum` or `utoipa`. This file is the route table.

use crate::app::App;

/// Serves until shutdown.
///
/// # Errors
/// When the listener fails.
pub async fn serve(app: App, listener: tokio::net::TcpListener) -> std::io::Result<()> {
    app.shutdown.token.cancelled().await;
    drop(listener);
    Ok(())
}

/// The OpenAPI document.
pub fn openapi_json() -> String {
    "{}".to_owned()
}
