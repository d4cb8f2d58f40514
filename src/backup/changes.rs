//! The changes of a plan, to be gone through several times: held in memory while they are few, compared again each time when
//! they are many.

use std::sync::Arc;

use super::BackupError;
use super::plan::Comparison;
use super::sides::Sides;
use crate::domain::ids::UserId;
use crate::domain::plan::PlannedChange;

/// Most changes that are held.
const HELD_MAX: usize = 20_000;

/// Changes, unless they became too many.
#[derive(Debug)]
pub(super) struct Few {
    pub(super) changes: Option<Vec<PlannedChange>>,
}

impl Default for Few {
    fn default() -> Self {
        Self { changes: Some(Vec::new()) }
    }
}

impl Few {
    pub(super) fn push(&mut self, change: PlannedChange) {
        match &mut self.changes {
            Some(changes) if changes.len() < HELD_MAX => changes.push(change),
            held => *held = None,
        }
    }
}

/// The changes between the two sides of a restore.
#[derive(Debug, Clone)]
pub struct Changes {
    sides: Sides,
    held: Option<Arc<[PlannedChange]>>,
}

impl Changes {
    /// Those of a plan; `held` are all of them, if they are few.
    pub fn new(sides: Sides, held: Option<Vec<PlannedChange>>) -> Self {
        Self { sides, held: held.map(Into::into) }
    }

    /// Those of a plan that somebody else made: compared once, and held if they are few.
    ///
    /// # Errors
    /// When a chunk of either state cannot be read and verified.
    pub async fn again(sides: Sides) -> Result<Self, BackupError> {
        let mut comparison = Comparison::open(&sides, None).await?;
        let mut few = Few::default();
        while few.changes.is_some()
            && let Some(change) = comparison.next_change().await?
        {
            few.push(change);
        }
        Ok(Self::new(sides, few.changes))
    }

    /// Goes through them in the order of ids, after an id or from the first one.
    ///
    /// # Errors
    /// When a chunk of either state cannot be read and verified.
    pub async fn after(&self, id: Option<&UserId>) -> Result<ChangeReader, BackupError> {
        let Some(held) = &self.held else {
            return Ok(ChangeReader::Compared(Comparison::open(&self.sides, id).await?));
        };
        let next = id.map_or(0, |id| held.partition_point(|change| change.key() <= id));
        Ok(ChangeReader::Held { changes: Arc::clone(held), next })
    }
}

/// Goes through changes.
#[derive(Debug)]
pub enum ChangeReader {
    /// Those held in memory.
    Held {
        /// All of them.
        changes: Arc<[PlannedChange]>,
        /// Index of the next one.
        next: usize,
    },
    /// Compared as they come.
    Compared(Comparison),
}

impl ChangeReader {
    /// The next change; absent at the end.
    ///
    /// # Errors
    /// When a chunk of either state cannot be read and verified.
    pub async fn next(&mut self) -> Result<Option<PlannedChange>, BackupError> {
        match self {
            Self::Held { changes, next } => {
                let change = changes.get(*next).cloned();
                *next += 1;
                Ok(change)
            }
            Self::Compared(comparison) => comparison.next_change().await,
        }
    }
}
