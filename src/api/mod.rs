//! The HTTP API: the only module that names `axum` or `utoipa`. This file is the route table.

pub mod audit;
pub mod auth;
pub mod backups;
mod closing;
pub mod cluster;
pub mod cursor;
pub mod departments;
mod docs;
mod document;
mod document_3_0;
pub mod events;
pub mod export;
pub mod extract;
pub mod health;
mod idempotency;
pub mod import;
pub mod jobs;
mod limits;
mod listener;
mod metering;
pub mod metrics;
pub mod middleware;
pub mod pages;
pub mod passwords;
pub mod past;
pub mod problem;
pub mod restores;
mod scopes;
mod server;
pub mod sync;
pub mod tokens;
pub mod users;
pub mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

/// What the document says of itself.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "rollkeeper",
        description = "Keeps user records, and backups of them that can be proved.",
        license(name = "Apache-2.0", url = "https://www.apache.org/licenses/LICENSE-2.0")
    ),
    servers((url = "/", description = "The replica that serves this document; each of them takes every request.")),
    components(schemas(problem::ProblemView, import::wire::ImportLine, import::wire::ImportResult)),
    security(("bearer" = [])),
    modifiers(&Bearer),
    tags(
        (name = "users", description = "User records."),
        (name = "departments", description = "Partitions of the users, each with its own leader."),
        (name = "backups", description = "Restore points."),
        (name = "restores", description = "Plans, and their application."),
        (name = "jobs", description = "The progress of backups and restores."),
        (name = "tokens", description = "Who may call."),
        (name = "audit", description = "Who did what."),
        (name = "cluster", description = "Replicas, leaders and targets."),
        (name = "health", description = "Probes."),
    )
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of the service; the bootstrap token has every scope. Each operation names the scopes that it needs."))
            .build();
        openapi.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// Every path of the API.
fn table() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(users::create_user, users::list_users))
        .routes(routes!(import::import_users))
        .routes(routes!(export::export_users))
        .routes(routes!(users::get_user, users::update_user, users::delete_user))
        .routes(routes!(users::history::list_versions))
        .routes(routes!(users::verify::verify_password))
        .routes(routes!(departments::list_departments))
        .routes(routes!(departments::get_department, departments::put::put_department, departments::delete_department))
        .routes(routes!(departments::list_followers))
        .routes(routes!(departments::keep::get_retention))
        .routes(routes!(departments::divergence::rebase_department))
        .routes(routes!(departments::step_down::step_down_leader))
        .routes(routes!(sync::sync_department))
        .routes(routes!(backups::start_backup, backups::list_backups))
        .routes(routes!(backups::get_backup, backups::keep::delete_backup))
        .routes(routes!(backups::keep::hold_backup))
        .routes(routes!(backups::keep::release_backup))
        .routes(routes!(backups::verify::verify_backup))
        .routes(routes!(backups::users::list_backup_users))
        .routes(routes!(backups::users::get_backup_user))
        .routes(routes!(backups::diff::diff_backup))
        .routes(routes!(restores::start::start_restore, restores::list_restores))
        .routes(routes!(restores::get_restore))
        .routes(routes!(restores::act::apply_restore))
        .routes(routes!(restores::act::cancel_restore))
        .routes(routes!(restores::undo::undo_restore))
        .routes(routes!(restores::changes::list_changes))
        .routes(routes!(restores::conflicts::list_conflicts))
        .routes(routes!(events::listen_to_jobs))
        .routes(routes!(tokens::issue::issue_token, tokens::list_tokens))
        .routes(routes!(tokens::get_token, tokens::revoke_token))
        .routes(routes!(audit::list_audit_records))
        .routes(routes!(cluster::get_cluster))
        .routes(routes!(health::get_liveness))
        .routes(routes!(health::get_readiness))
        .routes(routes!(metrics::get_metrics))
}

/// The service: every route, the document, and the edge around them.
pub fn router(app: App) -> axum::Router {
    let edge =
        Arc::new(middleware::Edge::new(&app.replica, app.config.http.request_timeout, app.config.limits.body_timeout));
    let attempts = users::verify::Attempts::new(&app.config.limits);
    let gate = Arc::new(limits::Gate::new(&app.config.limits));
    let (routes, _) = table().split_for_parts();
    routes
        .merge(docs::routes(openapi_json()))
        .layer(axum::middleware::from_fn_with_state(app.clone(), idempotency::keep))
        .layer(axum::Extension(departments::Known::default()))
        .layer(axum::Extension(backups::verify::Running::default()))
        .layer(axum::Extension(attempts))
        .layer(axum::Extension(events::Hub::default()))
        .layer(axum::Extension(export::Room::default()))
        .layer(axum::Extension(health::Readiness::default()))
        .layer(axum::middleware::from_fn_with_state(gate, limits::shed))
        .layer(axum::middleware::from_fn_with_state(edge, middleware::edge))
        .layer(axum::middleware::from_fn_with_state(app.clone(), metrics::meter))
        .layer(axum::middleware::from_fn_with_state(app.shutdown.token.clone(), closing::mark))
        .with_state(app)
}

/// The OpenAPI document of the routes above.
pub fn openapi() -> utoipa::openapi::OpenApi {
    document::finished(idempotency::documented(table().into_openapi()))
}

/// The OpenAPI document as it is committed: indented, with a newline at its end.
pub fn openapi_json() -> String {
    let mut json = openapi().to_pretty_json().unwrap_or_default();
    json.push('\n');
    json
}

/// The same in the words of OpenAPI 3.0, for generators that know no later version.
pub fn openapi_3_0_json() -> String {
    let document = serde_json::to_value(openapi()).unwrap_or_default();
    let mut json = serde_json::to_string_pretty(&document_3_0::derived(document)).unwrap_or_default();
    json.push('\n');
    json
}

/// Serves until shutdown and `http.drain_notice` after it, then lets open requests end.
///
/// # Errors
/// When the listener fails.
pub async fn serve(app: App, listener: tokio::net::TcpListener) -> std::io::Result<()> {
    let closing = CancellationToken::new();
    let notice = closing::after_notice(app.shutdown.token.clone(), app.config.http.drain_notice);
    let told = async {
        notice.await;
        closing.cancel();
    };
    let (replica, config) = (app.replica.clone(), Arc::clone(&app.config));
    tokio::join!(server::serve(listener, router(app), &replica, &config.limits, closing.clone()), told).0
}
