//! The kinds of refusal, and the one table of their statuses, codes and titles.

use axum::http::StatusCode;

/// What kind of refusal it is: decides the status, the title and the code that stands when none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Cannot be parsed.
    Invalid,
    /// No or wrong credentials.
    Unauthenticated,
    /// The token lacks a scope.
    Forbidden,
    /// Not there, or not for this caller to know of.
    NotFound,
    /// The path has no such method.
    MethodNotAllowed,
    /// The present state refuses it.
    Conflict,
    /// A precondition no longer holds.
    Stale,
    /// The body is too slow in coming.
    TooSlow,
    /// The body is too large.
    TooLarge,
    /// The body's media type is not supported.
    UnsupportedMediaType,
    /// The address is too long.
    UriTooLong,
    /// The headers are too many or too long.
    HeadersTooLarge,
    /// Parsed, and not valid.
    Unprocessable,
    /// `If-Match` is needed.
    PreconditionRequired,
    /// The client asks for too much.
    TooMany,
    /// A defect of the service.
    Internal,
    /// Something that the service needs does not answer.
    Unavailable,
}

impl Kind {
    /// Status, default code and title: the one table.
    pub(super) const fn row(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Invalid => (StatusCode::BAD_REQUEST, "invalid_request", "The request cannot be parsed"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "A valid token is needed"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "missing_scope", "The token does not allow this"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "There is no such thing"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The path does not have this method")
            }
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "The present state refuses this"),
            Self::Stale => (StatusCode::PRECONDITION_FAILED, "stale", "The precondition does not hold"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too_slow", "The request is too slow in coming"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is too large"),
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, "uri_too_long", "The address is too long"),
            Self::HeadersTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The headers are too large")
            }
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The media type is not supported")
            }
            Self::Unprocessable => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request is not valid"),
            Self::PreconditionRequired => {
                (StatusCode::PRECONDITION_REQUIRED, "precondition_required", "If-Match is needed")
            }
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too much was asked for"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The service failed"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available at the moment"),
        }
    }

    /// The kind for a status that the framework chose by itself.
    pub(in crate::api) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::Unauthenticated,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::TooSlow,
            409 => Self::Conflict,
            412 => Self::Stale,
            413 => Self::TooLarge,
            414 => Self::UriTooLong,
            431 => Self::HeadersTooLarge,
            415 => Self::UnsupportedMediaType,
            422 => Self::Unprocessable,
            429 => Self::TooMany,
            503 => Self::Unavailable,
            400..=499 => Self::Invalid,
            _ => Self::Internal,
        }
    }
}
