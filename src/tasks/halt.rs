//! Why a step of a task stopped, and what the loop around it does about that.

use crate::backup::BackupError;
use crate::domain::cause::{Cause, chain};
use crate::domain::copies::Copy;
use crate::store::StoreError;

/// Why a step stopped.
#[derive(Debug)]
pub(super) enum Halt {
    /// The leadership has ended or is fenced: all work for the department stops.
    Ended,
    /// Something that we depend on does not answer, or the document moved on: look again in a moment.
    Later(String),
    /// The job cannot succeed: it ends as failed with this cause.
    Failed(Cause, Vec<Copy>),
    /// Somebody asked to stop the job.
    Cancelled,
}

impl Halt {
    /// Why, for the log.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Ended => "the leadership has ended".to_owned(),
            Self::Later(reason) => reason.clone(),
            Self::Failed(cause, _) => format!("{}: {}", cause.code, cause.message),
            Self::Cancelled => "somebody stopped it".to_owned(),
        }
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced(_) => Self::Ended,
            // The open transaction of a dead leader is in the way until the server ends it.
            error if error.is_transient() => Self::Later(chain(&error)),
            StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_) | StoreError::Stale => {
                Self::Later(chain(&error))
            }
            // Only our own words: the server's may hold values of a record.
            other => Self::Failed(Cause::new("store_failed", other.to_string()), Vec::new()),
        }
    }
}

impl From<BackupError> for Halt {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Stopped => Self::Ended,
            BackupError::Store(store) => store.into(),
            other => Self::Failed(other.cause(), Vec::new()),
        }
    }
}
