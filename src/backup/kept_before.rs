//! What backups know that retention has kept from before the recovery window, where the journal is gone.
//!
//! Rules: the newest backup that has a user counts; what came and went between two backups nobody knows any more. It is read
//! in pieces, a chunk of the wanted state each: of every backup what lies in the piece, each chunk once.

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::Arc;

use futures::TryStreamExt;

use super::manifest::ChunkRef;
use super::state::State;
use super::{BackupError, Repository};
use crate::domain::backup::BackupContent;
use crate::domain::ids::{DepartmentName, UserId};
use crate::domain::user::User;
use crate::targets::Targets;

/// Bytes of states that stay open; the others are opened again for each piece.
const OPEN_MAX: usize = 32 * 1024 * 1024;
/// Bytes that a chunk takes in an open state, roughly.
const CHUNK_WEIGHT: usize = 400;

/// Backups from between the wanted point and the recovery window. Clones share them.
#[derive(Debug, Clone)]
pub struct KeptBefore {
    /// The repository.
    pub repository: Repository,
    /// Where they lie.
    pub targets: Targets,
    /// Whose backups they are.
    pub department: DepartmentName,
    /// The state whose users are asked for.
    pub wanted: State,
    /// The backups, newest first.
    pub backups: Arc<[BackupContent]>,
}

impl KeptBefore {
    /// Goes through the users of the wanted state, who have to be asked for in the order of their ids.
    pub(super) fn reader(&self) -> Reader {
        let open = vec![None; self.backups.len()];
        Reader { kept: self.clone(), open, room: OPEN_MAX, piece: None, held: BTreeMap::new() }
    }
}

/// The ids after the first and up to the second one.
#[derive(Debug)]
struct Piece {
    after: Option<UserId>,
    through: Option<UserId>,
}

impl Piece {
    fn ends_before(&self, id: &UserId) -> bool {
        self.through.as_ref().is_some_and(|through| through < id)
    }

    fn may_share(&self, chunk: &ChunkRef) -> bool {
        let begins = self.after.as_ref().is_none_or(|after| chunk.last.as_str() > after.as_str());
        begins && self.through.as_ref().is_none_or(|through| chunk.first.as_str() <= through.as_str())
    }
}

/// Goes through the users that kept backups know.
pub(super) struct Reader {
    kept: KeptBefore,
    open: Vec<Option<State>>,
    /// Bytes of states that may still be kept open.
    room: usize,
    /// Absent before anything was read.
    piece: Option<Piece>,
    /// The wanted users of the piece, each with its newest record.
    held: BTreeMap<UserId, Option<User>>,
}

impl Reader {
    /// The newest record that a kept backup has of a wanted user.
    pub(super) async fn of(&mut self, id: &UserId) -> Result<Option<User>, BackupError> {
        if self.piece.as_ref().is_none_or(|piece| piece.ends_before(id)) {
            self.load(id).await?;
        }
        Ok(self.held.get(id).cloned().flatten())
    }

    async fn load(&mut self, id: &UserId) -> Result<(), BackupError> {
        let chunks = self.kept.wanted.chunks();
        let at = chunks.partition_point(|chunk| chunk.last.as_str() < id.as_str());
        let last = |chunk: &ChunkRef| chunk.last.parse::<UserId>().ok();
        let after = at.checked_sub(1).and_then(|before| chunks.get(before)).and_then(last);
        let piece = Piece { after, through: chunks.get(at).and_then(last) };
        self.held.clear();
        let wanted = self.kept.wanted.clone();
        let held = &mut self.held;
        read(&wanted, &piece, &HashSet::new(), |user| drop(held.insert(user.id, None))).await?;
        let mut seen = HashSet::new();
        for number in 0..self.open.len() {
            let state = self.state(number).await?;
            let held = &mut self.held;
            let found = |user: User| {
                if let Some(newest @ None) = held.get_mut(&user.id) {
                    *newest = Some(user);
                }
            };
            read(&state, &piece, &seen, found).await?;
            let shared = state.chunks().iter().filter(|chunk| piece.may_share(chunk) && !state.touches(chunk));
            seen.extend(shared.map(|chunk| chunk.object.clone()));
        }
        self.piece = Some(piece);
        Ok(())
    }

    async fn state(&mut self, number: usize) -> Result<State, BackupError> {
        if let Some(Some(state)) = self.open.get(number) {
            return Ok(state.clone());
        }
        let KeptBefore { repository, targets, department, backups, .. } = &self.kept;
        let state = State::of_backup(repository, targets, department, &backups[number]).await?;
        let weight = state.weight() + state.chunks().len() * CHUNK_WEIGHT;
        if weight <= self.room {
            self.room -= weight;
            self.open[number] = Some(state.clone());
        }
        Ok(state)
    }
}

/// Shows the records of a state that lie in a piece, but for chunks that were seen before.
async fn read(
    state: &State,
    piece: &Piece,
    seen: &HashSet<String>,
    mut found: impl FnMut(User),
) -> Result<(), BackupError> {
    let needed = |chunk: &ChunkRef| state.touches(chunk) || (piece.may_share(chunk) && !seen.contains(&chunk.object));
    let mut batches = pin!(state.users_of(piece.after.clone(), &needed));
    while let Some(users) = batches.try_next().await? {
        for user in users {
            if piece.ends_before(&user.id) {
                return Ok(());
            }
            found(user);
        }
    }
    Ok(())
}
