//! I7 and I8: how long a department is without a leader, and that an election of the ensemble alone changes no leadership.

use std::collections::BTreeMap;

use super::Finding;
use crate::chaos::history::{Event, History, Round};

/// What a failover may take beyond session timeout and tick, at the 99th percentile.
const BEYOND_US: i64 = 700_000;
/// What each single one may take beyond that, on a machine with other work.
const BUSY_US: i64 = 3_000_000;
/// What breaks one leader.
const OF_LEADERS: [&str; 4] = ["killed", "frozen", "cut", "blackhole"];

/// A change of leader.
#[derive(Debug, Clone)]
pub(in crate::chaos) struct Gap {
    pub(in crate::chaos) fault: String,
    pub(in crate::chaos) department: String,
    pub(in crate::chaos) epoch: i64,
    /// How long nobody led since somebody could have.
    pub(in crate::chaos) us: i64,
    /// How long of it the machine had no time for us.
    late_us: i64,
    /// Whether the one before was killed and nothing else was broken.
    pub(in crate::chaos) crash: bool,
}

/// What the budget gives a failover.
pub(in crate::chaos) fn budget_us(history: &History) -> i64 {
    let (session, tick) = history.timing();
    session + tick + BEYOND_US
}

#[derive(Debug)]
struct Led<'a> {
    at: i64,
    replica: &'a str,
    epoch: i64,
}

/// Every change of leader within a round.
pub(in crate::chaos) fn gaps(history: &History) -> Vec<Gap> {
    let rounds = history.rounds();
    let mut led: BTreeMap<&str, Vec<Led<'_>>> = BTreeMap::new();
    let mut ended: BTreeMap<(&str, i64), i64> = BTreeMap::new();
    let mut served = Vec::new();
    for line in &history.lines {
        match &line.event {
            Event::Led { replica, department, epoch, .. } => {
                led.entry(department).or_default().push(Led { at: line.at_us, replica, epoch: *epoch });
            }
            Event::Ended { department, epoch, .. } => {
                ended.insert((department, *epoch), line.at_us);
            }
            Event::Quorum { serves: true } => served.push(line.at_us),
            _ => {}
        }
    }
    let mut gaps = Vec::new();
    for (department, mut led) in led {
        led.sort_by_key(|led| led.epoch);
        for pair in led.windows(2) {
            let [old, new] = pair else { continue };
            let Some(round) = rounds.iter().find(|round| (round.from_us..=round.settled_us).contains(&new.at)) else {
                continue;
            };
            let Some(from) = begins(round, old, new, ended.get(&(department, old.epoch)).copied()) else { continue };
            let again = served.iter().rev().find(|at| (from..new.at).contains(*at));
            let from = again.copied().unwrap_or(from);
            let killed = |broken: &super::super::history::Broken| broken.what == "killed" && broken.who == old.replica;
            gaps.push(Gap {
                fault: round.fault.clone(),
                department: department.to_owned(),
                epoch: new.epoch,
                us: (new.at - from).max(0),
                late_us: history.late_us(from, new.at),
                crash: round.broken.len() == 1 && killed(&round.broken[0]),
            });
        }
    }
    gaps
}

/// Since when nobody led though somebody could have: the old leader broke or stepped down, and `MongoDB` and the successor
/// were there. When the ensemble served is seen elsewhere.
fn begins(round: &Round, old: &Led<'_>, new: &Led<'_>, ended: Option<i64>) -> Option<i64> {
    let broke = round.broken.iter().filter(|broken| broken.who == old.replica && broken.from_us > old.at);
    let broke = broke.filter(|broken| OF_LEADERS.contains(&broken.what.as_str())).map(|broken| broken.from_us);
    let from = broke.chain(ended.filter(|at| *at <= new.at)).min()?;
    // The successor may itself have been broken, or what it needs.
    let held_up = |who: &str| who == new.replica || who == "mongodb";
    let mended = round.broken.iter().filter(|broken| held_up(&broken.who) && broken.from_us < new.at);
    let mended = mended.filter(|broken| broken.until_us > from).map(|broken| broken.until_us.min(new.at));
    Some(mended.chain([from]).max().unwrap_or(from))
}

/// I7: no department is without a leader for longer than the bound.
pub(super) fn bounded(history: &History) -> Finding {
    let mut finding = Finding::new("I7", "a gap without leader is at most T + tick + 0.7 s, and 3 s on a busy machine");
    let bound = budget_us(history) + BUSY_US;
    for gap in gaps(history) {
        finding.look(gap.us <= bound + gap.late_us, || {
            format!(
                "{} ({}): nobody led for {} ms before epoch {}",
                gap.department,
                gap.fault,
                gap.us / 1000,
                gap.epoch
            )
        });
    }
    finding
}

/// I8: no leadership changes while the ensemble elects another leader, if that fits into a lease. A client that lost its
/// server pauses about as long as the ensemble was away before it is back, and the last renewal is up to a beat old.
pub(super) fn none_when_the_ensemble_elects(history: &History) -> Finding {
    let mut finding = Finding::new("I8", "an election of the ensemble within a lease changes no leadership");
    let session = history.timing().0;
    for round in history.rounds() {
        let [broken] = &round.broken[..] else { continue };
        let Some(away) = away_us(history, &round) else { continue };
        if broken.what != "leader killed" || away * 2 + session / 10 >= session / 2 {
            continue;
        }
        let (before, after) = (history.znodes_at(round.from_us), history.znodes_at(round.settled_us));
        let (Some(before), Some(after)) = (before, after) else { continue };
        for (department, counter) in &before.counters {
            let now = after.counters.get(department);
            let handed = history.lines.iter().any(|line| {
                matches!(&line.event, Event::Handed { department: of, epoch, .. } if of == department && epoch == counter)
            });
            finding.look(handed || now == Some(counter), || {
                format!("round {}: {department} went from {counter} to {now:?} in {} ms", round.number, away / 1000)
            });
        }
    }
    finding
}

/// How long the ensemble did not serve in a round.
fn away_us(history: &History, round: &Round) -> Option<i64> {
    let within = |line: &&super::super::history::Line| (round.from_us..=round.settled_us).contains(&line.at_us);
    let mut lost = None;
    let mut away = None;
    for line in history.lines.iter().filter(within) {
        match (&line.event, lost) {
            (Event::Quorum { serves: false }, _) => lost = Some(line.at_us),
            (Event::Quorum { serves: true }, Some(from)) => away = away.max(Some(line.at_us - from)),
            _ => {}
        }
    }
    away
}
