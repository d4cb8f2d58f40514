//! How a value that came from outside is refused: which rule it broke, in words for its author.

/// Why a text is not a valid value of its kind. The message names the rule and the fix, never the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// Stable machine-readable code, for example `invalid_id`.
    pub code: &'static str,
    /// A full sentence for the author of the value.
    pub message: String,
}

impl Invalid {
    /// Builds a refusal from its code and sentence.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
