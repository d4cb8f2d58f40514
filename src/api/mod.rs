//! The HTTP API: the only module that names `axum` or `utoipa`. This file is the route table.
