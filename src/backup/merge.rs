//! The merge of a wanted and a live state, both sorted by id, one chunk of each in memory.
//!
//! Rule: chunks that cannot matter are not read: those without a selected id, and those whose records are the same on
//! both sides.

use std::collections::{BTreeSet, HashSet};
use std::pin::Pin;
use std::vec;

use futures::{Stream, StreamExt};

use super::BackupError;
use super::known::{self, LastKnown};
use super::manifest::ChunkRef;
use super::renumber::{self, Renumber};
use super::shared_base::SharedBase;
use super::sides::Sides;
use super::state::State;
use crate::domain::ids::{DepartmentName, UserId};
use crate::domain::plan::{Compared, Noted, Security, compare, with_last_known};
use crate::domain::restore::{LockedPolicy, RestoreRequest};
use crate::domain::user::User;

type Batches = Pin<Box<dyn Stream<Item = Result<Vec<User>, BackupError>> + Send>>;

/// One side of the merge: records in the order of ids.
pub(super) struct Side {
    batches: Batches,
    records: vec::IntoIter<User>,
    /// The record that comes next.
    pub(super) next: Option<User>,
}

impl Side {
    pub(super) async fn open(
        state: &State,
        after: Option<UserId>,
        needed: &(dyn Fn(&ChunkRef) -> bool + Sync),
    ) -> Result<Self, BackupError> {
        Self::over(state.users_of(after, needed)).await
    }

    /// A side of any records, in batches that are sorted by id.
    pub(super) async fn over(
        batches: impl Stream<Item = Result<Vec<User>, BackupError>> + Send + 'static,
    ) -> Result<Self, BackupError> {
        let mut side = Self { batches: Box::pin(batches), records: Vec::new().into_iter(), next: None };
        side.advance().await?;
        Ok(side)
    }

    /// Gives the next record and goes on to the one after it.
    pub(super) async fn advance(&mut self) -> Result<Option<User>, BackupError> {
        let next = loop {
            if let Some(user) = self.records.next() {
                break Some(user);
            }
            match self.batches.next().await {
                Some(batch) => self.records = batch?.into_iter(),
                None => break None,
            }
        };
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// The record with an id, passing over all before it.
    pub(super) async fn take(&mut self, id: &UserId) -> Result<Option<User>, BackupError> {
        while self.next.as_ref().is_some_and(|user| user.id < *id) {
            self.advance().await?;
        }
        if self.next.as_ref().is_some_and(|user| user.id == *id) { self.advance().await } else { Ok(None) }
    }
}

/// Both sides of the merge.
enum Pair {
    /// Each read by itself.
    Apart(Box<(Side, Side)>),
    /// They begin with the same snapshot, and only what was touched since can differ.
    Shared(Box<SharedBase>),
}

/// The merge of a wanted and a live state under a request.
pub struct Merge {
    pair: Pair,
    request: RestoreRequest,
    selected: Option<BTreeSet<UserId>>,
    /// The department that gets the records.
    into: DepartmentName,
    renumber: Option<renumber::Reader>,
    known: Option<known::Reader>,
    /// Records of the chunks that both sides share, which are not read.
    shared_records: u64,
    /// Selected ids that the wanted side has not shown so far.
    pub(super) missing: BTreeSet<UserId>,
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge").field("request", &self.request).finish_non_exhaustive()
    }
}

impl Merge {
    /// Begins after an id, or at the first one.
    ///
    /// # Errors
    /// When a chunk of either state cannot be read and verified.
    pub(super) async fn open(wanted: &State, sides: &Sides, after: Option<&UserId>) -> Result<Self, BackupError> {
        let Sides { live, request, .. } = sides;
        if only_differences(request)
            && request.into.is_none()
            && let Some(shared) = SharedBase::of(wanted, live, after)
        {
            return Ok(Self::over(Pair::Shared(Box::new(shared)), sides, None, 0));
        }
        let shared = shared_digests(wanted, live, request);
        let selected: Option<BTreeSet<UserId>> = request.users.as_ref().map(|ids| ids.iter().cloned().collect());
        let sorted: Option<Vec<&UserId>> = selected.as_ref().map(|ids| ids.iter().collect());
        let needed = |chunk: &ChunkRef| {
            sorted.as_ref().is_none_or(|ids| may_hold(chunk, ids)) && !shared.contains(chunk.digest.as_str())
        };
        let (wanted_side, live_side) =
            futures::try_join!(Side::open(wanted, after.cloned(), &needed), Side::open(live, after.cloned(), &needed))?;
        let chunks = wanted.chunks().iter();
        let shared_records =
            chunks.filter(|chunk| shared.contains(chunk.digest.as_str())).map(|chunk| chunk.records).sum();
        let pair = Pair::Apart(Box::new((wanted_side, live_side)));
        Ok(Self::over(pair, sides, selected, shared_records))
    }

    fn over(pair: Pair, sides: &Sides, selected: Option<BTreeSet<UserId>>, shared_records: u64) -> Self {
        Self {
            pair,
            request: sides.request.clone(),
            into: sides.into.clone(),
            renumber: sides.renumber.as_ref().map(Renumber::reader),
            known: sides.known.as_ref().map(LastKnown::reader),
            missing: selected.clone().unwrap_or_default(),
            selected,
            shared_records,
        }
    }

    /// Records that are the same on both sides and were not shown; complete at the end.
    pub(super) fn passed_over(&self) -> u64 {
        match &self.pair {
            Pair::Apart(..) => self.shared_records,
            Pair::Shared(shared) => shared.untouched(),
        }
    }

    /// What is to be done about the next id; absent at the end.
    ///
    /// # Errors
    /// When a chunk of either state cannot be read and verified.
    pub(super) async fn next(&mut self) -> Result<Option<Compared>, BackupError> {
        loop {
            let Some((wanted, live, noted)) = self.pair().await? else { return Ok(None) };
            if let (Some(selected), Some(user)) = (&self.selected, wanted.as_ref().or(live.as_ref()))
                && !selected.contains(&user.id)
            {
                continue;
            }
            if let Some(wanted) = &wanted {
                self.missing.remove(&wanted.id);
            }
            let wanted = wanted.map(|user| User { department: self.into.clone(), ..user });
            return match (wanted, live) {
                (Some(wanted), None) => Ok(Some(self.created(wanted, noted).await?)),
                (wanted, live) => Ok(Some(compare(wanted, live, &self.request))),
            };
        }
    }

    /// A record that has no live one: what was last known of its user stays.
    async fn created(&mut self, mut wanted: User, noted: Option<Noted>) -> Result<Compared, BackupError> {
        let old_id = wanted.id.clone();
        let elsewhere = noted.as_ref().is_some_and(|noted| noted.elsewhere);
        let known = match (noted, &mut self.known) {
            (Some(noted), _) => noted.security,
            (None, Some(known)) => known.of(&old_id).await?.map(|(_, user)| Security::from(&user)),
            (None, None) => None,
        };
        if let Some(renumber) = self.renumber.as_ref().filter(|_| elsewhere) {
            wanted.id = renumber.new_id(&old_id);
        }
        let (wanted, kept) = match known {
            Some(known) => with_last_known(wanted, &known, &self.request),
            None => (wanted, false),
        };
        let mut compared = compare(Some(wanted), None, &self.request);
        if let Compared::Change { change, security_kept } = &mut compared {
            *security_kept |= kept;
            change.renumbered_from = elsewhere.then_some(old_id);
        }
        Ok(compared)
    }

    /// The next id that either side has, or that may differ; with what was noted of the wanted user.
    async fn pair(&mut self) -> Result<Option<(Option<User>, Option<User>, Option<Noted>)>, BackupError> {
        let (wanted, live) = match &mut self.pair {
            // Records of another department begin with another snapshot, so nothing is noted of anybody here.
            Pair::Shared(shared) => {
                if shared.ready.is_empty() {
                    Box::pin(shared.read_on()).await?;
                }
                return Ok(shared.ready.pop_front().map(|(wanted, live)| (wanted, live, None)));
            }
            Pair::Apart(sides) => (&mut sides.0, &mut sides.1),
        };
        let (take_wanted, take_live) = match (&wanted.next, &live.next) {
            (None, None) => return Ok(None),
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            (Some(wanted), Some(live)) => (wanted.id <= live.id, live.id <= wanted.id),
        };
        let noted = match (&mut self.renumber, &wanted.next) {
            (Some(renumber), Some(user)) if take_wanted => renumber.of(&user.id).await?.cloned(),
            _ => None,
        };
        let wanted = if take_wanted { wanted.advance().await? } else { None };
        // A record that gets a new id has nothing to do with a live one of the old id.
        let elsewhere = noted.as_ref().is_some_and(|noted| noted.elsewhere);
        let live = if take_live && !elsewhere { live.advance().await? } else { None };
        Ok(Some((wanted, live, noted)))
    }
}

/// Whether a record that is the same on both sides stays out of the plan.
fn only_differences(request: &RestoreRequest) -> bool {
    request.locked != LockedPolicy::Unlock && request.users.is_none()
}

/// Digests of the chunks that both sides have. Equal digests are equal records up to rev, version and `updated_at`, so
/// nothing is to be done about them, unless the request changes records that are as they were.
fn shared_digests<'a>(wanted: &'a State, live: &State, request: &RestoreRequest) -> HashSet<&'a str> {
    if !only_differences(request) {
        return HashSet::new();
    }
    let same: HashSet<&str> = live.chunks().iter().map(|chunk| chunk.digest.as_str()).collect();
    let untouched = |chunk: &&ChunkRef| !wanted.touches(chunk) && !live.touches(chunk);
    let shared = wanted.chunks().iter().filter(untouched).map(|chunk| chunk.digest.as_str());
    shared.filter(|digest| same.contains(digest)).collect()
}

/// Whether a chunk may hold one of these ids, which are sorted.
pub(super) fn may_hold(chunk: &ChunkRef, ids: &[&UserId]) -> bool {
    let first = ids.partition_point(|id| id.as_str() < chunk.first.as_str());
    ids.get(first).is_some_and(|id| id.as_str() <= chunk.last.as_str())
}
