//! What a leader knows of its department's change stream: the position, the changes that are not archived yet, and the
//! marks that others wait for.
//!
//! Rule: a cut never lies inside a MongoDB transaction.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::halt::Halt;
use crate::backup::Repository;
use crate::backup::chain::change_line;
use crate::domain::clock::Timestamp;
use crate::domain::divergence::{DivergenceCause, Orphan};
use crate::domain::history::{Position, Sequence};
use crate::domain::ids::BarrierId;
use crate::store::tail::{TailEvent, TailKind};

/// Markers that are remembered; a backup asks for its own within moments.
const MARKERS_MAX: usize = 64;
/// Bytes of lines in memory, in segments, before the stream brings no more.
const SEGMENTS_WAITING_MAX: usize = 4;
/// Bytes of lines in memory, of all departments of a replica, before those that hold much of it take no more.
const ROOM: usize = 32 << 20;
/// What each department may hold then.
const FAIR_SHARE: usize = 256 << 10;
/// Longest wait for a marker: past this the stream is stuck, and the backup is tried anew.
const MARKER_WAIT_MAX: Duration = Duration::from_mins(1);

/// How far the stream has been followed.
#[derive(Debug)]
pub(super) struct Follower {
    state: Mutex<State>,
    moved: Notify,
    taken: Notify,
    room: Arc<Room>,
}

/// The bytes of lines that all departments of a replica hold in memory. Many that wait for the same dead target must not
/// hold as much each as one that waits alone.
#[derive(Debug, Default)]
pub(super) struct Room(AtomicUsize);

impl Room {
    fn enter(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn leave(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= ROOM
    }
}

#[derive(Debug)]
struct State {
    /// After the last event.
    position: Position,
    /// The last place that is not inside a transaction.
    cut: Position,
    transaction: Option<Vec<u8>>,
    /// Where the lines begin.
    begin: Position,
    /// Change lines that no archiver has taken yet.
    lines: Vec<u8>,
    /// Bytes of them up to the cut.
    cut_bytes: usize,
    markers: VecDeque<(String, Position)>,
    /// Each with the position at it.
    barriers: Vec<(BarrierId, Sequence, Timestamp)>,
    /// What the last leader left past the head, and is still to be shown by the stream.
    orphans: Vec<Orphan>,
    /// One of them that the stream contradicts.
    contradicted: Option<Orphan>,
    /// How often it was started anew.
    restarts: u64,
}

impl State {
    fn at(position: Position) -> Self {
        Self {
            cut: position.clone(),
            begin: position.clone(),
            position,
            transaction: None,
            lines: Vec::new(),
            cut_bytes: 0,
            markers: VecDeque::new(),
            barriers: Vec::new(),
            orphans: Vec::new(),
            contradicted: None,
            restarts: 0,
        }
    }

    /// Compares the orphans that end here with the chain that the stream gives.
    fn compare(&mut self) {
        let (sequence, chain) = (self.position.sequence, self.position.chain);
        let other = |orphan: &&Orphan| orphan.evidence.sequence == sequence && orphan.after != chain;
        if let Some(other) = self.orphans.iter().find(other) {
            self.contradicted.get_or_insert(other.clone());
        }
        self.orphans.retain(|orphan| orphan.evidence.sequence != sequence);
    }

    fn cut_here(&mut self) {
        self.cut = self.position.clone();
        self.cut_bytes = self.lines.len();
    }
}

/// Changes between two positions.
#[derive(Debug)]
pub(super) struct Run {
    /// Before the first of them.
    pub(super) begin: Position,
    /// After the last of them.
    pub(super) end: Position,
    /// Their lines; none when only the stream's token moved.
    pub(super) lines: Vec<u8>,
}

impl Follower {
    pub(super) fn new(position: Position, room: Arc<Room>) -> Self {
        Self { state: Mutex::new(State::at(position)), moved: Notify::new(), taken: Notify::new(), room }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the stream is now.
    pub(super) fn position(&self) -> Position {
        self.lock().position.clone()
    }

    /// The last place that is not inside a transaction.
    pub(super) fn cut(&self) -> Position {
        self.lock().cut.clone()
    }

    /// Whatever transaction was open is whole.
    pub(super) fn settle(&self) {
        let mut state = self.lock();
        state.transaction = None;
        state.cut_here();
    }

    /// Goes on from a new timeline. What was followed before has been archived.
    pub(super) fn restart(&self, position: Position) {
        {
            let mut state = self.lock();
            self.room.leave(state.lines.len());
            *state = State { restarts: state.restarts + 1, ..State::at(position) };
        }
        self.moved.notify_waiters();
        self.taken.notify_waiters();
    }

    /// How often it was started anew: positions of before and after do not belong together.
    pub(super) fn restarts(&self) -> u64 {
        self.lock().restarts
    }

    /// Takes an event in.
    pub(super) fn take_in(&self, repository: &Repository, event: &TailEvent) {
        {
            let mut state = self.lock();
            let state = &mut *state;
            if state.transaction.is_none() || state.transaction != event.transaction {
                state.cut_here();
            }
            state.transaction.clone_from(&event.transaction);
            let position = &mut state.position;
            position.token = Some(event.token.clone());
            position.cluster_time = event.cluster_time.unwrap_or(position.cluster_time);
            position.tell_time(event.wall_time, matches!(event.kind, TailKind::User(_)));
            position.balance += event.growth;
            match &event.kind {
                TailKind::User(change) => {
                    position.sequence = Sequence(position.sequence.0 + 1);
                    let line = change_line(position.sequence, position.time, change);
                    position.chain = repository.chain_after(&position.chain, &line);
                    state.lines.extend_from_slice(&line);
                    state.lines.push(b'\n');
                    self.room.enter(line.len() + 1);
                    state.compare();
                }
                TailKind::Backup { marker: Some(marker) } => {
                    state.markers.push_back((marker.clone(), position.clone()));
                    if state.markers.len() > MARKERS_MAX {
                        state.markers.pop_front();
                    }
                }
                TailKind::Barrier(id) => state.barriers.push((id.clone(), position.sequence, position.time)),
                _ => {}
            }
            if state.transaction.is_none() {
                state.cut_here();
            }
        }
        self.moved.notify_waiters();
    }

    /// What the stream is to be compared with.
    pub(super) fn expect(&self, orphans: Vec<Orphan>) {
        self.lock().orphans = orphans;
    }

    /// Waits until the stream has shown every orphan to be of this history; or the one that is not: the stream has another
    /// chain there, or passes the barrier without ever getting there.
    pub(super) async fn compared(&self, barrier: &BarrierId) -> Result<(), (DivergenceCause, Orphan)> {
        loop {
            let moved = self.moved.notified();
            {
                let state = self.lock();
                if let Some(orphan) = &state.contradicted {
                    return Err((DivergenceCause::AnotherWriter, orphan.clone()));
                }
                let Some(orphan) = state.orphans.first() else { return Ok(()) };
                if state.barriers.iter().any(|(seen, ..)| seen == barrier) {
                    return Err((DivergenceCause::MongodbRolledBack, orphan.clone()));
                }
            }
            moved.await;
        }
    }

    /// Takes everything up to the last cut, if that is further than the last time and the bytes of its lines please.
    pub(super) fn take_if(&self, pleases: impl FnOnce(usize) -> bool) -> Option<Run> {
        let mut state = self.lock();
        if state.cut.token == state.begin.token || !pleases(state.cut_bytes) {
            return None;
        }
        let cut = state.cut_bytes;
        let rest = state.lines.split_off(cut);
        let lines = std::mem::replace(&mut state.lines, rest);
        state.cut_bytes = 0;
        let end = state.cut.clone();
        let begin = std::mem::replace(&mut state.begin, end.clone());
        drop(state);
        self.room.leave(lines.len());
        self.taken.notify_waiters();
        Some(Run { begin, end, lines })
    }

    /// Bytes of lines that could be taken now.
    pub(super) fn waiting(&self) -> usize {
        self.lock().cut_bytes
    }

    /// Whether so much waits that the stream should bring no more: a slow target makes lag, and memory does not grow.
    pub(super) fn is_full(&self, segment_bytes: usize) -> bool {
        let waiting = self.waiting();
        waiting >= segment_bytes.saturating_mul(SEGMENTS_WAITING_MAX) || (self.room.is_full() && waiting >= FAIR_SHARE)
    }

    /// Waits until everything that could be taken is.
    pub(super) async fn until_taken(&self) {
        loop {
            let taken = self.taken.notified();
            if self.waiting() == 0 {
                return;
            }
            taken.await;
        }
    }

    /// Whether somebody waits for a receipt.
    pub(super) fn is_asked(&self) -> bool {
        !self.lock().barriers.is_empty()
    }

    /// Barriers whose changes are all archived, and can be read at the last certain moment.
    pub(super) fn passed(&self, archived: Sequence, certain: Timestamp) -> Vec<BarrierId> {
        let state = self.lock();
        let passed = state.barriers.iter().filter(|(_, at, time)| *at <= archived && *time <= certain);
        passed.map(|(id, ..)| id.clone()).collect()
    }

    /// Forgets barriers that have their receipt.
    pub(super) fn forget(&self, ids: &[BarrierId]) {
        self.lock().barriers.retain(|(id, ..)| !ids.contains(id));
    }

    /// The position of a marker, as soon as the stream has shown it; none after it was started anew once more than
    /// `restarts` times, since then it may never show it.
    pub(super) async fn position_of(&self, marker: &str, restarts: u64) -> Result<Position, Halt> {
        let found = async {
            loop {
                let moved = self.moved.notified();
                {
                    let state = self.lock();
                    if state.restarts != restarts {
                        return None;
                    }
                    if let Some((_, position)) = state.markers.iter().find(|(seen, _)| seen == marker) {
                        return Some(position.clone());
                    }
                }
                moved.await;
            }
        };
        match tokio::time::timeout(MARKER_WAIT_MAX, found).await {
            Ok(Some(position)) => Ok(position),
            Ok(None) => Err(Halt::Later("the history started a new timeline meanwhile".to_owned())),
            Err(_) => Err(Halt::Later("the change stream did not show the marker of the backup".to_owned())),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let held = self.lock().lines.len();
        self.room.leave(held);
    }
}
