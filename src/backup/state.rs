//! The state of a department at a sequence: a snapshot, and the changes after it folded over it, as one sorted stream.
//!
//! Rule: memory is bounded by chunks and by what a fold may hold, never by the department or by its changes.

use std::sync::Arc;

use futures::{Stream, StreamExt};

use crate::domain::backup::BackupContent;
use crate::domain::ids::{DepartmentName, UserId};
use crate::domain::user::User;
use crate::targets::Targets;
use crate::targets::layout::ObjectPath;

use super::fold::{FoldError, Folded, Folding, Left};
use super::journal_read::{JournalPlace, JournalReader, Point};
use super::manifest::ChunkRef;
use super::overlay::{BasePiece, Overlay};
use super::{BackupError, Repository, Snapshot};

/// The state at a point. Clones share it.
#[derive(Debug, Clone)]
pub struct State {
    base: Option<Snapshot>,
    /// What the changes after the base leave of each user that they touch.
    folded: Arc<Folded>,
    /// Where the changes came from.
    journal: Arc<str>,
}

/// A part of a state, in the order of ids.
#[derive(Debug)]
pub enum Piece {
    /// A chunk of the base that no change touches; it was not read.
    Untouched(ChunkRef),
    /// Records.
    Users(Vec<User>),
}

impl From<Snapshot> for State {
    fn from(base: Snapshot) -> Self {
        Self { base: Some(base), folded: Arc::default(), journal: Arc::default() }
    }
}

impl State {
    /// The state without any record.
    pub fn empty() -> Self {
        Self { base: None, folded: Arc::default(), journal: Arc::default() }
    }

    /// The state that a complete backup stands for.
    ///
    /// # Errors
    /// When its snapshot or the journal after it cannot be read and verified.
    pub async fn of_backup(
        repository: &Repository,
        targets: &Targets,
        department: &DepartmentName,
        content: &BackupContent,
    ) -> Result<Self, BackupError> {
        let path = ObjectPath::from_stored(content.base.snapshot.clone());
        let snapshot = Snapshot::open(repository, targets, &path).await?;
        let (from, to) = (snapshot.manifest().point(), Point::from(content));
        let place = JournalPlace::new(repository, targets.clone(), department, content.timeline);
        Self::at(place, Some((snapshot, from)), to).await
    }

    /// The state at a point: the base, or the empty beginning of the history, and every change up to the point.
    ///
    /// # Errors
    /// When the journal cannot be read, or does not lead from the base to the point.
    pub async fn at(place: JournalPlace, base: Option<(Snapshot, Point)>, to: Point) -> Result<Self, BackupError> {
        Self::along(place, base, to, &[]).await
    }

    /// The same where several histories may lie beside each other: by the one that passes these points.
    ///
    /// # Errors
    /// As `at`.
    pub async fn along(
        place: JournalPlace,
        base: Option<(Snapshot, Point)>,
        to: Point,
        way: &[Point],
    ) -> Result<Self, BackupError> {
        let (base, from) = match base {
            Some((snapshot, point)) => (Some(snapshot), point),
            None => (None, Point::BEGINNING),
        };
        let journal: Arc<str> = ObjectPath::journal_folder(&place.department, place.timeline).into();
        let mut folding = Folding::new(&place.repository);
        let mut reader = JournalReader::open(place, from, to).await?.along(way);
        let unreadable = |error| unreadable(&journal, error);
        let mut next = reader.next().await?;
        while let Some(changes) = next {
            // The next segment is opened while this one is folded.
            let (folded, read) = tokio::join!(folding.add(changes), reader.next());
            folded.map_err(unreadable)?;
            next = read?;
        }
        let folded = Arc::new(folding.finish().await.map_err(unreadable)?);
        Ok(Self { base, folded, journal })
    }

    /// One user.
    ///
    /// # Errors
    /// When what holds it cannot be read and verified.
    pub async fn user(&self, id: &UserId) -> Result<Option<User>, BackupError> {
        let left = self.folded.get(id).await.map_err(|error| unreadable(&self.journal, error))?;
        let before = match (&left, &self.base) {
            (left, Some(base)) if left.as_ref().is_none_or(Left::needs_before) => base.user(id).await?,
            _ => None,
        };
        match left {
            Some(left) => left.over(before).map_err(|at| unreadable(&self.journal, at.into())),
            None => Ok(before),
        }
    }

    /// Bytes that the changes after the snapshot take in memory, roughly.
    pub fn weight(&self) -> usize {
        self.folded.weight()
    }

    /// The snapshot that it begins with.
    pub(super) fn base(&self) -> Option<&Snapshot> {
        self.base.as_ref()
    }

    /// What the changes after the snapshot left.
    pub(super) fn folded(&self) -> &Arc<Folded> {
        &self.folded
    }

    /// Where the changes came from.
    pub(super) fn journal(&self) -> &str {
        &self.journal
    }

    /// The chunks of the snapshot that it begins with.
    pub fn chunks(&self) -> &[ChunkRef] {
        self.base.as_ref().map_or(&[], |base| &base.manifest().chunks)
    }

    /// Whether a change after the snapshot may lie in the range of one of its chunks.
    pub fn touches(&self, chunk: &ChunkRef) -> bool {
        match (chunk.first.parse::<UserId>(), chunk.last.parse::<UserId>()) {
            (Ok(first), Ok(last)) => self.folded.touches_from(&first, &last),
            _ => true,
        }
    }

    /// The records after an id (exclusive), or all, sorted by id.
    pub fn users(&self, after: Option<UserId>) -> impl Stream<Item = Result<Vec<User>, BackupError>> + Send + use<> {
        self.users_of(after, &|_| true)
    }

    /// The same, without the chunks that the caller does not need. A chunk that a change touches is needed.
    pub fn users_of(
        &self,
        after: Option<UserId>,
        needed: &dyn Fn(&ChunkRef) -> bool,
    ) -> impl Stream<Item = Result<Vec<User>, BackupError>> + Send + use<> {
        let base = match &self.base {
            Some(base) => base.users_of(after.clone(), needed).map(|batch| batch.map(BasePiece::Users)).boxed(),
            None => futures::stream::empty().boxed(),
        };
        let overlay = Overlay::new(base, self.folded.read(after), &self.journal);
        overlay.stream().map(|piece| {
            piece.map(|piece| match piece {
                Piece::Users(users) => users,
                // None was asked for.
                Piece::Untouched(_) => Vec::new(),
            })
        })
    }

    /// Everything, sorted by id; chunks of the base that no change touches come as they are, unread.
    pub fn pieces(&self) -> impl Stream<Item = Result<Piece, BackupError>> + Send + use<> {
        let base = match &self.base {
            Some(base) => {
                let mut before: Option<UserId> = None;
                let mut touched = Vec::new();
                for chunk in &base.manifest().chunks {
                    let last: Option<UserId> = chunk.last.parse().ok();
                    touched.push(last.as_ref().is_none_or(|last| self.folded.touches(before.as_ref(), last)));
                    before = last;
                }
                base.pieces(&touched).boxed()
            }
            None => futures::stream::empty().boxed(),
        };
        Overlay::new(base, self.folded.read(None), &self.journal).stream()
    }
}

/// A foreign write that left no valid record makes the state unreadable from there on: never as if it had been deleted.
pub(super) fn unreadable(journal: &str, error: FoldError) -> BackupError {
    match error {
        FoldError::Unreadable(at) => BackupError::Damaged {
            path: journal.to_owned(),
            reason: format!("sequence {}: a foreign write left no valid record", at.0.0),
        },
        FoldError::Backup(error) => error,
    }
}
