//! A restore on the wire: what is asked, and what is shown.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::extract::{not_null, object, whole_not_null};
use crate::api::wire::{
    ActionView, CauseView, CredentialsView, ExecutorView, LockedView, OnConflictView, PassView, PlaceView,
    RestoreModeView, RestoreStateView,
};

/// A wish for a restore. The defaults are the safe ones.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"from": {"backup_id": "019aaf5c-2f3e-7d10-8a55-0c6f3f2b9a01"}}))]
pub struct RestoreRequest {
    /// The restore point.
    #[serde(deserialize_with = "object")]
    pub(super) from: RestoreFrom,
    /// The department that gets the records; absent means the one that they come from. A record whose id lives outside
    /// it gets a new one.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    pub(super) into: Option<String>,
    /// Only these users, at most 10,000; absent means all.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, min_items = 1, max_items = 10_000)]
    pub(super) users: Option<Vec<String>>,
    /// What becomes of users that the point does not have. Default `merge`: they stay.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub(super) mode: Option<RestoreModeView>,
    /// Which password hash wins. Default `keep`: the live one. Of a user without a live record, the one that was last known:
    /// by the history of the recovery window, and before that by the backups that retention has kept since the point; what
    /// came and went between two of those is not known. With `into`, the user is looked for where it lives now, and what
    /// the histories of both departments last knew counts; the histories of other departments are not asked.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub(super) credentials: Option<CredentialsView>,
    /// Whether users are locked afterwards. Default `keep`: as they are now, or were last known; see `credentials`.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub(super) locked: Option<LockedView>,
    /// What becomes of a record that was changed after the plan. Default `skip`.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub(super) on_conflict: Option<OnConflictView>,
    /// Whether to go on from the plan to its application. Default false.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub(super) apply: Option<bool>,
}

/// A restore point: `backup_id`, or `department` with `at` or with `sequence`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreFrom {
    /// Id of a complete backup.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, format = "uuid")]
    pub(super) backup_id: Option<String>,
    /// The department whose history is meant, with `at` or `sequence`.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    pub(super) department: Option<String>,
    /// Every change up to this time.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, format = DateTime)]
    pub(super) at: Option<String>,
    /// Every change up to this number.
    #[serde(default, deserialize_with = "whole_not_null")]
    #[schema(nullable = false, minimum = 0)]
    pub(super) sequence: Option<i64>,
}

/// Where the wanted records come from: a backup, a moment of a department, or another restore.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct RestoreFromView {
    /// A backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub backup_id: Option<String>,
    /// The department whose history is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub department: Option<String>,
    /// Every change up to this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    pub at: Option<String>,
    /// Every change up to this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub sequence: Option<i64>,
    /// The restore that is undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub undo_of: Option<String>,
}

/// What a restore would change.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanView {
    /// Records to create.
    pub creates: u64,
    /// Records to change.
    pub updates: u64,
    /// Records to delete.
    pub deletes: u64,
    /// Records that are as wanted.
    pub unchanged: u64,
    /// Records of which a policy keeps the live hash or lock against the point.
    pub security_kept: u64,
    /// Records among the creates that get a new id, since theirs lives in another department; `/changes` has both.
    pub renumbered: u64,
    /// Changes that are known to meet a conflict already; `/conflicts` names each once it is applied.
    pub conflicts: u64,
    /// Users that were asked for by id and that the restore point does not have.
    pub missing_users: Vec<String>,
    /// Hash over every planned change; the `ETag` without its quotes.
    pub hash: String,
    /// The first few changes of each kind.
    pub samples: Vec<PlanSampleView>,
    /// When it was computed.
    #[schema(format = DateTime)]
    pub computed_at: String,
}

/// One change of a plan.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanSampleView {
    /// What happens.
    pub action: ActionView,
    /// The user.
    pub user_id: String,
    /// The id that the restore point has it under, where it gets a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub renumbered_from: Option<String>,
    /// The name it has or gets.
    pub name: String,
    /// Names of the fields that change.
    pub fields: Vec<String>,
}

/// How far the application has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RestoreProgressView {
    /// The pass that is under way.
    pub pass: PassView,
    /// Ranges that are committed.
    pub batches: u64,
    /// Planned changes that are dealt with, conflicts included.
    pub changes_done: u64,
    /// Planned changes in all.
    pub changes_total: u64,
    /// Users that were really written.
    pub changes_applied: u64,
    /// Changes that could not be made, or were made over a conflict.
    pub conflicts: u64,
}

/// A restore: its request, its plan and its progress.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestoreView {
    /// Its id.
    pub id: String,
    /// The department that is restored.
    pub department: String,
    /// The restore point.
    pub from: RestoreFromView,
    /// The department that gets the records, where it is another than the one that they come from.
    pub into: Option<String>,
    /// What the moment of `from` was found to be; null for a backup, and until it is looked up.
    pub point: Option<PlaceView>,
    /// Only these users; null means all.
    pub users: Option<Vec<String>>,
    /// What becomes of users that the point does not have.
    pub mode: RestoreModeView,
    /// Which password hash wins.
    pub credentials: CredentialsView,
    /// Whether users are locked afterwards.
    pub locked: LockedView,
    /// What becomes of a record that was changed after the plan.
    pub on_conflict: OnConflictView,
    /// Whether it goes on from the plan to its application.
    pub apply: bool,
    /// How far it has come.
    pub state: RestoreStateView,
    /// Why it waits, failed or was cancelled.
    pub cause: Option<CauseView>,
    /// Whether somebody asked to stop it.
    pub cancel_requested: bool,
    /// Who carries or carried it out.
    pub executed_by: Option<ExecutorView>,
    /// The epoch that carries or carried it out.
    pub epoch: Option<i64>,
    /// Who asked for it.
    pub requested_by: String,
    /// When it was asked for.
    #[schema(format = DateTime)]
    pub requested_at: String,
    /// The backup taken before anything is changed.
    pub safety_backup_id: Option<String>,
    /// The plan is given up then unless it is applied (`restore.plan_lifetime`): the restore ends as `cancelled` with the
    /// cause `plan_expired`. Null in every state but `planned`.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Until then, at least, it can be undone (`restore.undo_lifetime` and `keep_within` after its end); null before it ends.
    #[schema(format = DateTime)]
    pub undo_until: Option<String>,
    /// The restore that takes back what this one wrote; null where nobody asked for that.
    pub undone_by: Option<String>,
    /// What it would change, or changes; null until it is computed.
    pub plan: Option<PlanView>,
    /// How far the application has come.
    pub progress: RestoreProgressView,
    /// When the plan was begun.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
}

/// A page of restores.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestorePage {
    /// The restores, newest first.
    pub items: Vec<RestoreView>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// Filter and page of a list of restores.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RestoreQuery {
    /// Only this department.
    pub(super) department: Option<String>,
    /// States, separated by commas or repeated. Default: all.
    #[param(value_type = Option<Vec<RestoreStateView>>)]
    pub(super) state: Option<String>,
    /// Items of the page, 1 to 1000. Default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(super) limit: Option<String>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}
