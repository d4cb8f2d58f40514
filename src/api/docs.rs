//! `/openapi.json` and `/docs`, from the same route table that serves.

use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa_swagger_ui::{Config, SwaggerUi};

/// Routes of the document and of Swagger UI, whose files are in the binary.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(json: String) -> axum::Router<S> {
    let document: axum::Router<S> = axum::Router::new().route(
        "/openapi.json",
        get(move || async move { ([(header::CONTENT_TYPE, "application/json")], json).into_response() }),
    );
    let ui: axum::Router<S> = SwaggerUi::new("/docs").config(Config::from("/openapi.json")).into();
    document.merge(ui)
}
