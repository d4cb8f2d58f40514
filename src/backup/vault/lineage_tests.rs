//! Lines of history out of segments that overlap, compete or are missing.

use super::*;
use crate::domain::history::Chain;

/// A point of a line: equal sequences of equal lines are the same point.
fn point(sequence: i64, line: u8) -> Point {
    let mut chain = [0; 32];
    chain[0] = line;
    chain[1] = u8::try_from(sequence).unwrap();
    Point { sequence: Sequence(sequence), chain: Chain(chain) }
}

fn link(epoch: i64, points: &[Point]) -> Link {
    let station = |(n, point): (usize, &Point)| Station {
        point: *point,
        time: (n > 0).then(|| Timestamp::from_millis(point.sequence.0 * 1000)),
    };
    let name = format!("{}-{epoch}.seg", points[0].sequence.0);
    let stations = points.iter().enumerate().map(station).collect();
    Link { path: ObjectPath::from_stored(name), epoch: Epoch(epoch), stations }
}

fn base(at: Point, epoch: i64) -> Base {
    Base { point: at, time: Timestamp::from_millis(at.sequence.0 * 1000), epoch: Epoch(epoch), snapshot: None }
}

fn spans(lineage: &Lineage) -> Vec<(i64, i64)> {
    lineage.runs.iter().filter_map(|run| lineage.span(run)).map(|(from, to)| (from.0, to.0)).collect()
}

#[test]
fn segments_count_as_far_as_they_chain_from_a_base() {
    let links = vec![link(1, &[point(0, 0), point(5, 0)]), link(1, &[point(5, 0), point(9, 0)])];
    let lineage = Lineage::of(vec![base(point(0, 0), 0)], links.clone());
    assert_eq!(spans(&lineage), [(0, 9)]);
    assert!(lineage.leads(&point(0, 0), &point(9, 0)) && !lineage.leads(&point(9, 0), &point(0, 0)));
    assert_eq!(lineage.way_to(&point(9, 0)).unwrap().1, [point(0, 0), point(5, 0), point(9, 0)]);
    assert!(Lineage::of(Vec::new(), links).runs.is_empty(), "nothing without a base");
}

#[test]
fn a_missing_segment_ends_the_run_and_the_next_base_begins_another() {
    let links = vec![link(1, &[point(0, 0), point(5, 0)]), link(1, &[point(9, 0), point(12, 0), point(14, 0)])];
    let bases = vec![base(point(0, 0), 0), base(point(12, 0), 1)];
    let lineage = Lineage::of(bases, links.clone());
    assert_eq!(spans(&lineage), [(0, 5), (12, 14)]);
    assert_eq!(lineage.holes(), [(Sequence(5), Sequence(12))]);
    assert_eq!(lineage.reach(&point(0, 0)), Sequence(5));
    let stranded = Lineage::of(vec![base(point(0, 0), 0)], links);
    assert_eq!((spans(&stranded), stranded.holes()), (vec![(0, 5)], vec![(Sequence(5), Sequence(9))]));
}

#[test]
fn overlapping_segments_of_one_history_are_one_line() {
    let whole = link(2, &[point(0, 0), point(3, 0), point(5, 0), point(8, 0)]);
    let links = vec![link(1, &[point(0, 0), point(3, 0), point(5, 0)]), whole, link(2, &[point(3, 0), point(5, 0)])];
    let lineage = Lineage::of(vec![base(point(0, 0), 0)], links);
    assert_eq!(spans(&lineage), [(0, 8)]);
    assert!(lineage.competing().is_empty() && lineage.holes().is_empty());
}

#[test]
fn where_two_lines_compete_the_higher_epoch_wins_even_when_it_is_shorter() {
    let common = link(1, &[point(0, 0), point(5, 0)]);
    let old = link(1, &[point(5, 0), point(9, 1), point(20, 1)]);
    let new = link(3, &[point(5, 0), point(9, 2)]);
    let lineage = Lineage::of(vec![base(point(0, 0), 0)], vec![old, common, new]);
    assert_eq!(lineage.tip().unwrap().point, point(9, 2));
    let aside: Vec<_> = lineage.competing().iter().map(|(link, at)| (link.epoch, *at)).collect();
    assert_eq!(aside, [(Epoch(1), Sequence(9))]);
}

#[test]
fn an_orphan_of_a_dead_leader_that_goes_on_from_the_newest_point_counts() {
    let dead = link(1, &[point(5, 0), point(7, 0), point(9, 0)]);
    let next = link(2, &[point(5, 0), point(7, 0)]);
    let lineage = Lineage::of(vec![base(point(5, 0), 1)], vec![dead, next]);
    assert_eq!(lineage.tip().unwrap().point, point(9, 0));
}

#[test]
fn a_segment_of_another_history_is_stray_and_changes_nothing() {
    let links = vec![link(1, &[point(0, 0), point(5, 0)]), link(9, &[point(5, 7), point(8, 7)])];
    let lineage = Lineage::of(vec![base(point(0, 0), 0)], links);
    assert_eq!(spans(&lineage), [(0, 5)]);
    assert_eq!(lineage.stray().iter().map(|link| link.epoch).collect::<Vec<_>>(), [Epoch(9)]);
}

#[test]
fn what_lies_before_the_first_base_is_no_hole() {
    let links = vec![link(1, &[point(3, 0), point(5, 0)]), link(1, &[point(5, 0), point(9, 0)])];
    let lineage = Lineage::of(vec![base(point(5, 0), 1)], links);
    assert_eq!(spans(&lineage), [(5, 9)]);
    assert!(lineage.holes().is_empty() && lineage.competing().is_empty() && lineage.stray().is_empty());
}
