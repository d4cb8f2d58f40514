//! Reads the words on a backup back from a target.
//!
//! Rule: a field that a later version added is passed over; a field of this version that is absent or wrong is damage.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::backup::{Backup, BackupContent, BackupKind, BackupState, Base, Wish};
use crate::domain::cause::Cause;
use crate::domain::clock::Timestamp;
use crate::domain::department::{Department, DepartmentState, Policy};
use crate::domain::epoch::Epoch;
use crate::domain::history::{Chain, ClusterTime, Sequence, Timeline};
use crate::domain::ids::{BackupId, DepartmentName};
use crate::domain::retention::Retention;
use crate::targets::layout::ObjectPath;

use super::manifest::hex_digest;
use super::seal::{Header, Kind, damaged};
use super::{BackupError, Repository};

/// A department as a word tells of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DepartmentLine {
    policy: PolicyLine,
    deleted: bool,
    created_at: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct PolicyLine {
    backup_every_seconds: u64,
    retention: RetentionLine,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RetentionLine {
    within_seconds: u64,
    last: u32,
    hourly: u32,
    daily: u32,
    weekly: u32,
    monthly: u32,
    yearly: u32,
}

impl From<&Retention> for RetentionLine {
    fn from(kept: &Retention) -> Self {
        Self {
            within_seconds: kept.keep_within.as_secs(),
            last: kept.keep_last,
            hourly: kept.keep_hourly,
            daily: kept.keep_daily,
            weekly: kept.keep_weekly,
            monthly: kept.keep_monthly,
            yearly: kept.keep_yearly,
        }
    }
}

impl RetentionLine {
    fn read(&self) -> Retention {
        Retention {
            keep_within: Duration::from_secs(self.within_seconds),
            keep_last: self.last,
            keep_hourly: self.hourly,
            keep_daily: self.daily,
            keep_weekly: self.weekly,
            keep_monthly: self.monthly,
            keep_yearly: self.yearly,
        }
    }
}

impl From<&Department> for DepartmentLine {
    fn from(department: &Department) -> Self {
        Self {
            policy: PolicyLine {
                backup_every_seconds: department.policy.backup_every.as_secs(),
                retention: RetentionLine::from(&department.policy.retention),
            },
            deleted: department.state == DepartmentState::Deleted,
            created_at: department.created_at.to_string(),
        }
    }
}

/// What a word says of the department of its backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepartmentWord {
    /// The policy at that time.
    pub policy: Policy,
    /// Whether it was deleted.
    pub deleted: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

impl DepartmentLine {
    fn read(&self) -> Option<DepartmentWord> {
        let policy = Policy::checked(Duration::from_secs(self.policy.backup_every_seconds)).ok()?;
        let policy = policy.keeping(self.policy.retention.read());
        Some(DepartmentWord { policy, deleted: self.deleted, created_at: self.created_at.parse().ok()? })
    }
}

/// A word on a backup that has been checked.
#[derive(Debug, Clone)]
pub struct Word {
    /// Its number.
    pub n: u32,
    /// The epoch of the leader that put it; 0 where it names none.
    pub epoch: Epoch,
    /// The state that it tells of; `deleted` and others have no place in the catalogue.
    pub state: String,
    /// The backup, as far as the word tells of it. It is complete or failed.
    pub backup: Backup,
    /// What it says of the department.
    pub department: Option<DepartmentWord>,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    n: u32,
    epoch: Option<i64>,
    kind: String,
    state: String,
    cause: Option<String>,
    requested_at: String,
    finished_at: Option<String>,
    content: Option<ContentLine>,
    #[serde(default)]
    held: bool,
    #[serde(default)]
    department: Option<DepartmentLine>,
}

#[derive(Deserialize)]
struct ContentLine {
    timeline: i64,
    sequence: i64,
    chain: String,
    taken_at: String,
    cluster_time: (u32, u32),
    records: u64,
    balance: i64,
    base: BaseLine,
    unchanged: bool,
}

#[derive(Deserialize)]
struct BaseLine {
    snapshot: String,
    sequence: i64,
    taken_at: String,
    records: u64,
    bytes: u64,
    root: String,
}

impl ContentLine {
    fn read(&self) -> Option<BackupContent> {
        let base = &self.base;
        Some(BackupContent {
            timeline: Timeline(self.timeline),
            sequence: Sequence(self.sequence),
            chain: Chain(hex_digest(&self.chain)?),
            taken_at: self.taken_at.parse().ok()?,
            cluster_time: ClusterTime { seconds: self.cluster_time.0, ordinal: self.cluster_time.1 },
            records: self.records,
            balance: self.balance,
            base: Base {
                snapshot: base.snapshot.clone(),
                sequence: Sequence(base.sequence),
                taken_at: base.taken_at.parse().ok()?,
                records: base.records,
                bytes: base.bytes,
                root: base.root.clone(),
            },
            unchanged: self.unchanged,
        })
    }
}

impl Line {
    fn read(self, department: &DepartmentName) -> Option<Word> {
        let kind = match self.kind.as_str() {
            "scheduled" => BackupKind::Scheduled,
            "on_demand" => BackupKind::OnDemand,
            "before_restore" => BackupKind::BeforeRestore,
            _ => return None,
        };
        let content = match &self.content {
            Some(content) => Some(content.read()?),
            None => None,
        };
        let complete = self.state == "complete";
        if complete && content.is_none() {
            return None;
        }
        let mut backup =
            Backup::queued(self.id.parse().ok()?, department.clone(), kind, self.requested_at.parse().ok()?);
        backup.state = if complete { BackupState::Complete } else { BackupState::Failed };
        backup.attempt = self.n;
        backup.finished_at = match self.finished_at {
            Some(at) => Some(at.parse().ok()?),
            None => None,
        };
        backup.cause =
            self.cause.map(|code| Cause::new(&code, "As the word on the targets tells; it names the code only."));
        backup.content = content;
        // The word says that, and not who and when.
        backup.held =
            self.held.then(|| Wish { by: "before the database was rebuilt".to_owned(), at: backup.requested_at });
        let department = match self.department {
            Some(line) => Some(line.read()?),
            None => None,
        };
        Some(Word { n: self.n, epoch: Epoch(self.epoch.unwrap_or(0)), state: self.state, backup, department })
    }
}

impl Repository {
    /// Opens a word and checks seal and place.
    ///
    /// # Errors
    /// `Damaged` or `WrongKey`.
    pub(super) fn open_word(
        &self,
        department: &DepartmentName,
        timeline: Timeline,
        path: &ObjectPath,
        sealed: &[u8],
    ) -> Result<Word, BackupError> {
        let opened = self.unseal(path, sealed, &Header::new(Kind::Backup, department, timeline))?;
        let line = opened.body().split(|b| *b == b'\n').next().unwrap_or_default();
        let line: Line = serde_json::from_slice(line).map_err(|_| damaged(path, "its word cannot be read"))?;
        let word = line.read(department).ok_or_else(|| damaged(path, "a field of its word is not valid"))?;
        let elsewhere = word.backup.content.as_ref().is_some_and(|content| content.timeline != timeline);
        if *path != ObjectPath::backup(department, timeline, &word.backup.id, word.n, path.hash()) || elsewhere {
            return Err(damaged(path, "its name is not the one of its word"));
        }
        Ok(word)
    }
}

/// The id of the backup that a word is on, by its path.
pub(super) fn backup_of(path: &ObjectPath) -> Option<BackupId> {
    path.folder().rsplit('/').next()?.parse().ok()
}
