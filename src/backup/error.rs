//! What can go wrong with backups, by what a person would do about it.

use crate::domain::cause::Cause;
use crate::domain::copies::TargetState;
use crate::store::StoreError;
use crate::targets::{ReadError, TargetError};

/// What can go wrong with backups.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Fewer targets than the write quorum hold what was written. The text names each target and its cause.
    #[error("{reached} of {needed} needed targets hold the backup: {details}")]
    QuorumNotReached {
        /// Targets that hold everything.
        reached: usize,
        /// The write quorum.
        needed: usize,
        /// Each failing target with its cause.
        details: String,
    },
    /// An object is not what was written: truncated, flipped, swapped, forged, or of another place.
    #[error("object `{path}` is damaged: {reason}")]
    Damaged {
        /// The object.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An object is sealed to keys that the identity is not one of, or the repository key cannot be opened.
    #[error("the identity cannot open `{path}`: {reason}")]
    WrongKey {
        /// The object.
        path: String,
        /// What to do.
        reason: String,
    },
    /// A target or the database holds another repository.
    #[error("{0}")]
    OtherRepository(String),
    /// The targets hold a history that this MongoDB knows nothing of.
    #[error("{0}")]
    History(String),
    /// It cannot be said yet which repository counts.
    #[error("{0}")]
    Undecided(String),
    /// The keys of the configuration are not valid.
    #[error("{0}")]
    Keys(String),
    /// A target has to catch up with the journal first.
    #[error("target `{0}` has to catch up with the journal first")]
    Behind(String),
    /// A target failed.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// MongoDB failed while records were read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What a restore needs is not there, or not to be restored.
    #[error("{}", .0.message)]
    Unrestorable(Cause),
    /// The work was stopped: the leadership ended.
    #[error("the work was stopped because the leadership ended")]
    Stopped,
}

impl From<ReadError<Self>> for BackupError {
    fn from(error: ReadError<Self>) -> Self {
        match error {
            ReadError::Target(error) => error.into(),
            ReadError::Refused(error) => error,
        }
    }
}

impl BackupError {
    /// The cause to show in a job.
    pub fn cause(&self) -> Cause {
        let code = match self {
            Self::Unrestorable(cause) => return cause.clone(),
            Self::QuorumNotReached { .. } => "quorum_not_reached",
            Self::Damaged { .. } => "damaged",
            Self::WrongKey { .. } => "wrong_key",
            Self::OtherRepository(_) | Self::Target(TargetError::Failed { state: TargetState::Foreign, .. }) => {
                "other_repository"
            }
            Self::History(_) => "targets_hold_history",
            Self::Undecided(_) => "repository_undecided",
            Self::Behind(_) => "owed",
            Self::Keys(_) => "invalid_keys",
            Self::Target(_) => "target_failed",
            Self::Store(_) => "store_failed",
            Self::Stopped => "stopped",
        };
        Cause::new(code, self.to_string())
    }
}
