//! The catalogue of one department, made from what lies on targets.

use std::collections::BTreeMap;

use crate::domain::backup::{BackupContent, BackupState};
use crate::domain::clock::Timestamp;
use crate::domain::epoch::Epoch;
use crate::domain::history::{Chain, Sequence, Timeline};
use crate::domain::ids::{BackupId, DepartmentName};
use crate::targets::layout::ObjectPath;

use super::super::BackupError;
use super::super::journal_read::Point;
use super::lineage::{Base, Lineage, Node};
use super::read::{Read, SnapshotSeen};
use super::{DepartmentWord, Vault, VaultError, Word};

/// Something that is bad or missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The object or the folder.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Damage {
    pub(super) fn new(object: &str, reason: impl Into<String>) -> Self {
        Self { object: object.to_owned(), reason: reason.into() }
    }

    pub(super) fn of(path: &ObjectPath, error: &BackupError) -> Self {
        match error {
            BackupError::Damaged { path, reason } | BackupError::WrongKey { path, reason } => {
                Self::new(path, reason.clone())
            }
            other => Self::new(path.as_str(), other.to_string()),
        }
    }
}

/// A backup that a word tells of.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The word that counts.
    pub word: Word,
    /// Its object.
    pub path: ObjectPath,
    /// What a complete backup needs and the targets do not have; empty when all of it is there.
    pub missing: Vec<Damage>,
}

impl Listed {
    /// Whether it can be restored.
    pub fn is_whole(&self) -> bool {
        self.word.backup.state == BackupState::Complete && self.missing.is_empty()
    }

    /// The state to show: that of the word, or `damaged`.
    pub fn state(&self) -> &str {
        if self.missing.is_empty() { &self.word.state } else { "damaged" }
    }
}

/// One timeline.
#[derive(Debug, Clone)]
pub struct TimelineVault {
    /// Its number.
    pub timeline: Timeline,
    /// Its lines of history.
    pub lineage: Lineage,
    /// Its manifests.
    pub snapshots: Vec<SnapshotSeen>,
}

/// What targets tell of a department.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// The department.
    pub department: DepartmentName,
    /// Its timelines, oldest first.
    pub timelines: Vec<TimelineVault>,
    /// Its backups, oldest first.
    pub backups: Vec<Listed>,
    /// Everything that is bad or missing.
    pub damage: Vec<Damage>,
    /// What the newest word says of the department itself.
    pub about: Option<DepartmentWord>,
    /// The highest epoch of anything that was verified.
    pub epoch: Epoch,
    /// The highest timeline that has anything verified.
    pub timeline: Timeline,
    /// The highest sequence of anything that was verified.
    pub sequence: Sequence,
}

impl Vault {
    /// Reads the catalogue of a department.
    ///
    /// # Errors
    /// When no target answers. What is damaged is part of the catalogue.
    pub async fn catalogue(&self, department: &DepartmentName) -> Result<Catalogue, VaultError> {
        let (names, strange) = self.names(department).await?;
        let mut catalogue = Catalogue {
            department: department.clone(),
            timelines: Vec::new(),
            backups: Vec::new(),
            damage: strange,
            about: None,
            epoch: Epoch(0),
            timeline: Timeline(1),
            sequence: Sequence(0),
        };
        let mut words = BTreeMap::new();
        for (timeline, names) in &names {
            let read = self.read_timeline(department, *timeline, names).await?;
            catalogue.add(*timeline, read, &mut words);
        }
        catalogue.list(words);
        Ok(catalogue)
    }
}

/// The word that counts on each backup so far.
type Words = BTreeMap<BackupId, (ObjectPath, Word)>;

impl Catalogue {
    fn add(&mut self, timeline: Timeline, read: Read, words: &mut Words) {
        self.damage.extend(read.damage);
        if !(read.words.is_empty() && read.snapshots.is_empty() && read.links.is_empty()) {
            self.timeline = self.timeline.max(timeline);
        }
        let mut bases: Vec<Base> = Vec::new();
        for seen in &read.snapshots {
            self.epoch = self.epoch.max(seen.base.epoch);
            self.sequence = self.sequence.max(seen.base.point.sequence);
            self.damage.extend(seen.missing.iter().cloned());
            if seen.missing.is_empty() {
                bases.push(seen.base.clone());
            }
        }
        for link in &read.links {
            self.epoch = self.epoch.max(link.epoch);
            let last = link.stations.last().map_or(Sequence(0), |station| station.point.sequence);
            self.sequence = self.sequence.max(last);
        }
        // The first timeline begins empty, where its first change is still there to show it.
        let begins = read.links.iter().filter_map(|link| link.stations.first());
        if timeline == Timeline(1) && begins.clone().any(|station| station.point == Point::BEGINNING) {
            let first =
                read.links.iter().filter(|link| link.stations.first().is_some_and(|at| at.point == Point::BEGINNING));
            let times = first.filter_map(|link| link.stations.iter().find_map(|station| station.time));
            let created =
                read.words.iter().filter_map(|(_, word)| word.department.as_ref()).map(|about| about.created_at);
            let time = times.chain(created).min().unwrap_or(Timestamp::from_millis(0));
            bases.push(Base { point: Point::BEGINNING, time, epoch: Epoch(0), snapshot: None });
        }
        for (path, word) in read.words {
            self.epoch = self.epoch.max(word.epoch);
            let sequence = word.backup.content.as_ref().map_or(Sequence(0), |content| content.sequence);
            self.sequence = self.sequence.max(sequence);
            let newer =
                words.get(&word.backup.id).is_none_or(|(_, known)| (word.epoch, word.n) > (known.epoch, known.n));
            if newer {
                words.insert(word.backup.id.clone(), (path, word));
            }
        }
        let lineage = Lineage::of(bases, read.links);
        for (link, at) in lineage.competing() {
            let reason = format!("it parts from the line that counts at sequence {}, which has a higher epoch", at.0);
            self.damage.push(Damage::new(link.path.as_str(), reason));
        }
        for link in lineage.stray() {
            let reason =
                "it continues no history that is here: it is of another one, or what came before it is missing";
            self.damage.push(Damage::new(link.path.as_str(), reason));
        }
        self.timelines.push(TimelineVault { timeline, lineage, snapshots: read.snapshots });
    }

    /// Checks what each backup needs, oldest first, and names the holes.
    fn list(&mut self, words: Words) {
        let mut listed: Vec<Listed> = Vec::new();
        for (path, word) in words.into_values() {
            let missing = match (&word.backup.content, word.backup.state) {
                (Some(content), BackupState::Complete) => self.missing(content),
                _ => Vec::new(),
            };
            listed.push(Listed { word, path, missing });
        }
        listed.sort_by_key(|backup| {
            let sequence = backup.word.backup.content.as_ref().map(|content| content.sequence);
            (backup.word.backup.requested_at, sequence, backup.word.backup.id.clone())
        });
        for backup in listed.iter().filter(|backup| backup.is_whole()) {
            let Some(content) = &backup.word.backup.content else { continue };
            let point = Point::from(content);
            let of = self.timelines.iter_mut().find(|timeline| timeline.timeline == content.timeline);
            if let Some(timeline) = of {
                timeline.lineage.stands_until(&point, content.taken_at);
            }
        }
        self.name_holes(&listed);
        let newest = listed.iter().filter(|backup| backup.word.department.is_some());
        let newest = newest.max_by_key(|backup| (backup.word.epoch, backup.word.backup.finished_at));
        self.about = newest.and_then(|backup| backup.word.department.clone());
        self.backups = listed;
        self.damage.sort();
        self.damage.dedup();
    }

    /// A hole between points that were dropped on purpose is none.
    fn name_holes(&mut self, listed: &[Listed]) {
        let dropped: Vec<Sequence> = listed
            .iter()
            .filter(|backup| backup.word.state == "deleted")
            .filter_map(|backup| backup.word.backup.content.as_ref().map(|content| content.sequence))
            .collect();
        for timeline in &self.timelines {
            let folder = ObjectPath::journal_folder(&self.department, timeline.timeline);
            for (after, known) in timeline.lineage.holes() {
                if dropped.iter().any(|sequence| after <= *sequence && *sequence <= known) {
                    continue;
                }
                let (from, to) = (after.0 + 1, known.0);
                let reason = format!("no segment here has the changes {from} to {to}, or leads on from {}", after.0);
                self.damage.push(Damage::new(&folder, reason));
            }
        }
    }

    fn missing(&self, content: &BackupContent) -> Vec<Damage> {
        let of = self.timelines.iter().find(|timeline| timeline.timeline == content.timeline);
        let seen = of.and_then(|timeline| {
            let seen = timeline.snapshots.iter().find(|seen| seen.path.as_str() == content.base.snapshot);
            seen.map(|seen| (timeline, seen))
        });
        let Some((timeline, seen)) = seen else {
            return vec![Damage::new(&content.base.snapshot, "the manifest is missing or damaged")];
        };
        if seen.records != content.base.records || seen.root != content.base.root {
            return vec![Damage::new(&content.base.snapshot, "it is not the snapshot that the word tells of")];
        }
        let mut missing = seen.missing.clone();
        let (from, to) = (seen.base.point, Point::from(content));
        if from != to && !timeline.lineage.leads(&from, &to) {
            let folder = ObjectPath::journal_folder(&self.department, timeline.timeline);
            let reached = timeline.lineage.reach(&from);
            let reason = if reached >= to.sequence {
                format!("another history leads to sequence {}", to.sequence.0)
            } else {
                format!(
                    "after sequence {} no segment has the next change; it needs those up to {}",
                    reached.0, to.sequence.0
                )
            };
            missing.push(Damage::new(&folder, reason));
        }
        missing
    }

    /// The timeline whose history counts, and its newest point: the highest (epoch, timeline, sequence).
    pub fn newest(&self) -> Option<(&TimelineVault, &Node)> {
        let tips = self.timelines.iter().filter_map(|timeline| Some((timeline, timeline.lineage.tip()?)));
        tips.max_by_key(|(timeline, tip)| (tip.epoch, timeline.timeline, tip.point.sequence))
    }

    /// What the targets tell of and do not have, in words.
    pub fn losses(&self) -> Vec<String> {
        let reached = self.newest().map_or(Sequence(0), |(_, tip)| tip.point.sequence);
        let mut losses = Vec::new();
        if self.sequence > reached {
            losses.push(format!(
                "of {} there are changes up to {} here, and the journal leads only to {}",
                self.department, self.sequence.0, reached.0
            ));
        }
        let damaged = self.backups.iter().filter(|backup| !backup.missing.is_empty()).count();
        if damaged > 0 {
            losses.push(format!("of {} there are {damaged} backups whose objects are not all here", self.department));
        }
        losses
    }

    /// One timeline.
    pub fn of(&self, timeline: Timeline) -> Option<&TimelineVault> {
        self.timelines.iter().find(|known| known.timeline == timeline)
    }

    /// One backup.
    pub fn backup(&self, id: &BackupId) -> Option<&Listed> {
        self.backups.iter().find(|backup| backup.word.backup.id == *id)
    }

    /// The chain at the newest point; that of the empty beginning where there is none.
    pub fn chain(&self) -> Chain {
        self.newest().map_or(Chain::GENESIS, |(_, tip)| tip.point.chain)
    }
}
