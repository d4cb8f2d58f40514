//! Reads the snapshots of kept backups on each target now and then, slowly, and repairs what another target has whole.
//!
//! Rules: each object is read once in a pass, however many snapshots refer to it; what no target has whole makes the copies
//! of the backups that need it `damaged`, until it is whole again. No snapshot is made out of a damaged one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, error, info};

use super::halt::Halt;
use super::leader::Leading;
use crate::backup::scrub_snapshot::{Found, check};
use crate::backup::{BackupError, Snapshot};
use crate::domain::cause::Cause;
use crate::domain::copies::CopyState;
use crate::domain::history::Sequence;
use crate::store::copies::Marked;
use crate::targets::Target;
use crate::targets::layout::ObjectPath;

/// Pause after each object, so that a scrub takes from nobody.
const BETWEEN: Duration = Duration::from_millis(20);
/// Longest time until a pass is repeated that found something lost: a target that has it may be back.
const LOST_AGAIN: Duration = Duration::from_mins(10);

/// Scrubs until the leadership ends.
pub(super) async fn run(leading: Leading) {
    // The first pass soon, else a department that is often led anew is never scrubbed.
    let backup = &leading.parts.config.backup;
    let mut wait = backup.look_every.min(backup.scrub_every);
    loop {
        if leading.unless_ended(tokio::time::sleep(wait)).await.is_err() {
            return;
        }
        wait = match Box::pin(leading.unless_ended(scrub_all(&leading))).await {
            Ok(Ok(false)) => backup.scrub_every,
            Ok(Ok(true)) => backup.scrub_every.min(LOST_AGAIN),
            Ok(Err(Halt::Ended)) => return leading.give_up(),
            Ok(Err(halt)) => {
                debug!(reason = halt.reason(), "the snapshots cannot be scrubbed now");
                backup.scrub_every.min(LOST_AGAIN)
            }
            Err(_) => return,
        };
    }
}

/// One pass over all targets; tells whether anything is lost.
async fn scrub_all(leading: &Leading) -> Result<bool, Halt> {
    let needs = leading.parts.store.kept.needs(&leading.leadership.department).await?;
    let snapshots: BTreeSet<(i64, Sequence, String)> =
        needs.into_iter().map(|need| (need.timeline.0, need.base, need.snapshot)).collect();
    let mut snapshots: Vec<String> = snapshots.into_iter().map(|(.., snapshot)| snapshot).collect();
    // Each leadership begins with another one, so that short ones come to all of them too.
    let begin = usize::try_from(leading.leadership.epoch.0).unwrap_or(0).checked_rem(snapshots.len());
    snapshots.rotate_left(begin.unwrap_or(0));
    let mut any_lost = false;
    for target in leading.parts.targets.iter() {
        match scrub_one(leading, target, &snapshots).await {
            Ok(lost) => {
                leading.count_scrub("snapshots", target);
                any_lost |= lost;
            }
            Err(Halt::Ended) => return Err(Halt::Ended),
            // What is down is shown as down, and looked at again.
            Err(halt) => {
                debug!(target.name = %target.name(), reason = halt.reason(), "the target cannot be scrubbed now");
            }
        }
    }
    Ok(any_lost)
}

/// One pass over the snapshots on one target.
async fn scrub_one(leading: &Leading, target: &Arc<Target>, snapshots: &[String]) -> Result<bool, Halt> {
    let mut pass = Pass { leading, target, seen: HashMap::new() };
    let mut any_lost = false;
    for snapshot in snapshots {
        let owed = leading.parts.store.copies.owes(&leading.leadership.department, target.name(), snapshot).await?;
        if owed {
            // Not there yet: it is caught up with, and read back then.
            continue;
        }
        let lost = pass.snapshot(&ObjectPath::from_stored(snapshot.clone())).await?;
        any_lost |= lost.is_some();
        leading.check()?;
        record(leading, target, snapshot, lost).await?;
    }
    Ok(any_lost)
}

/// What a pass over one target has found.
struct Pass<'a> {
    leading: &'a Leading,
    target: &'a Arc<Target>,
    /// Every chunk that was read, with whether it is lost: snapshots share most of theirs.
    seen: HashMap<[u8; 32], bool>,
}

impl Pass<'_> {
    /// Checks all objects of a snapshot; gives the first one that is lost.
    async fn snapshot(&mut self, path: &ObjectPath) -> Result<Option<String>, Halt> {
        let (repository, targets) = (&self.leading.repository, &self.leading.parts.targets);
        if self.object(path).await? {
            return Ok(Some(path.to_string()));
        }
        let snapshot = match Snapshot::open(repository, targets, path).await {
            Ok(snapshot) => snapshot,
            // Its bytes are the ones of its name, and somebody forged the name.
            Err(BackupError::Damaged { .. }) => return Ok(Some(path.to_string())),
            Err(error) => return Err(error.into()),
        };
        let manifest = snapshot.manifest();
        let mut first = None;
        for chunk in &manifest.chunks {
            let path = manifest.chunk_path(chunk);
            let mut name = [0; 32];
            let known = hex::decode_to_slice(&chunk.object, &mut name).is_ok();
            let lost = match self.seen.get(&name).filter(|_| known) {
                Some(lost) => *lost,
                None => self.object(&path).await?,
            };
            self.seen.insert(name, lost);
            if lost && first.is_none() {
                first = Some(path.to_string());
            }
        }
        Ok(first)
    }

    /// Checks one object, and tells whether it is lost.
    async fn object(&self, path: &ObjectPath) -> Result<bool, Halt> {
        self.leading.check()?;
        let found = check(&self.leading.parts.targets, self.target, path).await?;
        tokio::time::sleep(BETWEEN).await;
        match found {
            Found::Whole => Ok(false),
            Found::Repaired(what) => {
                self.leading.count_finding(self.target, "repaired");
                info!(target.name = %self.target.name(), what, "repaired an object of a snapshot from another target");
                Ok(false)
            }
            Found::Lost(what) => {
                self.leading.count_finding(self.target, "lost");
                error!(target.name = %self.target.name(), what, "no target has this object of a snapshot whole");
                Ok(true)
            }
        }
    }
}

/// Records what was found in the copies of every backup that begins with a snapshot.
async fn record(leading: &Leading, target: &Target, snapshot: &str, lost: Option<String>) -> Result<(), Halt> {
    let copies = &leading.parts.store.copies;
    let now = leading.parts.clock.now();
    let marked = match &lost {
        Some(object) => Marked {
            from: CopyState::Present,
            to: CopyState::Damaged,
            cause: Some(Cause::new("copy_damaged", format!("No target that answers has `{object}` whole."))),
            verified_at: None,
        },
        None => Marked { from: CopyState::Damaged, to: CopyState::Present, cause: None, verified_at: Some(now) },
    };
    let changed = copies.mark(&leading.leadership, target.name(), Some(snapshot), &marked).await?;
    match lost {
        Some(object) if changed > 0 => {
            error!(target.name = %target.name(), object, backups = changed, "backups are damaged on the target");
        }
        None if changed > 0 => {
            info!(target.name = %target.name(), snapshot, backups = changed, "backups are whole again");
        }
        _ => {}
    }
    Ok(())
}
