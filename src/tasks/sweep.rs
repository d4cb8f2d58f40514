//! Looks through the targets for objects that nothing needs any more, and condemns their names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::halt::Halt;
use super::leader::Leading;
use super::prune::targets;
use crate::backup::prune::{Manifests, Needed, says_complete, word_of};
use crate::domain::backup::BackupState;
use crate::domain::cause::chain;
use crate::domain::clock::Timestamp;
use crate::domain::history::{Head, Timeline};
use crate::domain::ids::BackupId;
use crate::store::condemned::Doomed;
use crate::targets::Target;
use crate::targets::aged::Aged;
use crate::targets::layout::ObjectPath;

/// Names of one transaction.
const CONDEMNED_AT_ONCE: usize = 500;
/// Backups of one question to MongoDB.
const ASKED_AT_ONCE: usize = 500;
/// How old a file is that a writer left without a name before it is removed: no write takes that long.
const UNFINISHED_FOR: Duration = Duration::from_hours(24);
/// How often a backup may become complete in between before this look is given up.
const ATTEMPTS: usize = 10;

/// How a look through the targets ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swept {
    /// What is not needed is condemned.
    Done,
    /// Nothing could be judged now.
    Later,
}

/// What was seen on the targets.
#[derive(Debug, Default)]
struct Seen {
    /// Objects that seemed not to be needed, and when the youngest copy was written.
    objects: BTreeMap<ObjectPath, (Timeline, Timestamp)>,
    /// Words that nobody needs, and whether each is the last word on a backup that is deleted.
    words: BTreeMap<ObjectPath, (bool, Timestamp)>,
}

/// Condemns what nothing needs and what is older than the grace period.
pub(super) async fn sweep(leading: &Leading, manifests: &mut Manifests) -> Result<Swept, Halt> {
    let head = leading.head.lock().await.clone();
    let needed = Arc::new(needed(leading, &head, manifests).await?.0);
    let mut seen = Seen::default();
    let asked: Vec<&Arc<Target>> = leading.parts.targets.iter().filter(|target| !target.hangs()).collect();
    let looks = asked.iter().map(|target| look(leading, target, &head, &needed));
    let answers = leading.unless_ended(futures::future::join_all(looks)).await?;
    let mut answered = 0;
    for (target, answer) in asked.iter().zip(answers) {
        match answer {
            Ok(Some(found)) => {
                answered += 1;
                seen.objects.extend(found.objects);
                seen.words.extend(found.words);
            }
            Ok(None) => return Ok(Swept::Done),
            Err(Halt::Failed(cause, _)) => {
                info!(target.name = %target.name(), cause = cause.message, "not looked through");
            }
            Err(halt) => return Err(halt),
        }
    }
    // A backup that MongoDB has lost is told of on the write quorum; with fewer answers it might be overlooked.
    if answered < leading.parts.targets.quorum() {
        return Ok(Swept::Done);
    }
    // What was seen may be part of a backup that is being made; afterwards the catalogue says so.
    let open = leading.parts.store.backups.open(&leading.leadership.department).await?;
    if open.iter().any(|backup| backup.state == BackupState::Running) {
        return Ok(Swept::Later);
    }
    condemn(leading, &head, &seen, manifests).await
}

/// What is needed now, and how many complete backups there are.
async fn needed(leading: &Leading, head: &Head, manifests: &mut Manifests) -> Result<(Needed, usize), Halt> {
    let parts = &leading.parts;
    let needs = parts.store.kept.needs(&leading.leadership.department).await?;
    let begin = head.begin.map(|place| (place.timeline, place.sequence));
    let reading = Needed::by(&needs, begin, head, (&leading.repository, &parts.targets), manifests);
    Ok((leading.unless_ended(reading).await??, needs.len()))
}

async fn condemn(leading: &Leading, head: &Head, seen: &Seen, manifests: &mut Manifests) -> Result<Swept, Halt> {
    let parts = &leading.parts;
    let department = &leading.leadership.department;
    for _ in 0..ATTEMPTS {
        let (needed, complete) = needed(leading, head, manifests).await?;
        let mut doomed = doom(seen, &needed, parts.clock.now(), parts.config.backup.prune_grace);
        let paths: Vec<String> = doomed.iter().map(|doomed| doomed.path.clone()).collect();
        let known = parts.store.condemned.among(department, &paths).await?;
        doomed.retain(|doomed| !known.contains(&doomed.path));
        let mut moved = false;
        for some in doomed.chunks(CONDEMNED_AT_ONCE) {
            leading.check()?;
            if !parts.store.condemned.condemn(&leading.leadership, Some(complete), some, &targets(leading)).await? {
                moved = true;
                break;
            }
        }
        if !moved {
            if !doomed.is_empty() {
                info!(objects = doomed.len(), "condemned what nothing needs any more");
            }
            leading.pokes.settle.notify_waiters();
            return Ok(Swept::Done);
        }
    }
    Ok(Swept::Later)
}

/// What to condemn of what was seen. The last word on a deleted backup goes after the others, so that no target ever
/// tells that it is complete.
fn doom(seen: &Seen, needed: &Needed, now: Timestamp, grace: Duration) -> Vec<Doomed> {
    let after = |graces: u32| now.later_by(grace.saturating_mul(graces));
    let old = |written: &Timestamp| written.later_by(grace) <= now;
    let objects = seen.objects.iter().filter(|(path, (timeline, at))| old(at) && !needed.needs(*timeline, path));
    let objects = objects.map(|(path, (timeline, _))| Doomed {
        path: path.to_string(),
        after: after(1),
        segment: path.segment_range().map(|(first, last)| (*timeline, first, last)),
        replaced_by: None,
    });
    let words = seen.words.iter().filter(|(_, (_, at))| old(at)).map(|(path, (is_last, _))| Doomed {
        path: path.to_string(),
        after: after(if *is_last { 2 } else { 1 }),
        segment: None,
        replaced_by: None,
    });
    objects.chain(words).collect()
}

/// What one target holds that seems not to be needed; none when it tells of a backup that MongoDB does not know.
async fn look(leading: &Leading, target: &Target, head: &Head, needed: &Arc<Needed>) -> Result<Option<Seen>, Halt> {
    let mut seen = Seen::default();
    leading.repository.admit(target).await?;
    remove_unfinished(leading, target).await;
    for timeline in (1..=head.timeline.0).map(Timeline) {
        let folder = format!("departments/{}/{}", leading.leadership.department, timeline.0);
        let words = target.aged(&format!("{folder}/backups"), |_| true).await.map_err(failed)?;
        let Some(words) = unneeded_words(leading, target, timeline, words).await? else { return Ok(None) };
        seen.words.extend(words);
        for kind in ["chunks", "snapshots", "journal"] {
            let needed = Arc::clone(needed);
            let pleases = move |path: &ObjectPath| !needed.needs(timeline, path);
            let found = target.aged(&format!("{folder}/{kind}"), pleases).await.map_err(failed)?;
            seen.objects.extend(found.into_iter().map(|aged| (aged.path, (timeline, aged.written_at))));
        }
    }
    Ok(Some(seen))
}

/// Removes what killed writers left. Nothing depends on it, so a failure is told and no more.
async fn remove_unfinished(leading: &Leading, target: &Target) {
    let before = leading.parts.clock.now().earlier_by(UNFINISHED_FOR);
    let folder = format!("departments/{}", leading.leadership.department);
    match target.remove_unfinished(&folder, before).await {
        Ok(0) => {}
        Ok(files) => info!(target.name = %target.name(), files, "removed what killed writers left unfinished"),
        Err(error) => info!(target.name = %target.name(), error = chain(&error), "unfinished files stay"),
    }
}

fn failed(error: crate::targets::TargetError) -> Halt {
    crate::backup::BackupError::from(error).into()
}

type Words = Vec<(ObjectPath, (bool, Timestamp))>;

async fn unneeded_words(
    leading: &Leading,
    target: &Target,
    timeline: Timeline,
    words: Vec<Aged>,
) -> Result<Option<Words>, Halt> {
    let department = &leading.leadership.department;
    let mut unneeded = Vec::new();
    let mut by_backup: HashMap<BackupId, Vec<(u32, Aged)>> = HashMap::new();
    for word in words {
        match word_of(&word.path) {
            Some((id, n)) => by_backup.entry(id).or_default().push((n, word)),
            // No name of ours.
            None => unneeded.push((word.path, (false, word.written_at))),
        }
    }
    let ids: Vec<BackupId> = by_backup.keys().cloned().collect();
    let mut known = HashMap::new();
    for some in ids.chunks(ASKED_AT_ONCE) {
        known.extend(leading.parts.store.kept.known(department, target.name(), some).await?);
    }
    for (id, words) in by_backup {
        match known.get(&id) {
            Some((false, _)) => {}
            Some((true, newest)) => {
                unneeded.extend(words.into_iter().map(|(n, word)| (word.path, (n >= *newest, word.written_at))));
            }
            None => {
                let paths: Vec<ObjectPath> = words.iter().map(|(_, word)| word.path.clone()).collect();
                let asked = says_complete(&leading.repository, target, department, timeline, &paths).await;
                if asked.inspect_err(|error| info!(error = chain(error), "words cannot be read"))? {
                    warn!(
                        backup.id = %id, target.name = %target.name(),
                        "the target tells of a backup that MongoDB does not know: nothing is pruned"
                    );
                    return Ok(None);
                }
                let newest = words.iter().map(|(n, _)| *n).max();
                let last = |n: u32| Some(n) == newest;
                unneeded.extend(words.into_iter().map(|(n, word)| (word.path, (last(n), word.written_at))));
            }
        }
    }
    Ok(Some(unneeded))
}
