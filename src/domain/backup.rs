//! A backup: a restore point of a department, and the job that makes it.

use super::cause::Cause;
use super::clock::Timestamp;
use super::copies::Copy;
use super::epoch::Executor;
use super::history::{Chain, ClusterTime, Sequence, Timeline};
use super::ids::{BackupId, DepartmentName, RestoreId};

/// A backup and all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Its id.
    pub id: BackupId,
    /// The department.
    pub department: DepartmentName,
    /// Why it was made.
    pub kind: BackupKind,
    /// How far it has come.
    pub state: BackupState,
    /// Why it waits, failed or was cancelled.
    pub cause: Option<Cause>,
    /// Who asked for it; absent for scheduled ones.
    pub requested_by: Option<String>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// The slot of the schedule that it fills.
    pub slot: Option<Timestamp>,
    /// The restore that it protects.
    pub restore_id: Option<RestoreId>,
    /// Who carries or carried it out.
    pub executed_by: Option<Executor>,
    /// How often a leader took it up.
    pub attempt: u32,
    /// When the last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How far the attempt has come.
    pub progress: BackupProgress,
    /// What it holds; only a complete one has it.
    pub content: Option<BackupContent>,
    /// What each target holds of it.
    pub copies: Vec<Copy>,
    /// Who holds it against retention, and since when.
    pub held: Option<Wish>,
    /// Who asked to delete it, and when.
    pub unwanted: Option<Wish>,
    /// How often it was held, released or deleted; each makes a new word.
    pub revision: u32,
}

/// That somebody asked for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Backup {
    /// A wish for a backup that nobody has taken up yet.
    pub fn queued(id: BackupId, department: DepartmentName, kind: BackupKind, now: Timestamp) -> Self {
        Self {
            id,
            department,
            kind,
            state: BackupState::Queued,
            cause: None,
            requested_by: None,
            requested_at: now,
            slot: None,
            restore_id: None,
            executed_by: None,
            attempt: 0,
            started_at: None,
            finished_at: None,
            progress: BackupProgress::default(),
            content: None,
            copies: Vec::new(),
            held: None,
            unwanted: None,
            revision: 0,
        }
    }

    /// The number of the newest word on it.
    pub const fn word(&self) -> u32 {
        self.attempt.saturating_add(self.revision)
    }
}

/// Why a backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupKind {
    /// By the department's policy.
    Scheduled,
    /// Somebody asked for it.
    OnDemand,
    /// Before a restore changes anything.
    BeforeRestore,
}

/// How far a backup has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupState {
    /// Waits for the leader.
    Queued,
    /// A leader works on it.
    Running,
    /// Durable on the write quorum and read back.
    Complete,
    /// Ended without a usable result.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// It has ended, and was dropped by retention or because somebody asked for that.
    Deleted,
}

impl BackupState {
    /// Whether the job has ended.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::Failed | Self::Cancelled | Self::Deleted)
    }
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackupProgress {
    /// Records written so far.
    pub records_done: u64,
    /// Records expected.
    pub records_total: u64,
    /// Sealed bytes written so far, on one target.
    pub bytes_done: u64,
}

/// What a complete backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupContent {
    /// The line of history that it lies on.
    pub timeline: Timeline,
    /// The history up to here is in it.
    pub sequence: Sequence,
    /// The chain at that sequence.
    pub chain: Chain,
    /// The department's time at that point.
    pub taken_at: Timestamp,
    /// The oplog moment that was read.
    pub cluster_time: ClusterTime,
    /// Number of records.
    pub records: u64,
    /// Inserts less deletes since the history began, at this point.
    pub balance: i64,
    /// The snapshot that it begins with; the journal has what came after it.
    pub base: Base,
    /// Whether nothing changed since the backup before it.
    pub unchanged: bool,
}

impl BackupContent {
    /// Merkle root over all records, in hexadecimal; absent where changes lie between the snapshot and the backup.
    pub fn root(&self) -> Option<&str> {
        (self.base.sequence == self.sequence).then_some(self.base.root.as_str())
    }
}

/// A snapshot that backups begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Object path of its manifest, relative to the target.
    pub snapshot: String,
    /// The history up to here is in it.
    pub sequence: Sequence,
    /// The department's time at that point.
    pub taken_at: Timestamp,
    /// Number of its records.
    pub records: u64,
    /// Sealed bytes of its chunks and its manifest, on one target.
    pub bytes: u64,
    /// Merkle root over its records, in hexadecimal.
    pub root: String,
}
