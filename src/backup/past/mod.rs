//! Reads the past: where a moment lies in a department's history, what a user was then, how a user came to be what it is,
//! and the whole department at a moment.
//!
//! Rules: it is no leader work, any replica reads the targets; nothing is believed that the chain does not lead to from a
//! complete backup or from the empty beginning; every cache is bounded in bytes.

mod caches;
mod indexed;
mod user;
mod walk;

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::domain::backup::{BackupContent, Base};
use crate::domain::clock::Timestamp;
use crate::domain::history::{Sequence, Timeline};
use crate::domain::ids::DepartmentName;
use crate::domain::window::{Moment, Outside, Place, Stretch};
use crate::store::{Store, StoreError};
use crate::targets::Targets;
use crate::targets::layout::ObjectPath;

use super::journal_read::{JournalPlace, Point};
use super::seal::damaged;
use super::state::State;
use super::{BackupError, Repository, Snapshot};
use caches::Caches;

pub use user::{Version, VersionKind};

/// Reads the past of every department. Clones share the caches.
#[derive(Debug, Clone)]
pub struct Past {
    store: Store,
    targets: Targets,
    repository: Arc<OnceCell<Repository>>,
    caches: Arc<Caches>,
}

/// A point of a department's history that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastPoint {
    /// The department.
    pub department: DepartmentName,
    /// The line of history.
    pub timeline: Timeline,
    /// The sequence, and the chain there.
    pub point: Point,
    /// The department's time at that sequence.
    pub time: Timestamp,
    /// The snapshot to begin with; absent where the history is read from its empty beginning.
    pub base: Option<Base>,
}

impl PastPoint {
    /// The point that a complete backup stands for.
    pub fn of_backup(department: &DepartmentName, content: &BackupContent) -> Self {
        Self {
            department: department.clone(),
            timeline: content.timeline,
            point: Point::from(content),
            time: content.taken_at,
            base: Some(content.base.clone()),
        }
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        Place { timeline: self.timeline, sequence: self.point.sequence, time: self.time }
    }
}

/// Why the past cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The moment is not in the recovery window.
    #[error("the moment is not in the recovery window")]
    Outside(Outside),
    /// The repository is not open yet.
    #[error("the repository of backups is not open yet")]
    NotOpen,
    /// No target gives a good copy of what is needed, or MongoDB does not answer.
    #[error(transparent)]
    Backup(#[from] BackupError),
}

impl From<StoreError> for PastError {
    fn from(error: StoreError) -> Self {
        Self::Backup(error.into())
    }
}

impl Past {
    /// A reader with empty caches.
    pub fn new(store: Store, targets: Targets, repository: Arc<OnceCell<Repository>>) -> Self {
        Self { store, targets, repository, caches: Arc::default() }
    }

    /// Where a moment lies in the history of a department: at the last change up to it.
    ///
    /// # Errors
    /// `Outside` with the nearest places; when MongoDB or the targets do not answer.
    pub async fn locate(&self, department: &DepartmentName, moment: Moment) -> Result<PastPoint, PastError> {
        self.with_fresh_names(department, || Box::pin(self.locate_now(department, moment))).await
    }

    async fn locate_now(&self, department: &DepartmentName, moment: Moment) -> Result<PastPoint, PastError> {
        let stretch = self.store.windows.get(department).await?.admit(moment).map_err(PastError::Outside)?;
        let start = self.start(department, &stretch, moment).await?;
        let through = match moment {
            Moment::Sequence(sequence) => sequence,
            Moment::Time(_) => stretch.through.sequence,
        };
        if start.point.sequence >= through {
            return Ok(start);
        }
        let place = self.place(department, stretch.from.timeline)?;
        let until = match moment {
            Moment::Time(at) => Some(at),
            Moment::Sequence(_) => None,
        };
        let runs = self.runs(&place, start.point, through, until).await?;
        let last_of = |run: &walk::Run| match moment {
            Moment::Sequence(sequence) => {
                let sequence = sequence.min(run.segment.last);
                run.segment.time(sequence).map(|time| (sequence, time))
            }
            Moment::Time(at) => run.segment.last_at(at).filter(|(sequence, _)| *sequence >= run.from),
        };
        // The last run may lie after the moment as a whole.
        let Some((run, (sequence, time))) = runs.iter().rev().find_map(|run| Some((run, last_of(run)?))) else {
            return Ok(start);
        };
        let chain = self.chain_at(&place, &run.segment, sequence).await?;
        Ok(PastPoint { point: Point { sequence, chain }, time, ..start })
    }

    /// The nearest point before a moment whose chain is known without reading the journal.
    async fn start(
        &self,
        department: &DepartmentName,
        stretch: &Stretch,
        moment: Moment,
    ) -> Result<PastPoint, PastError> {
        let timeline = stretch.from.timeline;
        if let Some(content) = self.store.windows.newest_at(department, timeline, moment).await? {
            return Ok(PastPoint::of_backup(department, &content));
        }
        if stretch.from.sequence != Sequence(0) {
            // Retention has taken the backup that the window begins with since the window was read.
            let after = Some(stretch.from);
            let reason = crate::domain::window::OutsideReason::BeforeWindow;
            return Err(PastError::Outside(Outside { reason, before: None, after }));
        }
        Ok(PastPoint {
            department: department.clone(),
            timeline,
            point: Point::BEGINNING,
            time: stretch.from.time,
            base: None,
        })
    }

    /// The whole department at a point.
    ///
    /// # Errors
    /// When its snapshot or the journal after it cannot be read and verified.
    pub async fn state(&self, at: &PastPoint) -> Result<State, PastError> {
        let place = self.place(&at.department, at.timeline)?;
        let key = (at.department.clone(), at.timeline, at.point.sequence);
        let opening = async {
            let base = self.base(&place, at).await?;
            Ok::<_, PastError>(State::at(place.clone(), base, at.point).await?)
        };
        self.caches.states.get_or_insert_async(&key, opening).await
    }

    async fn base(&self, place: &JournalPlace, at: &PastPoint) -> Result<Option<(Snapshot, Point)>, BackupError> {
        let Some(base) = &at.base else { return Ok(None) };
        let opening = async {
            let path = ObjectPath::from_stored(base.snapshot.clone());
            Snapshot::open(&place.repository, &place.targets, &path).await
        };
        let snapshot = self.caches.snapshots.get_or_insert_async(&base.snapshot, opening).await?;
        let point = snapshot.manifest().point();
        if point.sequence > at.point.sequence {
            let path = ObjectPath::from_stored(base.snapshot.clone());
            return Err(damaged(&path, "the snapshot is newer than what begins with it"));
        }
        Ok(Some((snapshot, point)))
    }

    fn place(&self, department: &DepartmentName, timeline: Timeline) -> Result<JournalPlace, PastError> {
        let repository = self.repository.get().ok_or(PastError::NotOpen)?;
        Ok(JournalPlace::new(repository, self.targets.clone(), department, timeline))
    }
}
