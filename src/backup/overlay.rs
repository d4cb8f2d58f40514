//! Lays what changes left over the snapshot before them, both sorted by id, a batch at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use super::BackupError;
use super::fold::{FoldedReader, Left};
use super::manifest::ChunkRef;
use super::state::{Piece, unreadable};
use crate::domain::ids::UserId;
use crate::domain::user::User;

/// Entries of one batch.
const BATCH: usize = 1000;

/// A part of a snapshot.
#[derive(Debug)]
pub(super) enum BasePiece {
    /// A chunk that nothing that was folded touches, unread.
    Untouched(ChunkRef),
    /// The records of a chunk.
    Users(Vec<User>),
}

/// A snapshot with what changes left laid over it.
pub(super) struct Overlay {
    /// Absent once it is at its end.
    base: Option<BoxStream<'static, Result<BasePiece, BackupError>>>,
    /// Records of the base that are not merged yet, and the id of the last of them.
    records: VecDeque<User>,
    bound: Option<UserId>,
    folded: FoldedReader,
    journal: Arc<str>,
}

impl Overlay {
    pub(super) fn new(
        base: BoxStream<'static, Result<BasePiece, BackupError>>,
        folded: FoldedReader,
        journal: &Arc<str>,
    ) -> Self {
        Self { base: Some(base), records: VecDeque::new(), bound: None, folded, journal: Arc::clone(journal) }
    }

    /// Everything, in the order of ids.
    pub(super) fn stream(self) -> impl Stream<Item = Result<Piece, BackupError>> + Send + use<> {
        futures::stream::try_unfold(self, |mut overlay| async move {
            let piece = overlay.next().await?;
            Ok(piece.map(|piece| (piece, overlay)))
        })
    }

    async fn next(&mut self) -> Result<Option<Piece>, BackupError> {
        loop {
            while self.records.is_empty()
                && let Some(base) = &mut self.base
            {
                match base.next().await.transpose()? {
                    Some(BasePiece::Untouched(chunk)) => return Ok(Some(Piece::Untouched(chunk))),
                    Some(BasePiece::Users(users)) => {
                        self.bound = users.last().map(|user| user.id.clone());
                        self.records = users.into();
                    }
                    None => {
                        self.base = None;
                        self.bound = None;
                    }
                }
            }
            let taken = self.folded.take(self.bound.as_ref(), BATCH).await;
            let entries = taken.map_err(|error| unreadable(&self.journal, error))?;
            if entries.is_empty() && self.base.is_none() && self.records.is_empty() {
                return Ok(None);
            }
            let users = self.merged(entries)?;
            if !users.is_empty() {
                return Ok(Some(Piece::Users(users)));
            }
        }
    }

    /// Merges entries with the records up to the last of them, or with all records when there are no more entries among
    /// them.
    fn merged(&mut self, entries: Vec<(UserId, Left)>) -> Result<Vec<User>, BackupError> {
        let whole = entries.len() < BATCH;
        let mut users = Vec::with_capacity(entries.len() + if whole { self.records.len() } else { 0 });
        for (id, left) in entries {
            while self.records.front().is_some_and(|user| user.id < id) {
                users.extend(self.records.pop_front());
            }
            let before =
                if self.records.front().is_some_and(|user| user.id == id) { self.records.pop_front() } else { None };
            users.extend(left.over(before).map_err(|at| unreadable(&self.journal, at.into()))?);
        }
        if whole {
            users.extend(self.records.drain(..));
        }
        Ok(users)
    }
}
