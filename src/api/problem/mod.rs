//! Every error that a client sees: problem+json (RFC 9457), from one table of kinds.
//!
//! Rule: a 5xx is logged here, once, with the whole chain of its sources; `detail` never holds a secret or a value.

mod kind;
mod view;

use std::error::Error;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::middleware::{RequestName, current_request};
use crate::domain::text::Invalid;
use crate::store::StoreError;

pub use kind::Kind;
pub use view::{FieldProblem, NearestView, ProblemView, Problems};

/// Media type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error on its way to the client.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    code: &'static str,
    detail: String,
    errors: Vec<FieldProblem>,
    nearest: Option<Box<NearestView>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Problem {
    /// A problem of a kind, with its default code.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            code: kind.row().1,
            detail: detail.into(),
            errors: Vec::new(),
            nearest: None,
            headers: Vec::new(),
            source: None,
        }
    }

    /// The same with a code of its own.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    /// The same with a response header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same with the error that led to it, for the log.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same with one more field.
    #[must_use]
    pub fn field(mut self, field: FieldProblem) -> Self {
        self.errors.push(field);
        self
    }

    /// The same with the nearest moments that can be read.
    #[must_use]
    pub fn nearest(mut self, nearest: NearestView) -> Self {
        self.nearest = Some(Box::new(nearest));
        self
    }

    /// There is no such thing, or the caller may not know of it.
    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("There is no such {what}."))
    }

    /// One field of the body breaks a rule: 422.
    pub fn field_invalid(pointer: impl Into<String>, invalid: Invalid) -> Self {
        Self::fields_invalid(vec![FieldProblem::body(pointer, invalid)])
    }

    /// Fields break rules: 422 with all of them.
    pub fn fields_invalid(errors: Vec<FieldProblem>) -> Self {
        let detail = errors.first().map_or_else(String::new, |first| first.message.clone());
        let mut problem = Self::new(Kind::Unprocessable, detail);
        problem.errors = errors;
        problem
    }

    /// A query parameter breaks a rule: 422.
    pub fn parameter_invalid(name: &str, invalid: Invalid) -> Self {
        Self::fields_invalid(vec![FieldProblem {
            pointer: None,
            parameter: Some(name.to_owned()),
            code: invalid.code.to_owned(),
            message: invalid.message,
        }])
    }

    /// Something that the service needs does not answer: 503, try again in a second.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, detail).header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// The client asks for too much: 429, and when to try again.
    pub fn too_many(detail: impl Into<String>, wait: Duration) -> Self {
        Self::new(Kind::TooMany, detail).retry_after(wait)
    }

    /// The same with when to try again, in whole seconds from 1 on.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil().max(1.0);
        let value = HeaderValue::from_str(&format!("{seconds:.0}")).unwrap_or(HeaderValue::from_static("1"));
        self.header(header::RETRY_AFTER, value)
    }

    /// The condition in `If-Match` or `If-None-Match` does not hold: 412.
    pub fn stale() -> Self {
        Self::new(Kind::Stale, "It changed since you read it. Read it again, then decide.")
    }

    /// The status that it will be answered with.
    pub const fn status(&self) -> StatusCode {
        self.kind.row().0
    }

    /// The stable code.
    pub const fn code_str(&self) -> &'static str {
        self.code
    }

    /// The sentence for the client.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The fields that are not valid.
    pub fn errors(&self) -> &[FieldProblem] {
        &self.errors
    }

    /// The body, for the request that is answered.
    pub(super) fn to_json(&self, request: Option<RequestName>) -> Vec<u8> {
        let (status, _, title) = self.kind.row();
        let (id, path) = request.map(|request| (request.id, request.path)).unzip();
        let view = ProblemView {
            kind: format!("urn:rollkeeper:problem:{}", self.code),
            title,
            status: status.as_u16(),
            detail: self.detail.clone(),
            // `CONNECT` and what could not be read have no path.
            instance: path.filter(|path| !path.is_empty()),
            code: self.code,
            request_id: id,
            errors: self.errors.clone(),
            nearest: self.nearest.clone(),
        };
        serde_json::to_vec(&view).unwrap_or_default()
    }

    /// What led to it, for the log only.
    pub(super) fn cause(&self) -> String {
        let mut chain = Vec::new();
        let mut next: Option<&(dyn Error + 'static)> = self.source.as_deref().map(|source| source as _);
        while let Some(error) = next {
            chain.push(error.to_string());
            next = error.source();
        }
        chain.join(": ")
    }

    fn log(&self) {
        let cause = self.cause();
        if self.kind == Kind::Internal {
            tracing::error!(problem.code = self.code, cause, "{}", self.detail);
        } else {
            tracing::warn!(problem.code = self.code, cause, "{}", self.detail);
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                Self::unavailable("MongoDB does not answer. Nothing was changed; try again.").source(error)
            }
            StoreError::OutcomeUnknown(_) => Self::unavailable(
                "MongoDB did not say whether the write was made. Read the record before you repeat the request.",
            )
            .code("outcome_unknown")
            .source(error),
            StoreError::Taken(field) => {
                let code = match field {
                    crate::store::error::UniqueField::Id => "id_taken",
                    crate::store::error::UniqueField::Name => "name_taken",
                };
                let message = format!("The {} is taken.", field.name());
                Self::new(Kind::Conflict, message.clone())
                    .code(code)
                    .field(FieldProblem::body(format!("/{}", field.name()), Invalid::new(code, message)))
            }
            StoreError::Stale => Self::stale(),
            // A handler is no leader and has no epoch, so a fence that reaches one is a defect.
            StoreError::Fenced(_)
            | StoreError::Condemned
            | StoreError::Corrupt { .. }
            | StoreError::Unsupported(_)
            | StoreError::Migration(_)
            | StoreError::Other(_) => {
                Self::new(Kind::Internal, "The service failed. The log has the cause under the request id.")
                    .source(error)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if self.status().is_server_error() {
            self.log();
        }
        let body = self.to_json(current_request());
        let mut response = (self.status(), [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::error::UniqueField;

    async fn body_of(problem: Problem) -> serde_json::Value {
        let response = problem.into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        let bytes = axum::body::to_bytes(response.into_body(), 65_536).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn a_taken_name_is_a_conflict_that_points_at_the_name() {
        let body = body_of(StoreError::Taken(UniqueField::Name).into()).await;
        assert_eq!(body["status"], 409);
        assert_eq!(body["code"], "name_taken");
        assert_eq!(body["type"], "urn:rollkeeper:problem:name_taken");
        assert_eq!(body["errors"][0]["pointer"], "/name");
    }

    #[tokio::test]
    async fn a_defect_tells_the_client_nothing_of_its_cause() {
        let error = StoreError::Corrupt { collection: "users", reason: "sensitive".to_owned() };
        let body = body_of(error.into()).await;
        assert_eq!(body["status"], 500);
        assert!(!body.to_string().contains("sensitive"));
    }

    #[test]
    fn an_unavailable_answer_says_when_to_try_again() {
        let response = Problem::unavailable("down").into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn every_status_of_the_table_finds_its_own_kind_again() {
        for kind in [Kind::NotFound, Kind::MethodNotAllowed, Kind::TooLarge, Kind::Internal, Kind::Unavailable] {
            assert_eq!(Kind::of_status(kind.row().0), kind);
        }
    }
}
