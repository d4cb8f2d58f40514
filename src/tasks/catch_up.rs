//! Brings owed copies to targets that are back: oldest backup first, each object after what it refers to.
//!
//! Rule: what a target is said to hold is looked at now and then, so that an emptied or replaced disk is noticed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::halt::Halt;
use super::leader::{Leading, RETRY_AFTER};
use super::level;
use crate::backup::journal_read::JournalPlace;
use crate::backup::{BackupError, journal, repair};
use crate::domain::backup::Backup;
use crate::domain::cause::{Cause, chain};
use crate::domain::copies::{Copy, CopyState};
use crate::domain::history::JournalCopy;
use crate::domain::ids::TargetName;
use crate::store::copies::Marked;
use crate::targets::Target;
use crate::targets::layout::ObjectPath;

/// How often targets that owe something are tried again.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked whether targets still hold what they held.
const LOSS_EVERY: Duration = Duration::from_mins(1);
/// Backups looked at in one round.
const ROUND_MAX: usize = 100;

/// Catches up until the leadership ends.
pub(super) async fn run(leading: Leading) {
    let mut loss_looked_for: Option<Instant> = None;
    loop {
        let look_for_loss = loss_looked_for.is_none_or(|at| at.elapsed() >= LOSS_EVERY);
        let round = async {
            // First, since backups wait for it.
            level::run(&leading).await?;
            if look_for_loss {
                notice_loss(&leading).await?;
            }
            catch_up(&leading).await
        };
        let wait = match tokio::select! {
            () = leading.ended.cancelled() => return,
            outcome = round => outcome,
        } {
            Ok(()) => {
                if look_for_loss {
                    loss_looked_for = Some(Instant::now());
                }
                LOOK_EVERY
            }
            Err(Halt::Ended) => return leading.give_up(),
            Err(halt) => {
                leading.again("catch up owed copies", &halt);
                RETRY_AFTER
            }
        };
        if !leading.rest(&leading.pokes.catch_up, wait).await {
            return;
        }
    }
}

/// Marks every copy of a target missing that lacks the newest manifest that it is said to hold.
async fn notice_loss(leading: &Leading) -> Result<(), Halt> {
    for target in leading.parts.targets.iter() {
        if lacks_newest(leading, target).await? {
            warn!(target.name = %target.name(), "the target has lost what it held: its copies are made again");
            lose(leading, target.name()).await?;
        }
    }
    Ok(())
}

/// Whether a target answers that it does not have the newest manifest that it is said to hold.
pub(super) async fn lacks_newest(leading: &Leading, target: &Target) -> Result<bool, Halt> {
    let newest = leading.parts.store.backups.newest_complete(&leading.leadership.department).await?;
    let Some(Backup { content: Some(content), copies, .. }) = newest else { return Ok(false) };
    let said = |copy: &Copy| copy.target == *target.name() && copy.state == CopyState::Present;
    let manifest = ObjectPath::from_stored(content.base.snapshot);
    Ok(copies.iter().any(said) && matches!(target.size(&manifest).await, Ok(None)))
}

/// Records that a target holds nothing any more.
pub(super) async fn lose(leading: &Leading, target: &TargetName) -> Result<(), Halt> {
    let cause = Cause::new("copies_lost", "The target no longer has what it held; its copies are made again.");
    leading.check()?;
    let lost = Marked { from: CopyState::Present, to: CopyState::Missing, cause: Some(cause), verified_at: None };
    leading.parts.store.copies.mark(&leading.leadership, target, None, &lost).await?;
    let without = |held: &[JournalCopy]| held.iter().filter(|held| held.target != *target).cloned().collect();
    level::set(leading, leading.head.lock().await, without).await
}

async fn catch_up(leading: &Leading) -> Result<(), Halt> {
    let department = &leading.leadership.department;
    let mut round = Round::default();
    let targets: Vec<TargetName> = leading.parts.targets.iter().map(|target| target.name().clone()).collect();
    for mut backup in leading.parts.store.backups.owing(department, &targets, ROUND_MAX).await? {
        leading.check()?;
        let before = backup.copies.clone();
        backup.copies.extend(new_targets(&backup, &targets));
        round.bring(leading, &mut backup).await;
        if backup.copies != before {
            leading.check()?;
            leading.parts.store.backups.set_copies(&leading.leadership, &backup.id, &backup.copies).await?;
        }
    }
    Ok(())
}

/// The copies that targets owe which the configuration did not have when the backup was made.
fn new_targets(backup: &Backup, targets: &[TargetName]) -> Vec<Copy> {
    let known = |target: &&TargetName| backup.copies.iter().any(|copy| copy.target == **target);
    let cause = || Some(Cause::new("new_target", "The target was added later; its copy is brought there."));
    let owed = |target: &TargetName| Copy {
        target: target.clone(),
        state: CopyState::Owed,
        verified_at: None,
        cause: cause(),
    };
    targets.iter().filter(|target| !known(target)).map(owed).collect()
}

/// What is known after some backups of one round.
#[derive(Default)]
struct Round {
    /// Targets that failed once; they are left alone for the rest of the round.
    out_of_reach: HashSet<TargetName>,
    /// Snapshots that were brought and verified; many backups begin with the same.
    whole: HashSet<(TargetName, String)>,
}

impl Round {
    /// Tries every copy of a backup that is not present.
    async fn bring(&mut self, leading: &Leading, backup: &mut Backup) {
        let shown = backup.clone();
        for copy in backup.copies.iter_mut().filter(|copy| matches!(copy.state, CopyState::Owed | CopyState::Missing)) {
            let Some(target) = leading.parts.targets.get(&copy.target) else { continue };
            if self.out_of_reach.contains(&copy.target) {
                continue;
            }
            match self.bring_one(leading, &shown, target).await {
                Ok(()) => {
                    info!(backup.id = %shown.id, target.name = %copy.target, "caught up an owed copy");
                    copy.state = CopyState::Present;
                    copy.verified_at = Some(leading.parts.clock.now());
                    copy.cause = None;
                }
                Err(error) => {
                    debug!(target.name = %copy.target, error = chain(&error), "an owed copy has to wait");
                    copy.cause = Some(Cause { message: chain(&error), ..error.cause() });
                    self.out_of_reach.insert(copy.target.clone());
                }
            }
        }
    }

    /// Snapshot, journal, words: each after what it refers to.
    async fn bring_one(&mut self, leading: &Leading, backup: &Backup, target: &Arc<Target>) -> Result<(), BackupError> {
        let Some(content) = &backup.content else { return Ok(()) };
        let (repository, targets) = (&leading.repository, &leading.parts.targets);
        let whole = (target.name().clone(), content.base.snapshot.clone());
        if !self.whole.contains(&whole) {
            repair::bring_snapshot(repository, targets, &content.base, target).await?;
            self.whole.insert(whole);
        }
        let (journal, timeline) = {
            let head = leading.head.lock().await;
            (head.journal_through(target.name()), head.timeline)
        };
        if journal < Some(content.sequence) {
            return Err(BackupError::Behind(target.name().to_string()));
        }
        if content.timeline != timeline {
            // Of an older timeline a target is brought what there is, which need not be all.
            let place = JournalPlace::new(repository, targets.only(target), &backup.department, content.timeline);
            journal::verify_backup(place, content).await?;
        }
        repair::bring_words(repository, targets, backup, target).await
    }
}
