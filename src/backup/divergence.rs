//! Looks at what the targets hold past a head.
//!
//! Rule: only an object whose name, MAC, place and chain are right is evidence; others are named and left where they are.

use bytes::Bytes;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::domain::cause::Cause;
use crate::domain::divergence::{Evidence, Held, PastHead};
use crate::domain::epoch::Epoch;
use crate::domain::history::{Sequence, Timeline};
use crate::domain::ids::DepartmentName;
use crate::targets::layout::ObjectPath;
use crate::targets::{Target, Targets};

use super::fanout::require_quorum;
use super::gather::gather;
use super::seal::{Header, Kind};
use super::snapshot::open_manifest;
use super::{BackupError, Repository};

/// Segments past the head that are opened on one target, the newest first: their chain commits to the ones before.
const SEGMENTS_MAX: usize = 16;
/// Backups whose words are opened on one target, the newest first.
const BACKUPS_MAX: usize = 3;

/// Where a look begins: everything at or before this is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookFrom {
    /// The timeline of the head.
    pub timeline: Timeline,
    /// The sequence of the head.
    pub sequence: Sequence,
}

/// What targets hold past a head.
#[derive(Debug)]
pub struct Look {
    /// Checked objects past the head.
    pub past: Vec<PastHead>,
    /// The object of the highest epoch among the newest ones, past the head or not.
    pub newest: Option<Evidence>,
    /// The highest timeline that has a checked object.
    pub timeline: Timeline,
    /// The highest sequence of a checked object.
    pub sequence: Sequence,
    /// Objects that were not believed, each with its target and the reason.
    pub refused: Vec<String>,
    /// Whether every target answered.
    pub complete: bool,
}

/// Looks at all targets at once; waits for the write quorum, and a short grace for the others.
///
/// # Errors
/// `QuorumNotReached` when fewer answer.
pub async fn look(
    repository: &Repository,
    targets: &Targets,
    department: &DepartmentName,
    from: LookFrom,
) -> Result<Look, BackupError> {
    let mut looks = JoinSet::new();
    for (index, target) in targets.iter().enumerate() {
        let looker = Looker {
            repository: repository.clone(),
            target: target.clone(),
            department: department.clone(),
            from,
            found: nothing(from),
        };
        looks.spawn(async move { (index, looker.look().await) });
    }
    let answers = gather(looks, targets.len(), targets.quorum()).await;
    let failures: Vec<Option<Cause>> = answers.iter().map(|answer| answer.as_ref().err().cloned()).collect();
    require_quorum(targets, &failures)?;
    let mut all = Look { complete: failures.iter().all(Option::is_none), ..nothing(from) };
    for found in answers.into_iter().flatten() {
        all.past.extend(found.past);
        all.refused.extend(found.refused);
        all.newest = newer(all.newest.take(), found.newest);
        all.timeline = all.timeline.max(found.timeline);
        all.sequence = all.sequence.max(found.sequence);
    }
    Ok(all)
}

fn nothing(from: LookFrom) -> Look {
    Look {
        past: Vec::new(),
        newest: None,
        timeline: from.timeline,
        sequence: from.sequence,
        refused: Vec::new(),
        complete: true,
    }
}

fn newer(one: Option<Evidence>, other: Option<Evidence>) -> Option<Evidence> {
    let epoch = |evidence: &Option<Evidence>| evidence.as_ref().map(|evidence| evidence.epoch);
    if epoch(&other) > epoch(&one) { other } else { one }
}

/// The fields of a word that are needed here.
#[derive(Deserialize)]
struct WordLine {
    epoch: Option<i64>,
    content: Option<WordContent>,
}

#[derive(Deserialize)]
struct WordContent {
    sequence: i64,
}

/// Looks at one target.
struct Looker {
    repository: Repository,
    target: std::sync::Arc<Target>,
    department: DepartmentName,
    from: LookFrom,
    found: Look,
}

impl Looker {
    async fn look(mut self) -> Result<Look, BackupError> {
        let folder = ObjectPath::department_folder(&self.department);
        let folders = self.target.folders(&folder).await?;
        let timelines = folders.iter().filter_map(|name| name.parse().ok().map(Timeline));
        let mut timelines: Vec<Timeline> = timelines.filter(|timeline| *timeline >= self.from.timeline).collect();
        timelines.sort_unstable();
        for timeline in timelines {
            self.segments(timeline).await?;
            self.snapshots(timeline).await?;
            self.words(timeline).await?;
        }
        Ok(self.found)
    }

    fn is_past(&self, timeline: Timeline, sequence: Sequence) -> bool {
        (timeline, sequence) > (self.from.timeline, self.from.sequence)
    }

    async fn segments(&mut self, timeline: Timeline) -> Result<(), BackupError> {
        let folder = ObjectPath::journal_folder(&self.department, timeline);
        let mut names: Vec<(Sequence, Sequence, ObjectPath)> = Vec::new();
        for path in self.target.list(&folder).await? {
            names.extend(path.segment_range().map(|(first, last)| (last, first, path)));
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        let mut good = 0;
        for (last, first, path) in names {
            let past = self.is_past(timeline, last);
            // One that is not past still says which epoch wrote last.
            if good >= if past { SEGMENTS_MAX } else { 1 } {
                return Ok(());
            }
            let Some(sealed) = self.sealed(&path).await? else { continue };
            let (repository, department, at) = (self.repository.clone(), self.department.clone(), path.clone());
            let open = move || repository.open_segment(&department, timeline, &at, &sealed);
            match self.repository.busy(open).await {
                Ok(segment) => {
                    good += 1;
                    let after = segment.changes.last().map_or(segment.before, |(_, after)| *after);
                    let held = Held::Segment { first, before: segment.before, after, source: segment.source };
                    self.note(&path, (timeline, last), segment.epoch, held);
                }
                Err(error) => self.refuse(&error)?,
            }
        }
        Ok(())
    }

    async fn snapshots(&mut self, timeline: Timeline) -> Result<(), BackupError> {
        let mut paths = self.target.list(&ObjectPath::snapshot_folder(&self.department, timeline)).await?;
        // The names begin with the sequence, and all of it has the same number of digits.
        paths.sort_unstable_by(|a, b| b.cmp(a));
        for path in paths {
            let Some(sealed) = self.sealed(&path).await? else { continue };
            let (repository, at) = (self.repository.clone(), path.clone());
            match self.repository.busy(move || open_manifest(&repository, &at, &sealed)).await {
                Ok(manifest) => {
                    self.note(&path, (timeline, manifest.sequence), manifest.epoch, Held::AfterTheHead);
                    return Ok(());
                }
                Err(error) => self.refuse(&error)?,
            }
        }
        Ok(())
    }

    async fn words(&mut self, timeline: Timeline) -> Result<(), BackupError> {
        let mut paths = self.target.list(&ObjectPath::backups_folder(&self.department, timeline)).await?;
        // Their folders are named by ids that sort by time.
        paths.sort_unstable_by(|a, b| b.cmp(a));
        let mut opened: Vec<String> = Vec::new();
        for path in paths {
            if opened.len() >= BACKUPS_MAX && !opened.iter().any(|folder| folder == path.folder()) {
                return Ok(());
            }
            let Some(sealed) = self.sealed(&path).await? else { continue };
            match self.open_word(timeline, &path, &sealed) {
                Ok(word) => {
                    let sequence = word.content.map_or(Sequence(0), |content| Sequence(content.sequence));
                    self.note(&path, (timeline, sequence), Epoch(word.epoch.unwrap_or(0)), Held::AfterTheHead);
                    if !opened.iter().any(|folder| folder == path.folder()) {
                        opened.push(path.folder().to_owned());
                    }
                }
                Err(error) => self.refuse(&error)?,
            }
        }
        Ok(())
    }

    fn open_word(&self, timeline: Timeline, path: &ObjectPath, sealed: &[u8]) -> Result<WordLine, BackupError> {
        let opened = self.repository.unseal(path, sealed, &Header::new(Kind::Backup, &self.department, timeline))?;
        serde_json::from_slice(opened.body()).map_err(|_| BackupError::Damaged {
            path: path.to_string(),
            reason: "the word on the backup cannot be read".to_owned(),
        })
    }

    /// The bytes of an object; none when it went away in the meantime.
    async fn sealed(&self, path: &ObjectPath) -> Result<Option<Bytes>, BackupError> {
        match self.target.get(path).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn note(&mut self, path: &ObjectPath, (timeline, sequence): (Timeline, Sequence), epoch: Epoch, held: Held) {
        self.found.timeline = self.found.timeline.max(timeline);
        self.found.sequence = self.found.sequence.max(sequence);
        let (target, object) = (self.target.name().clone(), path.to_string());
        let evidence = Evidence { target, object, timeline, sequence, epoch };
        self.found.newest = newer(self.found.newest.take(), Some(evidence.clone()));
        if self.is_past(timeline, sequence) {
            self.found.past.push(PastHead { evidence, held });
        }
    }

    /// An object that is not believed; anything else that goes wrong ends the look at this target.
    fn refuse(&mut self, error: &BackupError) -> Result<(), BackupError> {
        match error {
            BackupError::Damaged { .. } | BackupError::WrongKey { .. } => {
                self.found.refused.push(format!("{}: {error}", self.target.name()));
                Ok(())
            }
            _ => Err(BackupError::Stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::chain::change_line;
    use crate::backup::segment::Segment;
    use crate::backup::testing::{golden_repository, targets, user};
    use crate::domain::clock::Timestamp;
    use crate::domain::history::{Chain, Change, Source};

    fn department() -> DepartmentName {
        "eng".parse().unwrap()
    }

    fn sealed(repository: &Repository, timeline: i64, last: i64, epoch: i64) -> (ObjectPath, Bytes) {
        let line = change_line(Sequence(last), Timestamp::from_millis(last), &Change::Put(user(1)));
        let segment = Segment {
            department: department(),
            timeline: Timeline(timeline),
            first: Sequence(last),
            last: Sequence(last),
            before: Chain::GENESIS,
            after: repository.chain_after(&Chain::GENESIS, &line),
            through: Timestamp::from_millis(last),
            epoch: Epoch(epoch),
            source: Source { replica_set_id: "r".to_owned(), users_uuid: "u".to_owned() },
            lines: [line, b"\n".to_vec()].concat(),
        };
        repository.seal_segment(&segment).unwrap()
    }

    fn epoch(look: &Look) -> Option<i64> {
        look.newest.as_ref().map(|newest| newest.epoch.0)
    }

    const HEAD: LookFrom = LookFrom { timeline: Timeline(2), sequence: Sequence(5) };

    #[tokio::test]
    async fn only_checked_objects_past_the_head_are_evidence() {
        let repository = golden_repository();
        let all = targets(&["memory:///".to_owned()], None);
        let only = all.iter().next().unwrap();
        for (timeline, last, epoch) in [(1, 9, 9), (2, 4, 2), (2, 5, 3)] {
            let (path, bytes) = sealed(&repository, timeline, last, epoch);
            only.put(&path, bytes).await.unwrap();
        }
        let seen = look(&repository, &all, &department(), HEAD).await.unwrap();
        assert!(seen.past.is_empty(), "an older timeline and what the head covers: {seen:?}");
        assert_eq!((epoch(&seen), seen.timeline, seen.sequence), (Some(3), Timeline(2), Sequence(5)));

        let (honest, bytes) = sealed(&repository, 2, 8, 4);
        only.put(&honest, bytes.clone()).await.unwrap();
        // Replayed: the same bytes under the name of a later timeline; planted: bytes of somebody else.
        let folder = ObjectPath::journal_folder(&department(), Timeline(7));
        let name = honest.as_str().rsplit('/').next().unwrap();
        only.put(&ObjectPath::from_stored(format!("{folder}/{name}")), bytes).await.unwrap();
        let (planted, forged) = sealed(&stranger(), 2, 99, 99);
        only.put(&planted, forged).await.unwrap();
        let seen = look(&repository, &all, &department(), HEAD).await.unwrap();
        assert_eq!(seen.past.len(), 1, "{seen:?}");
        assert_eq!(seen.past[0].evidence.object, honest.to_string());
        assert_eq!((epoch(&seen), seen.timeline, seen.sequence), (Some(4), Timeline(2), Sequence(8)));
        assert_eq!(seen.refused.len(), 2, "{:?}", seen.refused);
    }

    /// Somebody with the public recipient, but without the secret.
    fn stranger() -> Repository {
        let (identity, recipient) = crate::backup::testing::identity();
        Repository::from_secret("golden", [8; 32], &[recipient], &identity).unwrap()
    }

    #[tokio::test]
    async fn the_write_quorum_has_to_answer_and_no_more() {
        let repository = golden_repository();
        let dir = tempfile::tempdir().unwrap();
        let urls: Vec<String> = (0..3).map(|n| format!("file://{}/t{n}", dir.path().display())).collect();
        let all = targets(&urls, None);
        std::fs::remove_dir(dir.path().join("t1")).unwrap();
        assert!(!look(&repository, &all, &department(), HEAD).await.unwrap().complete);
        std::fs::remove_dir(dir.path().join("t2")).unwrap();
        let refused = look(&repository, &all, &department(), HEAD).await;
        assert!(matches!(refused, Err(BackupError::QuorumNotReached { reached: 1, needed: 2, .. })), "{refused:?}");
    }
}
