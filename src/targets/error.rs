//! What can go wrong with a target, by what a person would do about it.

use super::target::Act;
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

/// What a failure of a directory says about the target.
pub(super) fn state_of(act: Act, error: &std::io::Error) -> TargetState {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => TargetState::Full,
        ErrorKind::ReadOnlyFilesystem => TargetState::ReadOnly,
        ErrorKind::PermissionDenied if act == Act::Write => TargetState::ReadOnly,
        _ => TargetState::Down,
    }
}

/// The error of the system behind an error, if there is one.
pub(super) fn io_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io);
        }
        next = error.source();
    }
    None
}
