//! Why a job ended or waits: a stable code and a sentence.

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
