//! Plans a restore: merges the wanted and the live state, both sorted by id, one chunk of each in memory.
//!
//! Rule: the plan is a pure function of two states and the request, so any replica can compute it again, and any
//! leader can go on from any id. Chunks that cannot matter are not read: those without a selected id, and those whose
//! records are the same on both sides.

use std::collections::{BTreeSet, HashSet};
use std::pin::Pin;
use std::vec;

use futures::{Stream, StreamExt};

use super::BackupError;
use super::changes::Few;
use super::manifest::ChunkRef;
use super::shared_base::SharedBase;
use super::state::State;
use crate::domain::clock::Timestamp;
use crate::domain::ids::UserId;
use crate::domain::plan::{Compared, PlannedChange, changed_fields, compare, target};
use crate::domain::restore::{Action, LockedPolicy, Plan, PlanSample, RestoreRequest};
use crate::domain::user::User;

/// Samples of each kind of change that a plan shows.
const SAMPLES_EACH: usize = 5;

type Batches = Pin<Box<dyn Stream<Item = Result<Vec<User>, BackupError>> + Send>>;

/// One side of the merge: records in the order of ids.
struct Side {
    batches: Batches,
    records: vec::IntoIter<User>,
    next: Option<User>,
}

impl Side {
    async fn open(
        state: &State,
        after: Option<UserId>,
        needed: &(dyn Fn(&ChunkRef) -> bool + Sync),
    ) -> Result<Self, BackupError> {
        let batches: Batches = Box::pin(state.users_of(after, needed));
        let mut side = Self { batches, records: Vec::new().into_iter(), next: None };
        side.advance().await?;
        Ok(side)
    }

    async fn advance(&mut self) -> Result<Option<User>, BackupError> {
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
}

/// Both sides of the merge.
enum Sides {
    /// Each read by itself.
    Apart(Box<(Side, Side)>),
    /// They begin with the same snapshot, and only what was touched since can differ.
    Shared(Box<SharedBase>),
}

impl Sides {
    /// The next id that either side has, or that may differ.
    async fn next(&mut self) -> Result<Option<(Option<User>, Option<User>)>, BackupError> {
        let (wanted, live) = match self {
            Self::Shared(shared) => {
                if shared.ready.is_empty() {
                    Box::pin(shared.read_on()).await?;
                }
                return Ok(shared.ready.pop_front());
            }
            Self::Apart(sides) => (&mut sides.0, &mut sides.1),
        };
        let (take_wanted, take_live) = match (&wanted.next, &live.next) {
            (None, None) => return Ok(None),
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            (Some(wanted), Some(live)) => (wanted.id <= live.id, live.id <= wanted.id),
        };
        let wanted = if take_wanted { wanted.advance().await? } else { None };
        let live = if take_live { live.advance().await? } else { None };
        Ok(Some((wanted, live)))
    }
}

/// The merge of a wanted and a live state under a request.
pub struct Comparison {
    sides: Sides,
    request: RestoreRequest,
    selected: Option<BTreeSet<UserId>>,
    /// Records of the chunks that both sides share, which are not read.
    shared_records: u64,
    /// Selected ids that the wanted side has not shown so far.
    missing: BTreeSet<UserId>,
}

impl std::fmt::Debug for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Comparison").field("request", &self.request).finish_non_exhaustive()
    }
}

impl Comparison {
    /// Begins after an id, or at the first one.
    ///
    /// # Errors
    /// When a chunk of either state cannot be read and verified.
    pub async fn open(
        wanted: &State,
        live: &State,
        request: &RestoreRequest,
        after: Option<&UserId>,
    ) -> Result<Self, BackupError> {
        if only_differences(request)
            && let Some(shared) = SharedBase::of(wanted, live, after)
        {
            let sides = Sides::Shared(Box::new(shared));
            let (selected, missing) = (None, BTreeSet::new());
            return Ok(Self { sides, request: request.clone(), selected, shared_records: 0, missing });
        }
        let shared = shared_digests(wanted, live, request);
        let selected: Option<BTreeSet<UserId>> = request.users.as_ref().map(|ids| ids.iter().cloned().collect());
        let sorted: Option<Vec<&UserId>> = selected.as_ref().map(|ids| ids.iter().collect());
        let needed = |chunk: &ChunkRef| {
            let holds = sorted.as_ref().is_none_or(|ids| {
                let first = ids.partition_point(|id| id.as_str() < chunk.first.as_str());
                ids.get(first).is_some_and(|id| id.as_str() <= chunk.last.as_str())
            });
            holds && !shared.contains(chunk.digest.as_str())
        };
        let (wanted_side, live_side) =
            futures::try_join!(Side::open(wanted, after.cloned(), &needed), Side::open(live, after.cloned(), &needed))?;
        let chunks = wanted.chunks().iter();
        let shared_records =
            chunks.filter(|chunk| shared.contains(chunk.digest.as_str())).map(|chunk| chunk.records).sum();
        Ok(Self {
            sides: Sides::Apart(Box::new((wanted_side, live_side))),
            request: request.clone(),
            missing: selected.clone().unwrap_or_default(),
            selected,
            shared_records,
        })
    }

    /// What is to be done about the next id; absent at the end.
    ///
    /// # Errors
    /// When a chunk of either state cannot be read and verified.
    pub async fn next(&mut self) -> Result<Option<Compared>, BackupError> {
        loop {
            let Some((wanted, live)) = self.sides.next().await? else { return Ok(None) };
            if let (Some(selected), Some(user)) = (&self.selected, wanted.as_ref().or(live.as_ref()))
                && !selected.contains(&user.id)
            {
                continue;
            }
            if let Some(wanted) = &wanted {
                self.missing.remove(&wanted.id);
            }
            return Ok(Some(compare(wanted, live, &self.request)));
        }
    }

    /// Records that are the same on both sides and were not shown; complete at the end.
    fn passed_over(&self) -> u64 {
        match &self.sides {
            Sides::Apart(..) => self.shared_records,
            Sides::Shared(shared) => shared.untouched(),
        }
    }

    /// The next change, passing over everything that stays.
    ///
    /// # Errors
    /// When a chunk of either state cannot be read and verified.
    pub async fn next_change(&mut self) -> Result<Option<PlannedChange>, BackupError> {
        while let Some(compared) = self.next().await? {
            if let Compared::Change { change, .. } = compared {
                return Ok(Some(*change));
            }
        }
        Ok(None)
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

/// Computes the plan of a restore. Gives its changes too, as long as they are few.
///
/// # Errors
/// When a chunk of either state cannot be read and verified.
pub async fn plan(
    wanted: &State,
    live: &State,
    request: &RestoreRequest,
    now: Timestamp,
) -> Result<(Plan, Option<Vec<PlannedChange>>), BackupError> {
    let mut plan = Plan {
        creates: 0,
        updates: 0,
        deletes: 0,
        renames: 0,
        unchanged: 0,
        security_kept: 0,
        missing_users: Vec::new(),
        hash: String::new(),
        samples: Vec::new(),
        computed_at: now,
    };
    let mut hasher = blake3::Hasher::new_derive_key("rollkeeper 2026 restore plan");
    let mut comparison = Comparison::open(wanted, live, request, None).await?;
    let mut few = Few::default();
    while let Some(compared) = comparison.next().await? {
        match compared {
            Compared::Outside => {}
            Compared::Unchanged { security_kept } => {
                plan.unchanged += 1;
                plan.security_kept += u64::from(security_kept);
            }
            Compared::Change { change, security_kept } => {
                plan.security_kept += u64::from(security_kept);
                count(&mut plan, &change, request);
                change.digest_into(request, &mut |bytes| {
                    hasher.update(bytes);
                });
                few.push(*change);
            }
        }
    }
    plan.unchanged += comparison.passed_over();
    plan.missing_users = comparison.missing.into_iter().collect();
    hasher.finalize().to_hex()[..32].clone_into(&mut plan.hash);
    Ok((plan, few.changes))
}

fn count(plan: &mut Plan, change: &PlannedChange, request: &RestoreRequest) {
    let counter = match change.action {
        Action::Create => &mut plan.creates,
        Action::Update => &mut plan.updates,
        Action::Delete => &mut plan.deletes,
    };
    *counter += 1;
    let shown = *counter <= SAMPLES_EACH as u64;
    plan.renames += u64::from(change.renames());
    if shown {
        plan.samples.push(describe(change, request));
    }
}

/// A change as people see it: hashes are only named, never shown.
pub fn describe(change: &PlannedChange, request: &RestoreRequest) -> PlanSample {
    let name = change.wanted.as_ref().or(change.base.as_ref()).map(|user| user.name.to_string());
    let fields = match (&change.wanted, &change.base) {
        (Some(wanted), Some(base)) => changed_fields(base, &target(wanted, Some(base), request)),
        _ => Vec::new(),
    };
    PlanSample {
        action: change.action,
        user_id: change.user_id.clone(),
        name: name.unwrap_or_default(),
        fields: fields.into_iter().map(str::to_owned).collect(),
    }
}

/// Up to `limit` changes of a plan after an id, in the order of ids.
///
/// # Errors
/// When a chunk of either state cannot be read and verified.
pub async fn changes_page(
    wanted: &State,
    live: &State,
    request: &RestoreRequest,
    after: Option<&UserId>,
    limit: usize,
) -> Result<Vec<PlanSample>, BackupError> {
    let mut comparison = Comparison::open(wanted, live, request, after).await?;
    let mut changes = Vec::new();
    while changes.len() < limit
        && let Some(change) = comparison.next_change().await?
    {
        changes.push(describe(&change, request));
    }
    Ok(changes)
}
