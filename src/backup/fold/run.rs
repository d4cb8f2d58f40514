//! A sorted run of what changes left, on a scratch file, in blocks that are found by id.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::scratch::{Extent, Scratch};
use super::{Left, What};
use crate::backup::chain::{change_line, parse_change};
use crate::backup::seal::damaged;
use crate::backup::{BackupError, Repository};
use crate::domain::history::{Change, Sequence};
use crate::domain::ids::UserId;
use crate::targets::layout::ObjectPath;

/// Entries of a block.
const BLOCK: usize = 512;

/// A sorted run.
#[derive(Debug)]
pub(in crate::backup) struct Run {
    scratch: Arc<Scratch>,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    first: UserId,
    last: UserId,
    extent: Extent,
}

impl Run {
    /// Writes entries, sorted as they are.
    pub(super) fn write(scratch: Arc<Scratch>, entries: BTreeMap<UserId, Left>) -> Result<Self, BackupError> {
        let mut blocks = Vec::new();
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let (mut plain, mut first, mut last) = (Vec::new(), None, None);
            for (id, left) in entries.by_ref().take(BLOCK) {
                write_entry(&mut plain, &id, left);
                first.get_or_insert_with(|| id.clone());
                last = Some(id);
            }
            if let (Some(first), Some(last)) = (first, last) {
                blocks.push(Block { first, last, extent: scratch.append(&plain)? });
            }
        }
        Ok(Self { scratch, blocks })
    }

    /// Whether a block overlaps the ids after one up to another.
    pub(super) fn touches(&self, after: Option<&UserId>, through: &UserId) -> bool {
        let from = self.blocks.partition_point(|block| after.is_some_and(|after| block.last <= *after));
        self.blocks.get(from).is_some_and(|block| block.first <= *through)
    }

    /// The same from an id on, that id included.
    pub(super) fn touches_from(&self, first: &UserId, through: &UserId) -> bool {
        let from = self.blocks.partition_point(|block| block.last < *first);
        self.blocks.get(from).is_some_and(|block| block.first <= *through)
    }

    /// The entry of one user.
    pub(super) async fn find(&self, repository: &Repository, id: &UserId) -> Result<Option<Left>, BackupError> {
        let at = self.blocks.partition_point(|block| block.last < *id);
        let Some(block) = self.blocks.get(at).filter(|block| block.first <= *id) else { return Ok(None) };
        let (scratch, extent) = (Arc::clone(&self.scratch), block.extent);
        let entries = repository.busy(move || read_entries(&scratch.read(extent)?)).await?;
        Ok(entries.into_iter().find(|(other, _)| other == id).map(|(_, left)| left))
    }

    /// Bytes that it takes in memory, roughly.
    pub(super) fn weight(&self) -> usize {
        const EACH: usize = 192;
        self.blocks.len() * EACH
    }
}

/// One line for a put or a delete, one for each foreign write.
fn write_entry(plain: &mut Vec<u8>, id: &UserId, left: Left) {
    let mut line = |sequence, change: &Change| {
        plain.extend_from_slice(&change_line(sequence, left.time, change));
        plain.push(b'\n');
    };
    match left.what {
        What::Put(user) => line(Sequence(0), &Change::Put(user)),
        What::Deleted => line(Sequence(0), &Change::Delete(id.clone())),
        What::Patched(patches) => {
            for (sequence, update) in patches {
                line(sequence, &Change::Patch(id.clone(), update));
            }
        }
    }
}

fn read_entries(plain: &[u8]) -> Result<VecDeque<(UserId, Left)>, BackupError> {
    let mut entries: VecDeque<(UserId, Left)> = VecDeque::with_capacity(BLOCK);
    for line in plain.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let numbered = parse_change(line).map_err(|reason| {
            let path = ObjectPath::from_stored("a scratch file".to_owned());
            damaged(&path, &reason)
        })?;
        let (id, left) = Left::of(numbered);
        match (entries.back_mut(), left.what) {
            (Some((last, Left { what: What::Patched(before), .. })), What::Patched(more)) if *last == id => {
                before.extend(more);
            }
            (_, what) => entries.push_back((id, Left { what, ..left })),
        }
    }
    Ok(entries)
}

/// Reads a run, a block at a time.
#[derive(Debug)]
pub(super) struct RunReader {
    repository: Repository,
    run: Arc<Run>,
    next: usize,
    entries: VecDeque<(UserId, Left)>,
    after: Option<UserId>,
}

impl RunReader {
    pub(super) fn new(repository: &Repository, run: &Arc<Run>, after: Option<&UserId>) -> Self {
        let next = run.blocks.partition_point(|block| after.is_some_and(|after| block.last <= *after));
        let (repository, run, after) = (repository.clone(), Arc::clone(run), after.cloned());
        Self { repository, run, next, entries: VecDeque::new(), after }
    }

    /// The id of the next entry.
    pub(super) async fn peek(&mut self) -> Result<Option<&UserId>, BackupError> {
        while self.entries.is_empty() {
            let Some(block) = self.run.blocks.get(self.next) else { return Ok(None) };
            self.next += 1;
            let (scratch, extent) = (Arc::clone(&self.run.scratch), block.extent);
            self.entries = self.repository.busy(move || read_entries(&scratch.read(extent)?)).await?;
            if let Some(after) = self.after.take() {
                self.entries.retain(|(id, _)| *id > after);
            }
        }
        Ok(self.entries.front().map(|(id, _)| id))
    }

    /// Takes the entry that was looked at.
    pub(super) fn next(&mut self) -> Option<Left> {
        self.entries.pop_front().map(|(_, left)| left)
    }
}
