//! I10 and I11: leader nodes of the dead go in time, and what replicas show follows the nodes.

use std::collections::BTreeMap;

use super::Finding;
use crate::chaos::history::{Event, History, Round, Znodes};

/// How far apart two looks at the nodes may be, with a busy machine.
const LOOKS_US: i64 = 700_000;
/// How soon a view has to follow when nothing is broken any more.
const FOLLOWS_US: i64 = 2_000_000;

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

/// I11: every replica's view equals the nodes within two seconds after nothing is broken and nothing changes any more.
pub(super) fn views_follow(history: &History) -> Finding {
    let mut finding = Finding::new("I11", "views equal the nodes 2 s after faults stop");
    let rounds = history.rounds();
    for (round, next) in rounds.iter().zip(rounds.iter().skip(1).map(Some).chain([None])) {
        let end = next.map_or(i64::MAX, |next| next.from_us);
        let mended = round.broken.iter().map(|broken| broken.until_us).max().unwrap_or(round.from_us);
        let changed = history.znodes().iter().map(|(at, _)| *at).filter(|at| *at < end).max().unwrap_or(0);
        let from = mended.max(changed);
        let by = (from + FOLLOWS_US + LOOKS_US + history.late_us(from, end)).min(end - 1);
        let Some(nodes) = history.znodes_at(by) else { continue };
        for (replica, (at, session, shown)) in views_at(history, by) {
            let leaders = nodes.leaders.iter().map(|(name, node)| (name.clone(), (node.replica.clone(), node.epoch)));
            let same = leaders.collect::<BTreeMap<_, _>>() == *shown;
            finding.look(same, || told(round, replica, (by - at) / 1000, session));
        }
    }
    finding
}

fn told(round: &Round, replica: &str, ago_ms: i64, session: &str) -> String {
    format!("round {} ({}): what {replica} showed {ago_ms} ms before is not so ({session})", round.number, round.fault)
}

type View<'a> = (i64, &'a str, &'a BTreeMap<String, (String, i64)>);

/// What each replica showed at a moment.
fn views_at(history: &History, at_us: i64) -> BTreeMap<&str, View<'_>> {
    let mut views = BTreeMap::new();
    for line in history.lines.iter().take_while(|line| line.at_us <= at_us) {
        if let Event::View { replica, session, leaders } = &line.event {
            views.insert(replica.as_str(), (line.at_us, session.as_str(), leaders));
        }
    }
    views
}
