//! What the vault commands print as JSON. Fields are only ever added.

use serde::Serialize;

use crate::backup::vault::{Catalogue, Damage, Listed};
use crate::domain::backup::BackupKind;
use crate::domain::window::Place;

#[derive(Debug, Serialize)]
pub(super) struct VaultView {
    pub(super) repository: String,
    pub(super) targets: Vec<String>,
    pub(super) departments: Vec<DepartmentView>,
}

#[derive(Debug, Serialize)]
pub(super) struct DepartmentView {
    pub(super) department: String,
    pub(super) deleted: bool,
    pub(super) backup_every: Option<String>,
    pub(super) newest: Option<NewestView>,
    pub(super) ranges: Vec<RangeView>,
    pub(super) backups: Vec<BackupView>,
    pub(super) damage: Vec<DamageView>,
}

#[derive(Debug, Serialize)]
pub(super) struct NewestView {
    pub(super) timeline: i64,
    pub(super) sequence: i64,
    pub(super) time: Option<String>,
    pub(super) chain: String,
    pub(super) epoch: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct RangeView {
    pub(super) timeline: i64,
    pub(super) from: PlaceView,
    pub(super) through: PlaceView,
}

#[derive(Debug, Serialize)]
pub(super) struct PlaceView {
    pub(super) sequence: i64,
    pub(super) time: String,
}

#[derive(Debug, Serialize)]
pub(super) struct BackupView {
    pub(super) id: String,
    pub(super) department: String,
    pub(super) kind: &'static str,
    pub(super) state: String,
    pub(super) cause: Option<String>,
    pub(super) requested_at: String,
    pub(super) finished_at: Option<String>,
    pub(super) word: WordView,
    pub(super) content: Option<ContentView>,
    pub(super) missing: Vec<DamageView>,
}

#[derive(Debug, Serialize)]
pub(super) struct WordView {
    pub(super) n: u32,
    pub(super) epoch: i64,
    pub(super) object: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ContentView {
    pub(super) timeline: i64,
    pub(super) sequence: i64,
    pub(super) chain: String,
    pub(super) taken_at: String,
    pub(super) records: u64,
    pub(super) root: Option<String>,
    pub(super) unchanged: bool,
    pub(super) snapshot: String,
    pub(super) snapshot_sequence: i64,
    pub(super) snapshot_records: u64,
    pub(super) snapshot_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct DamageView {
    pub(super) object: String,
    pub(super) reason: String,
    /// Targets, among those that were checked, that have it whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) whole_on: Vec<String>,
}

impl From<&Damage> for DamageView {
    fn from(damage: &Damage) -> Self {
        Self { object: damage.object.clone(), reason: damage.reason.clone(), whole_on: Vec::new() }
    }
}

fn place(place: Place) -> PlaceView {
    PlaceView { sequence: place.sequence.0, time: place.time.to_string() }
}

impl DepartmentView {
    pub(super) fn of(catalogue: &Catalogue) -> Self {
        let about = catalogue.about.as_ref();
        Self {
            department: catalogue.department.to_string(),
            deleted: about.is_some_and(|about| about.deleted),
            backup_every: about.map(|about| humantime::format_duration(about.policy.backup_every).to_string()),
            newest: catalogue.newest().map(|(timeline, tip)| NewestView {
                timeline: timeline.timeline.0,
                sequence: tip.point.sequence.0,
                time: tip.until.map(|time| time.to_string()),
                chain: tip.point.chain.to_string(),
                epoch: tip.epoch.0,
            }),
            ranges: catalogue
                .stretches()
                .into_iter()
                .map(|stretch| RangeView {
                    timeline: stretch.from.timeline.0,
                    from: place(stretch.from),
                    through: place(stretch.through),
                })
                .collect(),
            backups: catalogue.backups.iter().map(BackupView::of).collect(),
            damage: catalogue.damage.iter().map(DamageView::from).collect(),
        }
    }
}

impl BackupView {
    pub(super) fn of(listed: &Listed) -> Self {
        let backup = &listed.word.backup;
        Self {
            id: backup.id.to_string(),
            department: backup.department.to_string(),
            kind: match backup.kind {
                BackupKind::Scheduled => "scheduled",
                BackupKind::OnDemand => "on_demand",
                BackupKind::BeforeRestore => "before_restore",
            },
            state: listed.state().to_owned(),
            cause: backup.cause.as_ref().map(|cause| cause.code.clone()),
            requested_at: backup.requested_at.to_string(),
            finished_at: backup.finished_at.map(|at| at.to_string()),
            word: WordView { n: listed.word.n, epoch: listed.word.epoch.0, object: listed.path.to_string() },
            content: backup.content.as_ref().map(|content| ContentView {
                timeline: content.timeline.0,
                sequence: content.sequence.0,
                chain: content.chain.to_string(),
                taken_at: content.taken_at.to_string(),
                records: content.records,
                root: content.root().map(ToOwned::to_owned),
                unchanged: content.unchanged,
                snapshot: content.base.snapshot.clone(),
                snapshot_sequence: content.base.sequence.0,
                snapshot_records: content.base.records,
                snapshot_bytes: content.base.bytes,
            }),
            missing: listed.missing.iter().map(DamageView::from).collect(),
        }
    }
}
