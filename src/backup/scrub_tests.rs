//! Every way in which a journal breaks on a target: named, mended from another copy, refused where there is none.

use std::path::PathBuf;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::backup::journal_read::JournalReader;
use crate::backup::testing::{golden_repository, segment, targets};
use crate::targets::Targets;

/// Changes of each segment.
const EACH: i64 = 3;
/// Segments.
const COUNT: i64 = 5;

/// A journal of five segments of three changes each, on two targets.
struct Journal {
    dir: TempDir,
    place: JournalPlace,
    segments: Vec<(ObjectPath, Bytes)>,
    through: Point,
}

fn sealed(repository: &Repository, department: &str, first: i64, before: Chain) -> (ObjectPath, Bytes, Chain) {
    segment(repository, department, (first, EACH), before)
}

async fn journal() -> Journal {
    let dir = tempfile::tempdir().unwrap();
    let urls: Vec<String> = (0..2).map(|n| format!("file://{}/t{n}", dir.path().display())).collect();
    let (repository, targets) = (golden_repository(), targets(&urls, None));
    let (mut segments, mut chain) = (Vec::new(), Chain::GENESIS);
    for n in 0..COUNT {
        let (path, bytes, after) = sealed(&repository, "eng", n * EACH + 1, chain);
        for target in targets.iter() {
            repository.admit(target).await.unwrap();
            target.put(&path, bytes.clone()).await.unwrap();
        }
        segments.push((path, bytes));
        chain = after;
    }
    let place = JournalPlace { repository, targets, department: "eng".parse().unwrap(), timeline: Timeline(1) };
    Journal { dir, place, segments, through: Point { sequence: Sequence(COUNT * EACH), chain } }
}

impl Journal {
    fn file(&self, target: usize, path: &ObjectPath) -> PathBuf {
        self.dir.path().join(format!("t{target}")).join(path.as_str())
    }

    /// Every step but the good ones, on the first target.
    async fn scrub(&self) -> Vec<Step> {
        let target = self.place.targets.iter().next().unwrap().clone();
        let mut scrub = Scrub::open(self.place.clone(), target, Point::BEGINNING, self.through).await.unwrap();
        let mut steps = Vec::new();
        for _ in 0..100 {
            match scrub.next().await.unwrap() {
                Step::Done => return steps,
                Step::Good => {}
                step => steps.push(step),
            }
        }
        panic!("it does not come to an end: {steps:?}");
    }

    /// Whether a reader of these targets gets the whole journal.
    async fn is_readable(&self, targets: Targets) -> bool {
        let place = JournalPlace { targets, ..self.place.clone() };
        let mut reader = JournalReader::open(place, Point::BEGINNING, self.through).await.unwrap();
        let mut count = 0;
        loop {
            match reader.next().await {
                Ok(Some(changes)) => count += i64::try_from(changes.len()).unwrap(),
                Ok(None) => return count == COUNT * EACH,
                Err(_) => return false,
            }
        }
    }

    async fn first_is_whole(&self) -> bool {
        let only = self.place.targets.only(self.place.targets.iter().next().unwrap());
        self.is_readable(only).await
    }
}

type Harm = fn(&Journal, usize);

fn path(journal: &Journal, n: usize) -> &ObjectPath {
    &journal.segments[n].0
}

/// What happens to a segment in the middle, on one target; each with a name.
const HARMS: [(&str, Harm); 6] = [
    ("missing", |journal, on| std::fs::remove_file(journal.file(on, path(journal, 2))).unwrap()),
    ("truncated", |journal, on| {
        let bytes = &journal.segments[2].1;
        std::fs::write(journal.file(on, path(journal, 2)), &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("reordered: another one lies under its name", |journal, on| {
        std::fs::write(journal.file(on, path(journal, 2)), &journal.segments[3].1).unwrap();
    }),
    ("of another department", |journal, on| {
        let (_, bytes, _) = sealed(&journal.place.repository, "ops", 7, Chain::GENESIS);
        std::fs::write(journal.file(on, path(journal, 2)), bytes).unwrap();
    }),
    ("of another repository", |journal, on| {
        let (identity, recipient) = crate::backup::testing::identity();
        let other = Repository::from_secret("other", [9; 32], &[recipient], &identity).unwrap();
        let (_, bytes, _) = sealed(&other, "eng", 7, Chain::GENESIS);
        std::fs::write(journal.file(on, path(journal, 2)), bytes).unwrap();
    }),
    ("the first of all missing", |journal, on| std::fs::remove_file(journal.file(on, path(journal, 0))).unwrap()),
];

#[tokio::test]
async fn whatever_another_target_has_whole_is_mended() {
    assert!(journal().await.scrub().await.is_empty());
    for (what, harm) in HARMS {
        let journal = journal().await;
        harm(&journal, 0);
        assert!(!journal.first_is_whole().await, "{what}");
        assert!(journal.is_readable(journal.place.targets.clone()).await, "{what}: the other copy is read");
        let steps = journal.scrub().await;
        assert!(matches!(steps.as_slice(), [Step::Repaired(_)]), "{what}: {steps:?}");
        assert!(journal.first_is_whole().await, "{what}");
        assert!(journal.scrub().await.is_empty(), "{what}: once");
    }
}

#[tokio::test]
async fn what_no_target_has_is_named_with_its_place_and_nobody_reads_over_it() {
    for (what, harm) in HARMS {
        let journal = journal().await;
        harm(&journal, 0);
        harm(&journal, 1);
        let steps = journal.scrub().await;
        let (after, until) = if what.contains("first") { (0, 4) } else { (6, 10) };
        let missing = Step::Missing { after: Sequence(after), until: Some(Sequence(until)) };
        assert!(steps.contains(&missing), "{what}: {steps:?}");
        assert!(!journal.is_readable(journal.place.targets.clone()).await, "{what}");
    }
}

#[tokio::test]
async fn the_end_of_a_journal_can_be_missing_too() {
    let journal = journal().await;
    for on in 0..2 {
        std::fs::remove_file(journal.file(on, path(&journal, 4))).unwrap();
    }
    assert_eq!(journal.scrub().await, [Step::Missing { after: Sequence(12), until: None }]);
}

#[tokio::test]
async fn a_duplicate_harms_nothing_and_a_segment_of_another_chain_is_refused() {
    let journal = journal().await;
    let target = journal.place.targets.iter().next().unwrap();
    // The same changes sealed again, by the next leader.
    let (at, before) = (4, {
        let opened = journal.place.repository.open_segment(
            &journal.place.department,
            Timeline(1),
            path(&journal, 1),
            &journal.segments[1].1,
        );
        opened.unwrap().before
    });
    let (again, bytes, _) = sealed(&journal.place.repository, "eng", at, before);
    target.put(&again, bytes).await.unwrap();
    assert!(journal.scrub().await.is_empty());
    assert!(journal.first_is_whole().await);
    // A clone of the database that writes the same numbers.
    let (other, bytes, _) = sealed(&journal.place.repository, "eng", 7, Chain([5; 32]));
    target.put(&other, bytes).await.unwrap();
    let steps = journal.scrub().await;
    let named = |step: &Step| matches!(step, Step::Refused(text) if text.contains(other.as_str()));
    assert!(steps.len() == 1 && steps.iter().all(named), "{steps:?}");
    assert!(journal.first_is_whole().await, "it is passed over");
}
