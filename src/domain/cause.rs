//! Why a job ended or waits: a stable code and a sentence.

use std::error::Error;

/// A cause that a user can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Stable machine-readable code, for example `quorum_not_reached`.
    pub code: String,
    /// What happened and what to do, without secrets.
    pub message: String,
}

impl Cause {
    /// Builds a cause from its code and sentence.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

/// An error with everything that caused it, for a log line or a cause.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
