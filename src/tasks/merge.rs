//! Merges old, small segments of the journal, one larger segment after the other, then condemns the small ones.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::info;

use super::halt::Halt;
use super::leader::{Leading, RETRY_AFTER};
use super::prune::targets;
use crate::backup::journal_read::Point;
use crate::backup::merging::{self, SmallRun, next_run};
use crate::domain::history::{Head, Sequence};
use crate::domain::window::Moment;
use crate::store::condemned::Doomed;
use crate::targets::layout::ObjectPath;

/// Longest time between two looks.
const LOOK_EVERY_MAX: Duration = Duration::from_mins(10);
/// Names of one transaction.
const CONDEMNED_AT_ONCE: usize = 500;

/// Merges until the leadership ends.
pub(super) async fn run(leading: &Leading) {
    let every = (leading.parts.config.backup.merge_after / 6).clamp(Duration::from_secs(1), LOOK_EVERY_MAX);
    loop {
        let wait = match Box::pin(merge_one(leading)).await {
            // There may be more.
            Ok(true) => Duration::from_millis(10),
            Ok(false) => every,
            Err(Halt::Ended) => return leading.give_up(),
            Err(halt) => {
                leading.again("merge segments", &halt);
                every.max(RETRY_AFTER)
            }
        };
        tokio::select! {
            () = leading.ended.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Merges the oldest run of small segments of the present timeline; tells whether there was one.
async fn merge_one(leading: &Leading) -> Result<bool, Halt> {
    leading.check()?;
    let parts = &leading.parts;
    let department = &leading.leadership.department;
    let head = leading.head.lock().await.clone();
    let old = parts.clock.now().earlier_by(parts.config.backup.merge_after);
    // Only what lies between two complete backups is known to be this history.
    let newest = parts.store.windows.newest_at(department, head.timeline, Moment::Time(old)).await?;
    let Some(newest) = newest else { return Ok(false) };
    let segments = leading.unless_ended(segments(leading, &head)).await??;
    let bytes = parts.config.backup.segment_bytes;
    let Some(run) = next_run(&segments, newest.sequence, bytes) else { return Ok(false) };
    let Some((from, to)) = between(leading, &head, &run).await? else { return Ok(false) };
    let place = leading.journal(head.timeline);
    let epoch = leading.leadership.epoch;
    let merging = merging::merged(&place, (from, to), &run, (&head, epoch), bytes);
    let Some(merged) = leading.unless_ended(merging).await?? else { return Ok(false) };
    let (first, last) = (merged.first, merged.last);
    let inside = |path: &ObjectPath| path.segment_range().is_some_and(|(f, l)| first <= f && l <= last);
    let replaced: Vec<ObjectPath> = segments.into_keys().filter(inside).collect();
    if replaced.len() < 2 {
        return Ok(false);
    }
    leading.check()?;
    let path = leading.unless_ended(merging::write(&place, &head, merged)).await??;
    condemn(leading, &head, &replaced, &path).await?;
    info!(segments = replaced.len(), first = first.0, last = last.0, "merged segments of the journal");
    Ok(true)
}

/// The segments of the present timeline that are not condemned, with their sealed bytes.
async fn segments(leading: &Leading, head: &Head) -> Result<BTreeMap<ObjectPath, u64>, Halt> {
    let department = &leading.leadership.department;
    let folder = ObjectPath::journal_folder(department, head.timeline);
    let mut found = BTreeMap::new();
    let targets = leading.parts.targets.iter().filter(|target| !target.hangs());
    let lists = targets.map(|target| target.aged(&folder, |_| true));
    for listed in futures::future::join_all(lists).await.into_iter().flatten() {
        found.extend(listed.into_iter().map(|aged| (aged.path, aged.bytes)));
    }
    // Before the beginning there are only pieces, which retention takes with the backups that need them.
    let begin = head.begin.filter(|begin| begin.timeline == head.timeline).map_or(Sequence(0), |begin| begin.sequence);
    found.retain(|path, _| path.segment_range().is_some_and(|(first, _)| first > begin));
    let names: Vec<String> = found.keys().map(ToString::to_string).collect();
    let condemned = leading.parts.store.condemned.among(department, &names).await?;
    found.retain(|path, _| !condemned.contains(path.as_str()));
    Ok(found)
}

/// The nearest known points before and after a run.
async fn between(leading: &Leading, head: &Head, run: &SmallRun) -> Result<Option<(Point, Point)>, Halt> {
    let windows = &leading.parts.store.windows;
    let department = &leading.leadership.department;
    let before = Sequence(run.first.0 - 1);
    let from = match windows.newest_at(department, head.timeline, Moment::Sequence(before)).await? {
        Some(content) => Point::from(&content),
        None if before == Sequence(0) => Point::BEGINNING,
        None => return Ok(None),
    };
    let to = windows.oldest_from(department, head.timeline, run.last).await?;
    Ok(to.map(|to| (from, Point::from(&to))))
}

async fn condemn(leading: &Leading, head: &Head, replaced: &[ObjectPath], by: &ObjectPath) -> Result<(), Halt> {
    let parts = &leading.parts;
    let after = parts.clock.now().later_by(parts.config.backup.prune_grace);
    let doomed: Vec<Doomed> = replaced
        .iter()
        .map(|path| Doomed {
            path: path.to_string(),
            after,
            segment: path.segment_range().map(|(first, last)| (head.timeline, first, last)),
            replaced_by: Some(by.to_string()),
        })
        .collect();
    for some in doomed.chunks(CONDEMNED_AT_ONCE) {
        leading.check()?;
        parts.store.condemned.condemn(&leading.leadership, None, some, &targets(leading)).await?;
    }
    leading.pokes.settle.notify_waiters();
    Ok(())
}
