//! Two states that begin with the same snapshot: only users that the changes of either touch can differ, so each chunk is
//! read once, for those alone, and a chunk that none touches is not read.

use std::collections::VecDeque;

use super::fold::{FoldedReader, Left};
use super::state::{State, unreadable};
use super::{BackupError, Snapshot};
use crate::domain::ids::UserId;
use crate::domain::user::User;

/// Entries that are read at once.
const BATCH: usize = 1000;
/// Users that are looked up in a chunk at once.
const LOOKED_UP: usize = 8192;

/// What changes left, one user at a time.
struct Entries {
    reader: FoldedReader,
    ahead: VecDeque<(UserId, Left)>,
    ended: bool,
    journal: String,
}

impl Entries {
    fn of(state: &State, after: Option<&UserId>) -> Self {
        let reader = state.folded().read(after.cloned());
        Self { reader, ahead: VecDeque::new(), ended: false, journal: state.journal().to_owned() }
    }

    async fn peek(&mut self) -> Result<Option<&UserId>, BackupError> {
        if self.ahead.is_empty() && !self.ended {
            let taken = self.reader.take(None, BATCH).await;
            let taken = taken.map_err(|error| unreadable(&self.journal, error))?;
            self.ended = taken.len() < BATCH;
            self.ahead = taken.into();
        }
        Ok(self.ahead.front().map(|(id, _)| id))
    }

    /// Takes the next entry if it is of this user.
    fn take(&mut self, id: &UserId) -> Option<Left> {
        self.ahead.pop_front_if(|(next, _)| next == id).map(|(_, left)| left)
    }

    /// The record of a user: what was left of it, or what the base has.
    fn record(&self, left: Option<Left>, base: Option<User>) -> Result<Option<User>, BackupError> {
        match left {
            Some(left) => left.over(base).map_err(|at| unreadable(&self.journal, at.into())),
            None => Ok(base),
        }
    }
}

/// A user that the changes of one side touch, or of both.
struct Touched {
    id: UserId,
    wanted: Option<Left>,
    live: Option<Left>,
}

/// The merge of two states with the same base.
pub(super) struct SharedBase {
    base: Snapshot,
    /// The chunk that the next user may be in.
    chunk: usize,
    wanted: Entries,
    live: Entries,
    /// Touched users on both sides, the next one first.
    pub(super) ready: VecDeque<(Option<User>, Option<User>)>,
    /// Users of the base that the changes of either side touch.
    touched: u64,
}

impl SharedBase {
    /// Begins after an id, or at the first one; absent when the states do not begin with the same snapshot.
    pub(super) fn of(wanted: &State, live: &State, after: Option<&UserId>) -> Option<Self> {
        let (base, other) = (wanted.base()?, live.base()?);
        if base.manifest().chunks != other.manifest().chunks {
            return None;
        }
        let chunks = &base.manifest().chunks;
        let chunk = chunks.partition_point(|chunk| after.is_some_and(|after| chunk.last.as_str() <= after.as_str()));
        Some(Self {
            base: base.clone(),
            chunk,
            wanted: Entries::of(wanted, after),
            live: Entries::of(live, after),
            ready: VecDeque::new(),
            touched: 0,
        })
    }

    /// Records of the base that neither side touches; complete at the end.
    pub(super) fn untouched(&self) -> u64 {
        self.base.manifest().records.saturating_sub(self.touched)
    }

    /// Makes the next touched users ready; none at the end.
    pub(super) async fn read_on(&mut self) -> Result<(), BackupError> {
        let touched = self.next_touched().await?;
        let ids = touched.iter().map(|touched| touched.id.clone()).collect();
        let found = match self.base.manifest().chunks.get(self.chunk) {
            Some(chunk) if !touched.is_empty() => self.base.records_of(chunk, ids).await?,
            _ => vec![None; touched.len()],
        };
        for (Touched { wanted, live, .. }, base) in touched.into_iter().zip(found) {
            self.touched += u64::from(base.is_some());
            let wanted = self.wanted.record(wanted, base.clone())?;
            self.ready.push_back((wanted, self.live.record(live, base)?));
        }
        Ok(())
    }

    /// Touched users of one chunk; those between two chunks count to the later one.
    async fn next_touched(&mut self) -> Result<Vec<Touched>, BackupError> {
        let mut touched = Vec::new();
        while touched.len() < LOOKED_UP {
            let id = match (self.wanted.peek().await?, self.live.peek().await?) {
                (Some(one), Some(other)) => one.min(other).clone(),
                (Some(id), None) | (None, Some(id)) => id.clone(),
                (None, None) => break,
            };
            let chunks = &self.base.manifest().chunks;
            if chunks.get(self.chunk).is_some_and(|chunk| chunk.last.as_str() < id.as_str()) {
                if !touched.is_empty() {
                    break;
                }
                self.chunk = chunks.partition_point(|chunk| chunk.last.as_str() < id.as_str());
            }
            let (wanted, live) = (self.wanted.take(&id), self.live.take(&id));
            touched.push(Touched { id, wanted, live });
        }
        Ok(touched)
    }
}
