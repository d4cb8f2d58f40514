//! Examines the targets for `rollkeeper doctor`: an object is written, read back, listed and deleted on each.
//!
//! Rule: nothing is made where a directory is missing, for a disk may be missing there; and the object has a name that nobody
//! takes for anything.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::layout::ObjectPath;
use super::place::Place;
use super::{Target, TargetError};
use crate::config::targets::{TargetConfig, TargetsConfig};
use crate::domain::cause::chain;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::exam::{Exam, Notes};

/// Less free space than this, and the next backups may not fit.
const FREE_BYTES_LEAST: u64 = 1 << 30;
/// An operation that takes longer is worth a word.
const SLOW: Duration = Duration::from_secs(2);

/// What was found on one target.
#[derive(Debug)]
pub struct ExaminedTarget {
    /// Everything that was looked at.
    pub exams: Vec<Exam>,
    /// Its `rollkeeper.json` and `rollkeeper.key`, where they are.
    pub marker: Option<(Bytes, Bytes)>,
    /// When it says that it was written what was written at the other moment.
    pub clock: Option<(Timestamp, Timestamp)>,
}

/// Looks at every target of the configuration at once.
pub async fn examine(config: &TargetsConfig, clock: &Clock) -> Vec<ExaminedTarget> {
    let each = config.list.iter().map(|entry| examine_one(entry, config.operation_timeout, clock));
    futures::future::join_all(each).await
}

async fn examine_one(entry: &TargetConfig, timeout: Duration, clock: &Clock) -> ExaminedTarget {
    let mut notes = Notes::of(format!("target {}", entry.name));
    let mut examined = ExaminedTarget { exams: Vec::new(), marker: None, clock: None };
    let directory =
        url::Url::parse(&entry.url).ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
    if let Some(directory) = directory
        && !look_at_directory(&mut notes, directory, timeout).await
    {
        examined.exams = notes.done();
        return examined;
    }
    match Target::open(entry, timeout, clock.clone()) {
        Ok(target) => {
            examined.marker = marker(&mut notes, &target).await;
            examined.clock = probe(&mut notes, &target, clock).await;
        }
        Err(error) => notes.failed("reachable", chain(&error), "Write its URL as the configuration wants it."),
    }
    examined.exams = notes.done();
    examined
}

/// Whether the directory is there; says how much room it has.
async fn look_at_directory(notes: &mut Notes, directory: PathBuf, timeout: Duration) -> bool {
    let shown = directory.display().to_string();
    let looking = tokio::task::spawn_blocking(move || {
        let there = std::fs::metadata(&directory).is_ok_and(|meta| meta.is_dir());
        (there, rustix::fs::statvfs(&directory).ok())
    });
    let Ok(Ok((there, room))) = tokio::time::timeout(timeout, looking).await else {
        notes.failed("reachable", format!("{shown} does not answer"), "Mend the disk or the network file system.");
        return false;
    };
    if !there {
        let remedy = "Mount the disk, or make the directory; nothing was made here, for a disk may be missing.";
        notes.failed("reachable", format!("{shown} is not there"), remedy);
        return false;
    }
    let Some(room) = room else {
        notes.unknown("free_space", "the file system does not say", "");
        return true;
    };
    let (free, of) = (room.f_bavail.saturating_mul(room.f_frsize), room.f_blocks.saturating_mul(room.f_frsize).max(1));
    let (mib, percent) = (free >> 20, free.saturating_mul(100) / of);
    let found = format!("{mib} MiB are free, {percent} %");
    if free < FREE_BYTES_LEAST {
        notes.warning(
            "free_space",
            found,
            "Make room: a full target owes its copies, and with the quorum lost backups stop.",
        );
    } else {
        notes.ok("free_space", found);
    }
    true
}

/// Reads what says whose the target is.
async fn marker(notes: &mut Notes, target: &Target) -> Option<(Bytes, Bytes)> {
    match (target.get(&ObjectPath::repository()).await, target.get(&ObjectPath::repository_key()).await) {
        (Ok(marker), Ok(key)) => Some((marker, key)),
        (Err(error), _) if error.is_not_found() => {
            notes.unknown("marker", "it holds no repository yet", "A replica makes or admits it when it starts.");
            None
        }
        (Ok(_), Err(error)) if error.is_not_found() => {
            let remedy = "A replica writes it again when it starts; without it the target cannot be read alone.";
            notes.warning("marker", "rollkeeper.key is missing", remedy);
            None
        }
        (Err(error), _) | (_, Err(error)) => {
            notes.failed("read", chain(&error), remedy(&error));
            None
        }
    }
}

/// Writes, reads, lists and deletes one object.
async fn probe(notes: &mut Notes, target: &Target, clock: &Clock) -> Option<(Timestamp, Timestamp)> {
    let path = ObjectPath::probe(rand::random());
    let bytes = Bytes::from(format!("rollkeeper doctor wrote this, and may be deleted: {path}\n"));
    let begun = Instant::now();
    let wrote_at = clock.now();
    if let Err(error) = target.put(&path, bytes.clone()).await {
        notes.failed("write", chain(&error), remedy(&error));
        // What it left, if its outcome was not known.
        let _ = target.delete(&path).await;
        return None;
    }
    let wrote_in = begun.elapsed();
    match target.get(&path).await {
        Ok(same) if same == bytes => notes.ok("read", "an object is read back as it was written"),
        Ok(_) => notes.failed(
            "read",
            "an object is not read back as it was written",
            "Do not trust this target; replace it.",
        ),
        Err(error) => notes.failed("read", chain(&error), remedy(&error)),
    }
    let name = path.clone();
    let listed = target.aged(ObjectPath::PROBES, move |found| *found == name).await;
    let deleted = target.delete(&path).await;
    let gone = target.size(&path).await;
    target.remove_probes().await;
    if wrote_in > SLOW {
        let found = format!("a write of some bytes took {:.1} s", wrote_in.as_secs_f64());
        notes.warning("write", found, "Backups wait for the quorum: look at the disk or the network.");
    } else {
        notes.ok("write", format!("took {} ms", wrote_in.as_millis()));
    }
    let written_at = match listed {
        Ok(found) => found.first().map(|object| object.written_at),
        Err(error) => {
            notes.failed("list", chain(&error), remedy(&error));
            return None;
        }
    };
    match written_at {
        Some(_) => notes.ok("list", "shows what was written"),
        None => notes.failed("list", "does not show what was written", "The store must list its objects at once."),
    }
    match (deleted, gone) {
        (Ok(()), Ok(None)) => notes.ok("delete", "an object that is deleted is gone"),
        (Ok(()), _) => {
            notes.failed("delete", "an object that is deleted is still there", "Turn off what keeps old objects.");
        }
        (Err(error), _) => {
            notes.failed("delete", chain(&error), "Let the service delete objects, else retention frees nothing.");
        }
    }
    written_at.map(|written_at| (written_at, wrote_at))
}

impl Target {
    /// Takes the folder of probes away, where no other one is in it.
    async fn remove_probes(&self) {
        let Place::Directory(root) = &self.place else { return };
        let folder = root.path().join(ObjectPath::PROBES);
        // A folder without anything in it is no harm.
        let _ = tokio::task::spawn_blocking(move || std::fs::remove_dir(folder)).await;
    }
}

fn remedy(error: &TargetError) -> &'static str {
    use crate::domain::copies::TargetState;
    match error {
        TargetError::Failed { state: TargetState::Full, .. } => "Make room on it.",
        TargetError::Failed { state: TargetState::ReadOnly, .. } => {
            "Let the service write there: owner and mode of the directory, or how it is mounted."
        }
        TargetError::Timeout { .. } => "It hangs: mend the disk or the network, or raise targets.operation_timeout.",
        _ => "Check its URL, that it is there, and that the service may use it.",
    }
}
