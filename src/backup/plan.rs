//! Plans a restore: what is to be done about each record, counted, sampled and hashed.
//!
//! Rule: the plan is a pure function of its two sides and the request, so any replica can compute it again, and any
//! leader can go on from any id.

use super::BackupError;
use super::changes::Few;
use super::merge::Merge;
use super::sides::{Sides, Wanted};
use super::undo::UndoMerge;
use crate::domain::clock::Timestamp;
use crate::domain::ids::UserId;
use crate::domain::plan::{Compared, PlannedChange, changed_fields, target};
use crate::domain::restore::{Action, Plan, PlanSample, RestoreRequest};

/// Samples of each kind of change that a plan shows.
const SAMPLES_EACH: usize = 5;

/// The comparison of the two sides of a restore, id by id.
#[derive(Debug)]
pub enum Comparison {
    /// Two states under the policies of the request.
    States(Box<Merge>),
    /// What a restore wrote, with what was there before it and what is there now.
    Undo(Box<UndoMerge>),
}

impl Comparison {
    /// Begins after an id, or at the first one.
    ///
    /// # Errors
    /// When one of the sides cannot be read and verified.
    pub async fn open(sides: &Sides, after: Option<&UserId>) -> Result<Self, BackupError> {
        match &sides.wanted {
            Wanted::State(wanted) => {
                let merge = Merge::open(wanted, sides, after).await?;
                Ok(Self::States(Box::new(merge)))
            }
            Wanted::Undo(undo) => Ok(Self::Undo(Box::new(undo.merge(&sides.live, after).await?))),
        }
    }

    /// What is to be done about the next id; absent at the end.
    ///
    /// # Errors
    /// When one of the sides cannot be read and verified.
    pub async fn next(&mut self) -> Result<Option<Compared>, BackupError> {
        match self {
            Self::States(merge) => merge.next().await,
            Self::Undo(merge) => merge.next().await,
        }
    }

    /// The next change, passing over everything that stays.
    ///
    /// # Errors
    /// When one of the sides cannot be read and verified.
    pub async fn next_change(&mut self) -> Result<Option<PlannedChange>, BackupError> {
        while let Some(compared) = self.next().await? {
            if let Compared::Change { change, .. } = compared {
                return Ok(Some(*change));
            }
        }
        Ok(None)
    }
}

/// Computes the plan of a restore. Gives its changes too, as long as they are few.
///
/// # Errors
/// When a chunk of either state cannot be read and verified.
pub async fn plan(sides: &Sides, now: Timestamp) -> Result<(Plan, Option<Vec<PlannedChange>>), BackupError> {
    let request = &sides.request;
    let mut plan = Plan { computed_at: now, ..Plan::default() };
    let mut hasher = blake3::Hasher::new_derive_key("rollkeeper 2026 restore plan");
    let mut comparison = Comparison::open(sides, None).await?;
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
    if let Comparison::States(merge) = comparison {
        plan.unchanged += merge.passed_over();
        plan.missing_users = merge.missing.into_iter().collect();
    }
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
    plan.renumbered += u64::from(change.renumbered_from.is_some());
    plan.conflicts += u64::from(change.meets_conflict());
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
        renumbered_from: change.renumbered_from.clone(),
        name: name.unwrap_or_default(),
        fields: fields.into_iter().map(str::to_owned).collect(),
    }
}

/// Up to `limit` changes of a plan after an id, in the order of ids.
///
/// # Errors
/// When a chunk of either state cannot be read and verified.
pub async fn changes(sides: &Sides, after: Option<&UserId>, limit: usize) -> Result<Vec<PlannedChange>, BackupError> {
    let mut comparison = Comparison::open(sides, after).await?;
    let mut changes = Vec::new();
    while changes.len() < limit
        && let Some(change) = comparison.next_change().await?
    {
        changes.push(change);
    }
    Ok(changes)
}
