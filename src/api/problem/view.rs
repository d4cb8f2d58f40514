//! What a client reads of an error (RFC 9457).

use serde::Serialize;
use utoipa::ToSchema;

use super::PROBLEM_JSON;
use crate::api::wire::PlaceView;
use crate::domain::text::Invalid;

/// One field of a request that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// JSON pointer into the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "/name")]
    pub pointer: Option<String>,
    /// Name of the query parameter or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "limit")]
    pub parameter: Option<String>,
    /// Stable machine-readable code.
    #[schema(example = "invalid_name")]
    pub code: String,
    /// A sentence that names the rule.
    pub message: String,
}

impl FieldProblem {
    /// A field of the body that breaks a rule.
    pub fn body(pointer: impl Into<String>, invalid: Invalid) -> Self {
        Self { pointer: Some(pointer.into()), parameter: None, code: invalid.code.to_owned(), message: invalid.message }
    }
}

/// The moments nearest to one that cannot be read, which can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Nearest)]
pub struct NearestView {
    /// The last one before it.
    pub before: Option<PlaceView>,
    /// The first one after it.
    pub after: Option<PlaceView>,
}

/// The body of every error (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemView {
    /// Stable URI of this kind of error.
    #[serde(rename = "type")]
    #[schema(example = "urn:rollkeeper:problem:not_found")]
    pub kind: String,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened this time, and what to do.
    pub detail: String,
    /// Path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub instance: Option<String>,
    /// Stable machine-readable code.
    #[schema(example = "not_found")]
    pub code: &'static str,
    /// Id of the request, as in `X-Request-Id` and in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub request_id: Option<String>,
    /// Every field that is not valid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// With `outside_recovery_window`: the nearest moments that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub nearest: Option<Box<NearestView>>,
}

/// The error ranges that every operation documents.
#[derive(Debug)]
pub struct Problems;

impl utoipa::IntoResponses for Problems {
    fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::response::Response>> {
        use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
        let response = |description: &str| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            RefOr::T(ResponseBuilder::new().description(description).content(PROBLEM_JSON, content).build())
        };
        std::collections::BTreeMap::from([
            ("4XX".to_owned(), response("The request was refused; `code` says why.")),
            ("5XX".to_owned(), response("The service failed or is not available; 503 comes with Retry-After.")),
        ])
    }
}
