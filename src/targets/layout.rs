//! Every object path, spelled once (docs/formats.md lists them for people).

use std::fmt;

use crate::domain::history::{Sequence, Timeline};
use crate::domain::ids::{BackupId, DepartmentName};

/// Path of an object below a target, with `/` between its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPath(String);

impl ObjectPath {
    /// The folder of everything but the repository's own files.
    pub const DEPARTMENTS: &'static str = "departments";

    /// The folder of objects that only show whether a target works.
    pub const PROBES: &'static str = "doctor";

    /// The text of the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A path that was spelled by this module before: out of a manifest, a document or a listing.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The folder that the object lies in: everything before the last `/`.
    pub fn folder(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The hash that the name of the object ends with, before any file extension.
    pub fn hash(&self) -> &str {
        let name = self.0.rsplit('/').next().unwrap_or_default();
        let stem = name.split('.').next().unwrap_or_default();
        stem.rsplit('-').next().unwrap_or_default()
    }

    /// The folder of the words on one backup.
    pub fn backup_folder(department: &DepartmentName, timeline: Timeline, id: &BackupId) -> String {
        format!("departments/{department}/{}/backups/{id}", timeline.0)
    }

    /// The folder of everything of a department: its timelines.
    pub fn department_folder(department: &DepartmentName) -> String {
        format!("departments/{department}")
    }

    /// The folder of the snapshots of one timeline.
    pub fn snapshot_folder(department: &DepartmentName, timeline: Timeline) -> String {
        format!("departments/{department}/{}/snapshots", timeline.0)
    }

    /// The folder of the words on all backups of one timeline.
    pub fn backups_folder(department: &DepartmentName, timeline: Timeline) -> String {
        format!("departments/{department}/{}/backups", timeline.0)
    }

    /// `rollkeeper.json`: repository id, format version, recipients.
    pub fn repository() -> Self {
        Self("rollkeeper.json".to_owned())
    }

    /// `rollkeeper.key`: the repository secret, sealed.
    pub fn repository_key() -> Self {
        Self("rollkeeper.key".to_owned())
    }

    /// An object that shows whether a target works, and is nothing of the repository; deleted at once.
    pub fn probe(number: u64) -> Self {
        Self(format!("{}/{number:016x}", Self::PROBES))
    }

    /// A chunk; `hash` is blake3 of its sealed bytes, in hexadecimal.
    pub fn chunk(department: &DepartmentName, timeline: Timeline, hash: &str) -> Self {
        Self(format!("departments/{department}/{}/chunks/{hash}", timeline.0))
    }

    /// A snapshot manifest.
    pub fn snapshot(department: &DepartmentName, timeline: Timeline, sequence: Sequence, hash: &str) -> Self {
        Self(format!("departments/{department}/{}/snapshots/{:020}-{hash}.snap", timeline.0, sequence.0))
    }

    /// The folder of the journal of one timeline.
    pub fn journal_folder(department: &DepartmentName, timeline: Timeline) -> String {
        format!("departments/{department}/{}/journal", timeline.0)
    }

    /// A segment: changes `first` to `last`.
    pub fn segment(
        department: &DepartmentName,
        timeline: Timeline,
        first: Sequence,
        last: Sequence,
        hash: &str,
    ) -> Self {
        let folder = Self::journal_folder(department, timeline);
        Self(format!("{folder}/{:020}-{:020}-{hash}.seg", first.0, last.0))
    }

    /// First and last sequence of a segment, by its name.
    pub fn segment_range(&self) -> Option<(Sequence, Sequence)> {
        let name = self.0.rsplit('/').next()?.strip_suffix(".seg")?;
        let mut parts = name.split('-');
        let (first, last) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((Sequence(first), Sequence(last)))
    }

    /// The `n`th word on a backup: made, failed, held, deleted.
    pub fn backup(department: &DepartmentName, timeline: Timeline, id: &BackupId, n: u32, hash: &str) -> Self {
        Self(format!("departments/{department}/{}/backups/{id}/{n}-{hash}", timeline.0))
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
