//! Reading ahead changes how long a journal takes, and nothing else.

use std::time::{Duration, Instant};

use crate::backup::Repository;
use crate::backup::journal_read::{JournalReader, Point};
use crate::backup::testing::{golden_repository, segment, slow_target};
use crate::domain::history::{Chain, Sequence, Timeline};

use super::*;

/// Segments of some changes each, one after the other, on a target that takes its time for each read.
async fn journal(count: i64, each: i64, wait: Duration) -> (JournalPlace, Point, Vec<Point>) {
    let (repository, targets) = (golden_repository(), slow_target(wait));
    let place = JournalPlace::new(&repository, targets, &"eng".parse().unwrap(), Timeline(1));
    let mut points = vec![Point::BEGINNING];
    for n in 0..count {
        let before = points.last().unwrap().chain;
        let chain = put(&repository, &place, (n * each + 1, each), before).await;
        points.push(Point { sequence: Sequence((n + 1) * each), chain });
    }
    (place, *points.last().unwrap(), points)
}

async fn put(repository: &Repository, place: &JournalPlace, range: (i64, i64), before: Chain) -> Chain {
    let (path, bytes, after) = segment(repository, "eng", range, before);
    place.targets.iter().next().unwrap().put(&path, bytes).await.unwrap();
    after
}

async fn sequences(place: &JournalPlace, through: Point) -> Result<Vec<i64>, crate::backup::BackupError> {
    let mut reader = JournalReader::open(place.clone(), Point::BEGINNING, through).await?;
    let mut sequences = Vec::new();
    while let Some(changes) = reader.next().await? {
        sequences.extend(changes.iter().map(|change| change.sequence.0));
    }
    Ok(sequences)
}

#[tokio::test]
async fn small_segments_on_a_slow_target_are_read_at_the_same_time_and_given_in_order() {
    const WAIT: Duration = Duration::from_millis(100);
    let (place, through, _) = journal(40, 2, WAIT).await;
    let begin = Instant::now();
    assert_eq!(sequences(&place, through).await.unwrap(), (1..=80).collect::<Vec<_>>());
    assert!(begin.elapsed() < WAIT * 30, "40 reads one after the other take at least {:?}", WAIT * 40);
}

#[tokio::test]
async fn a_long_segment_that_is_damaged_or_of_another_history_is_passed_over_for_the_short_ones() {
    let (place, through, points) = journal(20, 2, Duration::ZERO).await;
    let repository = place.repository.clone();
    put(&repository, &place, (5, 20), Chain([9; 32])).await;
    let (path, bytes, _) = segment(&repository, "eng", (7, 30), points[3].chain);
    place.targets.iter().next().unwrap().put(&path, bytes.slice(..bytes.len() / 2)).await.unwrap();
    put(&repository, &place, (11, 6), points[5].chain).await;
    assert_eq!(sequences(&place, through).await.unwrap(), (1..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_hole_is_told_after_everything_before_it() {
    let (place, through, _) = journal(20, 1, Duration::ZERO).await;
    let target = place.targets.iter().next().unwrap();
    let mut names = target.list("departments/eng/1/journal").await.unwrap();
    names.sort();
    target.delete(&names[10]).await.unwrap();
    let mut reader = JournalReader::open(place.clone(), Point::BEGINNING, through).await.unwrap();
    for n in 1..=10 {
        assert_eq!(reader.next().await.unwrap().unwrap()[0].sequence, Sequence(n));
    }
    let told = reader.next().await.unwrap_err().to_string();
    assert!(told.contains("after sequence 10"), "{told}");
}

#[tokio::test]
#[ignore = "a measurement: run it by its name"]
async fn measure_two_thousand_small_segments() {
    for wait in [Duration::ZERO, Duration::from_millis(5)] {
        let (place, through, _) = journal(2000, 5, wait).await;
        let names = place.targets.list("departments/eng/1/journal").await.unwrap();
        let begin = Instant::now();
        for path in &names {
            fetch(&place, path).await.unwrap();
        }
        let one_by_one = begin.elapsed();
        let begin = Instant::now();
        assert_eq!(sequences(&place, through).await.unwrap().len(), 10_000);
        eprintln!("{wait:?} a read: one after the other {one_by_one:?}, ahead {:?}", begin.elapsed());
    }
}
