//! Why there is no answer, in words, and whether that may pass.

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use super::Failure;

/// Why there is no answer to one attempt.
#[derive(Debug)]
pub(in crate::cli) struct Trouble {
    pub(in crate::cli) failure: Failure,
    /// Whether it may pass.
    pub(in crate::cli) passes: bool,
    /// When the service wants to be asked again.
    pub(in crate::cli) pause: Option<Duration>,
    /// The service works at the answer.
    pub(super) at_work: bool,
}

/// What is said of an answer that rollkeeper does not give.
pub(super) const NOT_OURS: &str = "The answer is not one of rollkeeper; is the URL right?";

impl Trouble {
    /// One that does not pass.
    pub(in crate::cli) fn last(failure: Failure) -> Self {
        Self { failure, passes: false, pause: None, at_work: false }
    }

    /// One that may pass.
    pub(in crate::cli) fn passing(failure: Failure) -> Self {
        Self { passes: true, ..Self::last(failure) }
    }
}

/// What the service said, in one line, and one more for each field that it names.
pub(super) fn refused(status: StatusCode, problem: &Value, pause: Option<Duration>) -> Trouble {
    let mut text = format!("{} ({}", problem["detail"].as_str().unwrap_or(NOT_OURS), status.as_u16());
    for (name, value) in [("", &problem["code"]), ("request ", &problem["request_id"])] {
        if let Some(value) = value.as_str() {
            let _ = write!(text, ", {name}{value}");
        }
    }
    text.push(')');
    for field in problem["errors"].as_array().into_iter().flatten() {
        let place = field["pointer"].as_str().or(field["parameter"].as_str()).unwrap_or_default();
        let [message, code] = ["message", "code"].map(|name| field[name].as_str().unwrap_or_default());
        let _ = write!(text, "\n  {place}: {message} ({code})");
    }
    for (side, name) in [("before", "the last moment before it"), ("after", "the first moment after it")] {
        if let Some(time) = problem["nearest"][side]["time"].as_str() {
            let _ = write!(text, "\n  {name} that can be read: {time}");
        }
    }
    let code = problem["code"].as_str().unwrap_or_default();
    let away = matches!(status.as_u16(), 429 | 502 | 503 | 504);
    let failure = if away { Failure::missing(text) } else { Failure::failed(text) };
    // Whoever sent a request before its answer was lost finds it under way.
    let passes = away || code == "idempotency_key_in_use";
    Trouble { failure, passes, pause, at_work: code == "verification_running" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(status: u16, code: &str) -> Trouble {
        let problem = json!({ "detail": "No.", "code": code, "request_id": "r",
            "errors": [{ "pointer": "/name", "message": "A name is short.", "code": "invalid_name" }] });
        refused(StatusCode::from_u16(status).unwrap(), &problem, None)
    }

    #[test]
    fn a_refusal_is_told_with_its_code_its_request_and_its_fields() {
        let told = refusal(422, "invalid");
        assert_eq!(told.failure.text, "No. (422, invalid, request r)\n  /name: A name is short. (invalid_name)");
        assert!(!told.passes);
        assert!(refused(StatusCode::NOT_FOUND, &Value::Null, None).failure.text.contains("is the URL right?"));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, code, passes) in [
            (503, "unavailable", true),
            (429, "rate_limited", true),
            (502, "", true),
            (409, "idempotency_key_in_use", true),
            (409, "not_planned", false),
            (500, "internal", false),
            (401, "unauthenticated", false),
        ] {
            assert_eq!(refusal(status, code).passes, passes, "{status} {code}");
        }
        assert!(refusal(503, "verification_running").at_work && !refusal(503, "overloaded").at_work);
    }
}
