//! The lines of history that verified segments make of one timeline, and the one of them that counts.
//!
//! Rule: a chain value commits to everything before it, so a point (sequence, chain) has one history. Segments count only
//! as far as they chain from a base; where two lines compete, the higher epoch wins.

use std::collections::HashMap;

use crate::domain::clock::Timestamp;
use crate::domain::epoch::Epoch;
use crate::domain::history::Sequence;
use crate::targets::layout::ObjectPath;

use super::super::journal_read::Point;

/// A point that a segment passes, with the time of the change there; none before its first change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Station {
    /// The point.
    pub point: Point,
    /// The time of its change.
    pub time: Option<Timestamp>,
}

/// A verified segment, reduced to the points where others begin or end.
#[derive(Debug, Clone)]
pub struct Link {
    /// Its object.
    pub path: ObjectPath,
    /// The epoch of the leader that wrote it.
    pub epoch: Epoch,
    /// The point before it, points inside, its end: in order.
    pub stations: Vec<Station>,
}

/// A point whose state is known without any journal.
#[derive(Debug, Clone)]
pub struct Base {
    /// The point.
    pub point: Point,
    /// The department's time there.
    pub time: Timestamp,
    /// The epoch that wrote it.
    pub epoch: Epoch,
    /// The manifest; none for the empty beginning.
    pub snapshot: Option<ObjectPath>,
}

/// One point of the lines.
#[derive(Debug, Clone)]
pub struct Node {
    /// The point.
    pub point: Point,
    /// The time of the last change at it, or of the base there.
    pub time: Option<Timestamp>,
    /// Up to this moment it is known that nothing followed.
    pub until: Option<Timestamp>,
    /// The highest epoch that wrote it.
    pub epoch: Epoch,
    /// The point before it that a segment leads from.
    before: Option<usize>,
    /// The segments that lead there.
    links: Vec<usize>,
    /// The nearest base at it or before it.
    base: Option<usize>,
}

/// A stretch without a hole: nodes in order, each of which can be restored.
pub type Run = Vec<usize>;

/// The lines of one timeline.
#[derive(Debug, Clone)]
pub struct Lineage {
    /// All points, by sequence.
    pub nodes: Vec<Node>,
    /// What counts, oldest run first.
    pub runs: Vec<Run>,
    links: Vec<Link>,
    bases: Vec<Base>,
    index: HashMap<(i64, [u8; 32]), usize>,
}

impl Lineage {
    /// Joins bases and segments. Every segment has a station wherever another begins or ends inside it.
    pub fn of(bases: Vec<Base>, links: Vec<Link>) -> Self {
        let mut points: Vec<Point> = bases.iter().map(|base| base.point).collect();
        points.extend(links.iter().flat_map(|link| link.stations.iter().map(|station| station.point)));
        points.sort_by_key(|point| (point.sequence, point.chain.0));
        points.dedup();
        let index = points.iter().enumerate().map(|(at, point)| (key(point), at)).collect();
        let fresh = |point| Node {
            point,
            time: None,
            until: None,
            epoch: Epoch(0),
            before: None,
            links: Vec::new(),
            base: None,
        };
        let nodes = points.into_iter().map(fresh).collect();
        let mut lineage = Self { nodes, runs: Vec::new(), links, bases, index };
        lineage.join();
        lineage.runs = lineage.choose();
        lineage
    }

    fn join(&mut self) {
        for (at, link) in self.links.iter().enumerate() {
            let stations: Vec<(usize, Option<Timestamp>)> = link
                .stations
                .iter()
                .filter_map(|station| Some((*self.index.get(&key(&station.point))?, station.time)))
                .collect();
            for pair in stations.windows(2) {
                let ([(before, _), (here, time)], Some(node)) = (pair, self.nodes.get_mut(pair[1].0)) else { continue };
                debug_assert!(before < here);
                node.before = Some(*before);
                node.links.push(at);
                node.epoch = node.epoch.max(link.epoch);
                node.time = *time;
                node.until = *time;
            }
        }
        for (at, base) in self.bases.iter().enumerate() {
            let Some(node) = self.index.get(&key(&base.point)).and_then(|here| self.nodes.get_mut(*here)) else {
                continue;
            };
            node.base = Some(at);
            node.epoch = node.epoch.max(base.epoch);
            node.time = node.time.or(Some(base.time));
            node.until = node.until.max(Some(base.time));
        }
        for here in 0..self.nodes.len() {
            let below = self.nodes[here].before.and_then(|before| self.nodes.get(before)).and_then(|node| node.base);
            let node = &mut self.nodes[here];
            node.base = node.base.or(below);
        }
    }

    /// Run by run from the newest: the highest (epoch, sequence) with a base, as far as segments lead on from it, and back
    /// to the first point that has a base.
    fn choose(&self) -> Vec<Run> {
        let mut after: HashMap<usize, Vec<usize>> = HashMap::new();
        for (here, node) in self.nodes.iter().enumerate() {
            if let Some(before) = node.before {
                after.entry(before).or_default().push(here);
            }
        }
        let mut runs: Vec<Run> = Vec::new();
        let mut below = Sequence(i64::MAX);
        loop {
            let within = |node: &Node| node.base.is_some() && node.point.sequence < below;
            let best = |of: &[usize]| {
                of.iter().copied().filter(|at| within(&self.nodes[*at])).max_by_key(|at| {
                    let node = &self.nodes[*at];
                    (node.epoch, node.point.sequence)
                })
            };
            let all: Vec<usize> = (0..self.nodes.len()).collect();
            let Some(mut tip) = best(&all) else { break };
            while let Some(next) = after.get(&tip).and_then(|next| best(next)) {
                tip = next;
            }
            let mut run: Run = self.back_from(tip).take_while(|at| self.nodes[*at].base.is_some()).collect();
            run.reverse();
            let Some(first) = run.first() else { break };
            below = self.nodes[*first].point.sequence;
            runs.push(run);
        }
        runs.reverse();
        runs
    }

    /// A point and all before it that segments lead from.
    fn back_from(&self, at: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(at), |at| self.nodes.get(*at).and_then(|node| node.before))
    }

    /// The node of a point.
    pub fn node(&self, point: &Point) -> Option<&Node> {
        self.index.get(&key(point)).and_then(|at| self.nodes.get(*at))
    }

    /// Whether segments lead from one point to the other without a hole.
    pub fn leads(&self, from: &Point, to: &Point) -> bool {
        let (Some(from), Some(to)) = (self.index.get(&key(from)), self.index.get(&key(to))) else { return false };
        self.back_from(*to).take_while(|at| at >= from).any(|at| at == *from)
    }

    /// How far segments lead on from a point.
    pub fn reach(&self, from: &Point) -> Sequence {
        let Some(begin) = self.index.get(&key(from)).copied() else { return from.sequence };
        let mut reached = vec![begin];
        let mut last = from.sequence;
        for (at, node) in self.nodes.iter().enumerate().skip(begin + 1) {
            if node.before.is_some_and(|before| reached.binary_search(&before).is_ok()) {
                reached.push(at);
                last = last.max(node.point.sequence);
            }
        }
        last
    }

    /// The nearest base at or before a point, and the points from there to it.
    pub fn way_to(&self, point: &Point) -> Option<(&Base, Vec<Point>)> {
        let at = *self.index.get(&key(point))?;
        let base = self.bases.get(self.nodes.get(at)?.base?)?;
        let mut way: Vec<Point> = self
            .back_from(at)
            .map(|at| self.nodes[at].point)
            .take_while(|passed| passed.sequence >= base.point.sequence)
            .collect();
        way.reverse();
        Some((base, way))
    }

    /// The point before one, as segments lead to it.
    pub fn before(&self, point: &Point) -> Option<&Node> {
        self.node(point)?.before.and_then(|before| self.nodes.get(before))
    }

    /// The segments that lead to a point from the one before it.
    pub fn links_to(&self, point: &Point) -> Vec<&Link> {
        let node = self.node(point);
        node.map(|node| node.links.iter().filter_map(|at| self.links.get(*at)).collect()).unwrap_or_default()
    }

    /// Notes that nothing followed a point up to a moment.
    pub fn stands_until(&mut self, point: &Point, moment: Timestamp) {
        if let Some(node) = self.index.get(&key(point)).and_then(|at| self.nodes.get_mut(*at)) {
            node.until = node.until.max(Some(moment));
        }
    }

    /// Epoch and point of the newest state.
    pub fn tip(&self) -> Option<&Node> {
        self.runs.last().and_then(|run| run.last()).and_then(|at| self.nodes.get(*at))
    }

    /// Segments of another line than the one that counts, each with the sequence where it parts.
    pub fn competing(&self) -> Vec<(&Link, Sequence)> {
        let chosen = self.chosen();
        self.links
            .iter()
            .filter_map(|link| {
                let at = |station: &Station| self.index.get(&key(&station.point)).copied();
                let aside = |at: &usize| !chosen[*at] && self.nodes[*at].base.is_some();
                let parts = link.stations.iter().filter_map(at).find(aside)?;
                Some((link, self.nodes[parts].point.sequence))
            })
            .collect()
    }

    /// What is missing: after which sequence, and up to which; everything between two runs, and between the last run and
    /// segments that lie beyond it.
    pub fn holes(&self) -> Vec<(Sequence, Sequence)> {
        let ends: Vec<(Sequence, Sequence)> = self.runs.iter().filter_map(|run| self.span(run)).collect();
        let mut holes: Vec<(Sequence, Sequence)> = ends.windows(2).map(|pair| (pair[0].1, pair[1].0)).collect();
        if let Some((_, last)) = ends.last() {
            let begins = self.links.iter().filter_map(|link| link.stations.first());
            let stranded = begins
                .filter(|station| self.node(&station.point).is_some_and(|node| node.base.is_none()))
                .map(|station| station.point.sequence)
                .filter(|sequence| sequence > last)
                .min();
            holes.extend(stranded.map(|stranded| (*last, stranded)));
        }
        holes
    }

    /// Segments that continue nothing that counts although no hole lies before them: of another history, or planted by
    /// somebody who knows the secret.
    pub fn stray(&self) -> Vec<&Link> {
        let spans: Vec<(Sequence, Sequence)> = self.runs.iter().filter_map(|run| self.span(run)).collect();
        let (Some((first, _)), Some((_, last))) = (spans.first(), spans.last()) else { return Vec::new() };
        let stray = |link: &&Link| {
            link.stations.first().is_some_and(|station| {
                let unreached = self.node(&station.point).is_some_and(|node| node.base.is_none());
                unreached && *first <= station.point.sequence && station.point.sequence <= *last
            })
        };
        self.links.iter().filter(stray).collect()
    }

    /// First and last sequence of a run.
    pub fn span(&self, run: &Run) -> Option<(Sequence, Sequence)> {
        let of = |at: Option<&usize>| at.and_then(|at| self.nodes.get(*at)).map(|node| node.point.sequence);
        Some((of(run.first())?, of(run.last())?))
    }

    fn chosen(&self) -> Vec<bool> {
        let mut chosen = vec![false; self.nodes.len()];
        for at in self.runs.iter().flatten() {
            chosen[*at] = true;
        }
        chosen
    }
}

fn key(point: &Point) -> (i64, [u8; 32]) {
    (point.sequence.0, point.chain.0)
}

#[cfg(test)]
#[path = "lineage_tests.rs"]
mod tests;
