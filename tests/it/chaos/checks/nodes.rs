//! I10 and I11: leader nodes of the dead go in time, and what replicas show follows the nodes.

use std::collections::BTreeMap;

use super::Finding;
use crate::chaos::history::{Event, History, LeaderNode, Znodes};

/// Replica and epoch of each department.
type Leaders = BTreeMap<String, (String, i64)>;

/// How far apart two looks at the nodes may be, with a busy machine.
const LOOKS_US: i64 = 700_000;
/// How soon a view has to follow when nothing is broken any more.
const FOLLOWS_US: i64 = 2_000_000;
/// How much longer on a machine with other work.
const BUSY_US: i64 = 2_000_000;

/// I10: no leader node of a process that is gone stands for longer than the session timeout and two ticks. An ensemble that
/// was away gives every session its whole time anew.
pub(super) fn no_orphan(history: &History) -> Finding {
    let mut finding = Finding::new("I10", "no orphan leader node longer than T + 2 ticks");
    let (session, tick) = history.timing();
    let nodes = history.znodes();
    for round in history.rounds() {
        let away = round.broken.iter().filter(|broken| broken.who == "zookeeper").map(|broken| broken.until_us).max();
        for dead in round.broken.iter().filter(|broken| broken.what == "killed") {
            let Some(then) = history.znodes_at(dead.from_us) else { continue };
            let late = history.late_us(dead.from_us, round.settled_us);
            let latest = dead.from_us.max(away.unwrap_or(0)) + session + 2 * tick + LOOKS_US + late;
            for (department, node) in then.leaders.iter().filter(|(_, node)| node.replica == dead.who) {
                let stands = |now: &Znodes| now.leaders.get(department).is_some_and(|now| now.czxid == node.czxid);
                let gone = nodes.iter().find(|(at, now)| *at > dead.from_us && !stands(now)).map(|(at, _)| *at);
                finding.look(gone.is_some_and(|gone| gone <= latest), || {
                    let stood = gone.map(|gone| (gone - dead.from_us) / 1000);
                    format!("round {}: {department} of the dead {} stood for {stood:?} ms", round.number, dead.who)
                });
            }
        }
    }
    finding
}

/// I11: while nothing is broken, no replica's view differs from the nodes for longer than two seconds. One that says that it
/// has no session may wait for the end of the one that its process had before it was killed.
pub(super) fn views_follow(history: &History) -> Finding {
    let mut finding = Finding::new("I11", "views equal the nodes 2 s after faults stop");
    let (rounds, (session, tick)) = (history.rounds(), history.timing());
    for (round, next) in rounds.iter().zip(rounds.iter().skip(1).map(Some).chain([None])) {
        let end = next.map_or(i64::MAX, |next| next.from_us);
        let mended = round.broken.iter().map(|broken| broken.until_us).max().unwrap_or(round.from_us);
        for ((replica, connected), (from, until)) in longest_differences(history, mended, end) {
            let waits = if connected { 0 } else { session + 2 * tick };
            let most = FOLLOWS_US + BUSY_US + waits + history.late_us(from, until);
            finding.look(until - from <= most, || {
                let ms = (until - from) / 1000;
                format!("round {} ({}): {replica} differed for {ms} ms", round.number, round.fault)
            });
        }
    }
    finding
}

/// From when to when each replica's view differed from the nodes for longest between two moments, while it said that it is
/// connected and while it did not.
fn longest_differences(history: &History, from_us: i64, until_us: i64) -> BTreeMap<(&str, bool), (i64, i64)> {
    let until_us = until_us.min(history.lines.last().map_or(0, |line| line.at_us));
    let mut views: BTreeMap<&str, (bool, &Leaders)> = BTreeMap::new();
    let mut since: BTreeMap<(&str, bool), i64> = BTreeMap::new();
    let mut longest: BTreeMap<(&str, bool), (i64, i64)> = BTreeMap::new();
    let mut now = Leaders::new();
    let lines = history.lines.iter().take_while(|line| line.at_us <= until_us);
    for (at, event) in lines.map(|line| (line.at_us, Some(&line.event))).chain([(until_us, None)]) {
        // So it was until now.
        for (key, from) in &since {
            let lasted = ((*from).max(from_us), at.max(from_us));
            let before = longest.entry(*key).or_insert(lasted);
            if lasted.1 - lasted.0 > before.1 - before.0 {
                *before = lasted;
            }
        }
        match event {
            Some(Event::Znodes(nodes)) => {
                let leader = |node: &LeaderNode| (node.replica.clone(), node.epoch);
                now = nodes.leaders.iter().map(|(name, node)| (name.clone(), leader(node))).collect();
            }
            Some(Event::View { replica, session, leaders }) => {
                views.insert(replica, (session == "connected", leaders));
            }
            _ => continue,
        }
        for (replica, (connected, shown)) in &views {
            longest.entry((*replica, *connected)).or_insert((from_us, from_us));
            since.remove(&(*replica, !connected));
            if **shown == now {
                since.remove(&(*replica, *connected));
            } else {
                since.entry((*replica, *connected)).or_insert(at);
            }
        }
    }
    longest
}
