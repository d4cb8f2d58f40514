//! What a run was like: which faults, how long failovers took, what the checkers found.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::checks::{Finding, Gap, budget_us, gaps};
use super::history::{Event, History};

/// The value below which that share of all lies.
fn percentile(sorted: &[i64], percent: usize) -> i64 {
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).copied().unwrap_or(0)
}

fn seconds(us: i64) -> String {
    let tenths = us / 10_000;
    format!("{}.{:02}", tenths / 100, tenths % 100)
}

fn row(text: &mut String, name: &str, rounds: usize, mut gaps: Vec<i64>) {
    gaps.sort_unstable();
    let of = |percent| seconds(percentile(&gaps, percent));
    let max = seconds(gaps.last().copied().unwrap_or(0));
    let rounds = if rounds == 0 { String::new() } else { rounds.to_string() };
    let (count, p50, p95, p99) = (gaps.len(), of(50), of(95), of(99));
    let _ = writeln!(text, "| {name} | {rounds} | {count} | {p50} | {p95} | {p99} | {max} |");
}

/// Rounds in which at least one department got another leader.
pub(super) fn failovers(history: &History) -> usize {
    let epochs = |at_us| history.znodes_at(at_us).map(|nodes| nodes.counters.clone()).unwrap_or_default();
    let changed = |round: &&super::history::Round| {
        let (before, after) = (epochs(round.from_us), epochs(round.settled_us));
        before.iter().any(|(department, counter)| after.get(department) > Some(counter))
    };
    history.rounds().iter().filter(changed).count()
}

/// The whole report, in Markdown.
pub(super) fn report(history: &History, findings: &[Finding]) -> String {
    let mut text = String::from("# Chaos\n\n");
    let seed = history.lines.iter().find_map(|line| match &line.event {
        Event::Run { seed, departments, .. } => Some((*seed, departments.len())),
        _ => None,
    });
    let (seed, departments) = seed.expect("begin with the run");
    let (session, rounds, all) = (history.timing().0, history.rounds(), gaps(history));
    let _ = writeln!(
        text,
        "Seed {seed}: {} rounds, {} faulted failovers, {} changes of leader, {departments} departments, T = {} s.\n",
        rounds.len(),
        failovers(history),
        all.len(),
        seconds(session),
    );
    let _ = writeln!(text, "Without a leader, in seconds, since somebody could have led:\n");
    text += "| fault | rounds | changes | p50 | p95 | p99 | max |\n|---|---:|---:|---:|---:|---:|---:|\n";
    let mut of: BTreeMap<&str, usize> = BTreeMap::new();
    for round in &rounds {
        *of.entry(&round.fault).or_default() += 1;
    }
    let those = |pleases: &dyn Fn(&Gap) -> bool| all.iter().filter(|gap| pleases(gap)).map(|gap| gap.us).collect();
    for (fault, count) in of {
        row(&mut text, fault, count, those(&|gap| gap.fault == fault));
    }
    row(&mut text, "**crashes alone**", 0, those(&|gap| gap.crash));
    row(&mut text, "**all**", rounds.len(), those(&|_| true));
    let mut crashes: Vec<i64> = those(&|gap| gap.crash);
    crashes.sort_unstable();
    let (p99, budget) = (percentile(&crashes, 99), budget_us(history));
    let kept = if p99 <= budget { "kept" } else { "missed" };
    let _ = writeln!(
        text,
        "\nBudget, T + tick + 0.7 s: {} s; p99 of crashes: {} s, {kept}.\n",
        seconds(budget),
        seconds(p99)
    );
    settled(&mut text, history);
    text += "| invariant | demands | looked at | broken |\n|---|---|---:|---:|\n";
    for finding in findings {
        let Finding { invariant, demands, looked, violations } = finding;
        let _ = writeln!(text, "| {invariant} | {demands} | {looked} | {} |", violations.len());
    }
    for violation in findings.iter().flat_map(|finding| finding.violations.iter().map(|told| (finding.invariant, told)))
    {
        let _ = writeln!(text, "\n- {}: {}", violation.0, violation.1);
    }
    text
}

/// How soon after the last mending everything was led and every replica said so.
fn settled(text: &mut String, history: &History) {
    let after = |round: &super::history::Round| {
        let mended = round.broken.iter().map(|broken| broken.until_us).max().unwrap_or(round.from_us);
        (round.settled_us - mended).max(0)
    };
    let mut all: Vec<i64> = history.rounds().iter().map(after).collect();
    all.sort_unstable();
    let of = |percent| seconds(percentile(&all, percent));
    let _ = writeln!(
        text,
        "Everything led, and shown by every replica, after the last mending: p50 {} s, p95 {} s, max {} s.\n",
        of(50),
        of(95),
        of(100)
    );
}
