//! A department on the wire: what is asked of it, and what is shown of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::divergence::{DivergenceView, divergence_view};
use super::keep::{RetentionRequest, RetentionView};
use super::window::{RecoveryWindowView, window_view};
use crate::api::extract::{not_null, object_not_null};
use crate::api::problem::Problem;
use crate::api::sync::JournalCopyView;
use crate::api::wire::{DepartmentStateView, TargetView};
use crate::app::App;
use crate::domain::damage::JournalDamage;
use crate::domain::department::Department;
use crate::domain::drift::Drift;
use crate::domain::history::Head;
use crate::domain::ids::DepartmentName;

/// What is wanted of a department.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"policy": {"backup_every": "10s"}}))]
pub struct DepartmentRequest {
    /// The policy; absent keeps the present one, or takes the default.
    #[serde(default, deserialize_with = "object_not_null")]
    #[schema(nullable = false)]
    pub(super) policy: Option<PolicyRequest>,
}

/// What the leader of a department shall keep to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRequest {
    /// Time between two scheduled backups, 10s to 31d; absent keeps the present one, or takes the default.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, example = "10s", pattern = "^[0-9]{1,6}[smhd]( ?[0-9]{1,6}[smhd])*$")]
    pub(super) backup_every: Option<String>,
    /// What is kept; absent fields keep the present value, or take the default.
    #[serde(default, deserialize_with = "object_not_null")]
    #[schema(nullable = false)]
    pub(super) retention: Option<RetentionRequest>,
}

/// What the leader of a department keeps to.
#[derive(Debug, Serialize, ToSchema)]
pub struct PolicyView {
    /// Time between two scheduled backups.
    #[schema(example = "1h")]
    pub backup_every: String,
    /// What is kept of backups and history.
    pub retention: RetentionView,
}

/// The leader of a department.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeaderView {
    /// The replica that leads.
    pub replica: String,
    /// Its epoch.
    pub epoch: i64,
    /// Since when.
    #[schema(format = DateTime)]
    pub since: String,
}

/// How far a schedule has come.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScheduleView {
    /// The newest slot that was taken.
    #[schema(format = DateTime)]
    pub last_slot: Option<String>,
    /// Slots that passed without a backup.
    pub missed_slots: u64,
}

/// How far a history goes.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeadView {
    /// The line of history.
    pub timeline: i64,
    /// Changes up to this number are in it.
    pub sequence: i64,
    /// The department's time at that point.
    #[schema(format = DateTime)]
    pub time: String,
    /// How far each target holds the journal.
    pub journal: Vec<JournalCopyView>,
    /// Where the journal breaks on a target, and no other target could give what is missing; moments there cannot be read
    /// from it.
    pub damage: Vec<JournalDamageView>,
    /// What the last comparison with the live records found; null before the first.
    pub drift: Option<DriftView>,
}

/// A place where the journal on a target breaks.
#[derive(Debug, Serialize, ToSchema)]
pub struct JournalDamageView {
    /// The target.
    pub target: String,
    /// The line of history.
    pub timeline: i64,
    /// The last change that is whole.
    pub after: i64,
    /// The next change that is whole; null when there is none.
    pub until: Option<i64>,
    /// When it was found.
    #[schema(format = DateTime)]
    pub found_at: String,
}

/// What a comparison of the history with the live records found.
#[derive(Debug, Serialize, ToSchema)]
pub struct DriftView {
    /// When it was made.
    #[schema(format = DateTime)]
    pub checked_at: String,
    /// The history up to here was compared.
    pub sequence: i64,
    /// Live records that were compared.
    pub records: u64,
    /// Users that are not the same on both sides; anything but 0 is an alarm.
    pub differing: u64,
    /// The first of them, at most 100.
    pub ids: Vec<String>,
}

impl From<Drift> for DriftView {
    fn from(drift: Drift) -> Self {
        Self {
            checked_at: drift.checked_at.to_string(),
            sequence: drift.sequence.0,
            records: drift.records,
            differing: drift.differing,
            ids: drift.ids.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<JournalDamage> for JournalDamageView {
    fn from(damage: JournalDamage) -> Self {
        Self {
            target: damage.target.to_string(),
            timeline: damage.timeline.0,
            after: damage.after.0,
            until: damage.until.map(|until| until.0),
            found_at: damage.found_at.to_string(),
        }
    }
}

/// A department.
#[derive(Debug, Serialize, ToSchema)]
pub struct DepartmentView {
    /// Its name.
    pub name: String,
    /// What its leader keeps to.
    pub policy: PolicyView,
    /// Whether it takes users.
    pub state: DepartmentStateView,
    /// The replica that leads it; null while there is none.
    pub leader: Option<LeaderView>,
    /// Replicas that follow.
    pub followers: Vec<String>,
    /// How far its schedule has come.
    pub schedule: ScheduleView,
    /// How far its history goes; null before its first leader.
    pub head: Option<HeadView>,
    /// The targets hold another history, so nothing is written to them; null when all is well.
    pub diverged: Option<DivergenceView>,
    /// Which of its moments can be read and restored; null before its first leader.
    pub recovery_window: Option<RecoveryWindowView>,
    /// The targets of its backups, as the answering replica sees them.
    pub targets: Vec<TargetView>,
    /// Revision; the `ETag` without its quotes.
    pub rev: String,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When its policy was last written.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// A page of departments.
#[derive(Debug, Serialize, ToSchema)]
pub struct DepartmentPage {
    /// The departments, in the order of names.
    pub items: Vec<DepartmentView>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// The replicas of a department by role.
#[derive(Debug, Serialize, ToSchema)]
pub struct FollowersView {
    /// The department.
    pub department: String,
    /// The replica that leads; null while there is none.
    pub leader: Option<String>,
    /// Replicas that follow.
    pub followers: Vec<String>,
}

/// The leader and the followers of a department, as the cluster view has them.
pub(super) fn roles(app: &App, name: &DepartmentName) -> (Option<LeaderView>, Vec<String>) {
    let view = app.cluster.view();
    let leader = view.leaders.get(name);
    let followers = view.members.iter().map(|member| &member.replica);
    let followers = followers.filter(|replica| leader.is_none_or(|leader| &leader.replica != *replica));
    let followers = followers.map(ToString::to_string).collect();
    let leader = leader.map(|leader| LeaderView {
        replica: leader.replica.to_string(),
        epoch: leader.epoch.0,
        since: leader.since.to_string(),
    });
    (leader, followers)
}

/// A duration of whole seconds as a person would write it: `1h 30m`. The longest unit is a day, as months differ.
pub(super) fn in_units(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("d", seconds / 86_400), ("h", seconds / 3_600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let parts: Vec<String> =
        units.into_iter().filter(|(_, count)| *count > 0).map(|(unit, count)| format!("{count}{unit}")).collect();
    parts.join(" ")
}

fn head_view(head: Head) -> HeadView {
    HeadView {
        timeline: head.timeline.0,
        sequence: head.position.sequence.0,
        time: head.position.time.to_string(),
        journal: head.journal.into_iter().map(Into::into).collect(),
        damage: head.damage.into_iter().map(Into::into).collect(),
        drift: head.drift.map(Into::into),
    }
}

pub(super) async fn view(app: &App, department: &Department) -> Result<DepartmentView, Problem> {
    let head = app.store.heads.get(&department.name).await?;
    let diverged = head.as_ref().and_then(divergence_view);
    let recovery_window = match &head {
        Some(head) => Some(window_view(app, head).await?),
        None => None,
    };
    let (leader, followers) = roles(app, &department.name);
    Ok(DepartmentView {
        name: department.name.to_string(),
        policy: PolicyView {
            backup_every: in_units(department.policy.backup_every),
            retention: (&department.policy.retention).into(),
        },
        state: department.state.into(),
        leader,
        followers,
        schedule: ScheduleView {
            last_slot: department.schedule.last_slot.map(|slot| slot.to_string()),
            missed_slots: department.schedule.missed_slots,
        },
        head: head.map(head_view),
        diverged,
        recovery_window,
        targets: app.targets.statuses().into_iter().map(Into::into).collect(),
        rev: department.rev.to_string(),
        created_at: department.created_at.to_string(),
        updated_at: department.updated_at.to_string(),
    })
}
