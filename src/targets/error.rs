//! What can go wrong with a target, by what a person would do about it.

use crate::domain::copies::TargetState;

/// What can go wrong with a target. `target` and `path` name the place; the source is not part of the text.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The configuration of the targets is not valid.
    #[error("{0}")]
    Config(String),
    /// The object is not there.
    #[error("target `{target}` has no object `{path}`")]
    NotFound {
        /// The target.
        target: String,
        /// The object.
        path: String,
    },
    /// An object of this name is there and holds other bytes.
    #[error("target `{target}` holds other bytes under `{path}`")]
    Differs {
        /// The target.
        target: String,
        /// The object.
        path: String,
    },
    /// The operation failed: the target is down, read-only or full.
    #[error("target `{target}` is {}: {reason}", state_name(*.state))]
    Failed {
        /// The target.
        target: String,
        /// What that says about the target.
        state: TargetState,
        /// The store's own words.
        reason: String,
    },
    /// The connection broke: whether it was written is not known.
    #[error("target `{target}` is down: {reason}")]
    Unknown {
        /// The target.
        target: String,
        /// What happened.
        reason: String,
    },
    /// The operation did not end within its time.
    #[error("target `{target}` did not answer within {seconds} s")]
    Timeout {
        /// The target.
        target: String,
        /// The limit.
        seconds: u64,
    },
}

impl TargetError {
    /// Whether the target answered that it has no such object.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// The word for a state, as in the API.
pub const fn state_name(state: TargetState) -> &'static str {
    match state {
        TargetState::Ok => "ok",
        TargetState::Down => "down",
        TargetState::Slow => "slow",
        TargetState::ReadOnly => "read_only",
        TargetState::Full => "full",
        TargetState::Foreign => "foreign",
    }
}
