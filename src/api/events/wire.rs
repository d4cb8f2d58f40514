//! One event of a job, as a listener reads it.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::backups::wire::{BackupProgressView, BackupView};
use crate::api::restores::wire::{RestoreProgressView, RestoreView};
use crate::api::wire::{CauseView, ExecutorView};
use crate::app::App;
use crate::domain::text::Invalid;
use crate::store::job_changes::Job;

/// Which kind of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// `backup`
    Backup,
    /// `restore`
    Restore,
}

impl std::str::FromStr for JobKind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "backup" => Ok(Self::Backup),
            "restore" => Ok(Self::Restore),
            _ => Err(Invalid::new("invalid_kind", "This is one of backup restore.")),
        }
    }
}

/// How far a job has come, as the job itself shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum JobProgress {
    /// Of a backup.
    Backup(BackupProgressView),
    /// Of a restore.
    Restore(RestoreProgressView),
}

/// A job as it is: the data of each event.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobEvent {
    /// Which kind of job; also the name of the event.
    pub kind: JobKind,
    /// Its id.
    pub id: String,
    /// The department that it works on.
    pub department: String,
    /// How far it has come, in the words of the job.
    pub state: String,
    /// Why it waits, failed or was cancelled.
    pub cause: Option<CauseView>,
    /// Who carries or carried it out.
    pub executed_by: Option<ExecutorView>,
    /// How far it has come, in numbers.
    pub progress: JobProgress,
    /// When it was asked for.
    #[schema(format = DateTime)]
    pub requested_at: String,
    /// When it ended.
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
    /// The id of the event.
    #[serde(skip)]
    pub(super) event_id: String,
}

impl JobEvent {
    /// What is told of a job now.
    pub(super) fn of(app: &App, job: Job) -> Self {
        let now = app.clock.now().as_millis();
        let event = match job {
            Job::Backup(backup) => Self::of_backup(crate::api::backups::wire::view(app, *backup)),
            Job::Restore(restore) => Self::of_restore(crate::api::restores::view::view(app, *restore)),
        };
        Self { event_id: format!("{now}-{}", event.id), ..event }
    }

    fn of_backup(view: BackupView) -> Self {
        Self {
            kind: JobKind::Backup,
            id: view.id,
            department: view.department,
            state: word(&view.state),
            cause: view.cause,
            executed_by: view.executed_by,
            progress: JobProgress::Backup(view.progress),
            requested_at: view.requested_at,
            finished_at: view.finished_at,
            event_id: String::new(),
        }
    }

    fn of_restore(view: RestoreView) -> Self {
        Self {
            kind: JobKind::Restore,
            id: view.id,
            department: view.department,
            state: word(&view.state),
            cause: view.cause,
            executed_by: view.executed_by,
            progress: JobProgress::Restore(view.progress),
            requested_at: view.requested_at,
            finished_at: view.finished_at,
            event_id: String::new(),
        }
    }

    pub(super) fn is_backup(&self) -> bool {
        self.kind == JobKind::Backup
    }

    pub(super) fn name(&self) -> &'static str {
        if self.is_backup() { "backup" } else { "restore" }
    }
}

fn word(state: &impl Serialize) -> String {
    serde_json::to_value(state).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What a listener hears of.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Only jobs of this department.
    pub(super) department: Option<String>,
    /// Kinds of jobs, separated by commas or repeated: backup, restore. Default: all that the token may read.
    #[param(value_type = Option<Vec<JobKind>>)]
    pub(super) kind: Option<String>,
    /// Only the job with this id, in whatever state it is.
    pub(super) id: Option<String>,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::api::wire::PassView;

    /// An event of a restore.
    pub(in super::super) fn event(department: &str, id: &str) -> JobEvent {
        JobEvent {
            kind: JobKind::Restore,
            id: id.to_owned(),
            department: department.to_owned(),
            state: "applying".to_owned(),
            cause: None,
            executed_by: None,
            progress: JobProgress::Restore(RestoreProgressView {
                pass: PassView::Records,
                batches: 1,
                changes_done: 2,
                changes_total: 3,
                changes_applied: 2,
                conflicts: 0,
            }),
            requested_at: String::new(),
            finished_at: None,
            event_id: String::new(),
        }
    }

    #[test]
    fn an_event_has_the_words_and_the_numbers_of_its_job() {
        let json = serde_json::to_value(event("eng", "a")).unwrap();
        assert_eq!((&json["kind"], &json["progress"]["changes_done"]), (&"restore".into(), &2.into()));
        assert_eq!(word(&PassView::Records), "records");
        assert!(json.get("event_id").is_none());
    }
}
