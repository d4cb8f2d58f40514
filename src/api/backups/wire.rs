//! A backup on the wire: what is asked, and what is shown.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::jobs::waiting_cause;
use crate::api::wire::{BackupKindView, BackupStateView, CauseView, CopyView, ExecutorView};
use crate::app::App;
use crate::domain::backup::{Backup, BackupState, Wish};

/// A wish for a backup.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"department": "default"}))]
pub struct BackupRequest {
    /// The department to back up.
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    pub(super) department: String,
}

/// How far an attempt has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BackupProgressView {
    /// Records written so far.
    pub records_done: u64,
    /// Records expected.
    pub records_total: u64,
    /// Sealed bytes written so far, on one target.
    pub bytes_done: u64,
}

/// A backup: a restore point, and the job that makes it. What it holds is null until it is complete.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackupView {
    /// Its id.
    pub id: String,
    /// The department.
    pub department: String,
    /// Why it was made.
    pub kind: BackupKindView,
    /// How far it has come.
    pub state: BackupStateView,
    /// Why it waits, failed or was cancelled.
    pub cause: Option<CauseView>,
    /// Who carries or carried it out.
    pub executed_by: Option<ExecutorView>,
    /// The epoch that carries or carried it out.
    pub epoch: Option<i64>,
    /// Who asked for it; null for scheduled ones.
    pub requested_by: Option<String>,
    /// When it was asked for.
    #[schema(format = DateTime)]
    pub requested_at: String,
    /// The slot of the schedule that it fills.
    #[schema(format = DateTime)]
    pub slot: Option<String>,
    /// The restore that it protects.
    pub restore_id: Option<String>,
    /// How often a leader took it up.
    pub attempt: u32,
    /// When the last attempt began.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
    /// How far the attempt has come.
    pub progress: BackupProgressView,
    /// The line of history.
    pub timeline: Option<i64>,
    /// The history up to here is in it.
    pub sequence: Option<i64>,
    /// The department's time at that point.
    #[schema(format = DateTime)]
    pub taken_at: Option<String>,
    /// Number of records.
    pub records: Option<u64>,
    /// Sealed bytes of the snapshot that it begins with, on one target.
    pub bytes: Option<u64>,
    /// Merkle root over all records; null where changes lie between the snapshot and the backup.
    pub root: Option<String>,
    /// The chain at that sequence.
    pub chain: Option<String>,
    /// Object path of the manifest of the snapshot that it begins with, relative to a target.
    pub snapshot: Option<String>,
    /// The history up to here is in that snapshot; the journal has the rest.
    pub snapshot_sequence: Option<i64>,
    /// Whether nothing changed since the backup before it.
    pub unchanged: Option<bool>,
    /// What each target holds of it.
    pub copies: Vec<CopyView>,
    /// Who holds it against retention; null where nobody does.
    pub held: Option<WishView>,
    /// Who asked to delete it; null where nobody did.
    pub delete_requested: Option<WishView>,
}

/// Who asked for something, and when.
#[derive(Debug, Serialize, ToSchema)]
pub struct WishView {
    /// Who.
    pub by: String,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
}

impl From<Wish> for WishView {
    fn from(wish: Wish) -> Self {
        Self { by: wish.by, at: wish.at.to_string() }
    }
}

/// A page of backups.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackupPage {
    /// The backups, newest first.
    pub items: Vec<BackupView>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// Filter and page of a list of backups.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BackupQuery {
    /// Only this department.
    pub(super) department: Option<String>,
    /// States, separated by commas or repeated: queued, running, complete, failed, cancelled, deleted.
    /// Default `complete`.
    #[param(value_type = Option<Vec<BackupStateView>>)]
    pub(super) state: Option<String>,
    /// Items of the page, 1 to 1000. Default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(super) limit: Option<String>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// From a stored backup to what is shown of it.
pub(in crate::api) fn view(app: &App, backup: Backup) -> BackupView {
    let waits = backup.state == BackupState::Queued && backup.cause.is_none();
    let cause = if waits { waiting_cause(app, &backup.department) } else { backup.cause };
    let content = backup.content.as_ref();
    BackupView {
        id: backup.id.to_string(),
        department: backup.department.to_string(),
        kind: backup.kind.into(),
        state: backup.state.into(),
        cause: cause.map(Into::into),
        epoch: backup.executed_by.as_ref().map(|executor| executor.epoch.0),
        executed_by: backup.executed_by.map(Into::into),
        requested_by: backup.requested_by,
        requested_at: backup.requested_at.to_string(),
        slot: backup.slot.map(|slot| slot.to_string()),
        restore_id: backup.restore_id.map(|id| id.to_string()),
        attempt: backup.attempt,
        started_at: backup.started_at.map(|time| time.to_string()),
        finished_at: backup.finished_at.map(|time| time.to_string()),
        progress: BackupProgressView {
            records_done: backup.progress.records_done,
            records_total: backup.progress.records_total,
            bytes_done: backup.progress.bytes_done,
        },
        timeline: content.map(|content| content.timeline.0),
        sequence: content.map(|content| content.sequence.0),
        taken_at: content.map(|content| content.taken_at.to_string()),
        records: content.map(|content| content.records),
        bytes: content.map(|content| content.base.bytes),
        root: content.and_then(|content| content.root().map(str::to_owned)),
        chain: content.map(|content| content.chain.to_string()),
        snapshot: content.map(|content| content.base.snapshot.clone()),
        snapshot_sequence: content.map(|content| content.base.sequence.0),
        unchanged: content.map(|content| content.unchanged),
        copies: backup.copies.into_iter().map(Into::into).collect(),
        held: backup.held.map(Into::into),
        delete_requested: backup.unwanted.map(Into::into),
    }
}
