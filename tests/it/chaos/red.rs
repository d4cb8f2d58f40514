//! Each checker can go red: on a history that was recorded (`recorded.jsonl`: five rounds of `make chaos`), with one change;
//! and, where a build can be broken so, on the history of a broken build.

use std::path::PathBuf;
use std::time::Duration;

use super::checks::{ALL, Finding};
use super::faults::{Deck, What};
use super::history::{Event, History, Line, Write};
use super::world::World;
use crate::harness::variable;

const T: Duration = Duration::from_secs(2);

fn recorded() -> History {
    History::parse(include_str!("recorded.jsonl"))
}

fn find(history: &History, invariant: &str) -> Finding {
    let check = ALL.iter().find(|(name, _)| *name == invariant).expect("know the invariant").1;
    check(history)
}

/// Insists that a checker has nothing to say of the history as it was recorded, and something after one change.
fn goes_red(invariant: &str, change: impl Fn(&mut Vec<Line>)) {
    let mut history = recorded();
    let finding = find(&history, invariant);
    assert!(finding.looked > 0 && finding.violations.is_empty(), "{finding:?}");
    change(&mut history.lines);
    let finding = find(&History::of(history.lines), invariant);
    assert!(!finding.violations.is_empty(), "{invariant} stays green");
}

fn writes(lines: &mut [Line]) -> impl DoubleEndedIterator<Item = &mut Write> {
    lines.iter_mut().filter_map(|line| if let Event::Write(write) = &mut line.event { Some(write) } else { None })
}

/// Adds a copy of the first event that pleases, changed.
fn again(lines: &mut Vec<Line>, change: impl Fn(&mut Event) -> bool) {
    let copy = lines.iter().find_map(|line| {
        let mut copy = line.clone();
        change(&mut copy.event).then_some(copy)
    });
    lines.push(copy.expect("have such an event"));
}

/// Times of the first round in which that broke, alone.
fn round(lines: &[Line], what: &str) -> (i64, i64, String) {
    let rounds = History::of(lines.to_vec()).rounds();
    let round = rounds.into_iter().find(|round| round.broken.len() == 1 && round.broken[0].what == what);
    let round = round.expect("have such a round");
    (round.broken[0].from_us, round.settled_us, round.broken[0].who.clone())
}

#[test]
fn two_replicas_that_lead_by_one_epoch_are_seen() {
    goes_red("I1", |lines| {
        again(lines, |event| {
            let Event::Led { replica, .. } = event else { return false };
            *replica += "-other";
            true
        });
    });
}

#[test]
fn two_runs_of_a_replica_that_lead_by_one_epoch_are_seen() {
    goes_red("I1", |lines| {
        again(lines, |event| {
            let Event::Led { instance, .. } = event else { return false };
            *instance += "-before";
            true
        });
    });
}

#[test]
fn a_claim_whose_zxid_does_not_grow_is_seen() {
    goes_red("I2", |lines| {
        let last = writes(lines).rev().find_map(|write| write.claimed.as_mut()).expect("have a claim");
        last.0 = 1;
    });
}

#[test]
fn an_epoch_that_is_claimed_twice_is_seen() {
    goes_red("I2", |lines| {
        let last = writes(lines).rev().find(|write| write.claimed.is_some()).expect("have a claim");
        last.epoch = last.epoch.map(|epoch| epoch - 1);
    });
}

/// A write of an epoch, and the place in the order right after the claim that ended it.
fn late(lines: &[Line], pleases: impl Fn(&Write) -> bool) -> (u64, u64) {
    let history = History::of(lines.to_vec());
    let writes = history.writes();
    let found = writes.iter().filter(|write| pleases(write)).find_map(|write| {
        let next = writes.iter().find(|claim| {
            claim.claimed.is_some() && claim.department == write.department && claim.epoch > write.epoch
        })?;
        (next.order > write.order).then_some((write.order, next.order))
    });
    found.expect("have a write before a claim")
}

#[test]
fn a_backup_that_is_listed_after_the_next_claim_is_seen() {
    goes_red("I3", |lines| {
        let complete = |write: &Write| write.collection == "backups" && write.state.as_deref() == Some("complete");
        let (order, claim) = late(lines, complete);
        // The two change places.
        for write in writes(lines) {
            write.order = match write.order {
                old if old == order => claim,
                old if old == claim => order,
                other => other,
            };
        }
    });
}

#[test]
fn a_document_whose_epoch_is_lowered_is_seen() {
    goes_red("I3", |lines| {
        let last =
            writes(lines).rev().find(|write| write.collection == "backups" && !write.insert && write.epoch > Some(1));
        last.expect("have a write").epoch = Some(1);
    });
}

#[test]
fn a_step_after_the_lease_is_seen() {
    goes_red("I4", |lines| {
        again(lines, |event| {
            let Event::Step { left_us, .. } = event else { return false };
            *left_us = -1;
            true
        });
    });
}

#[test]
fn a_slot_with_two_jobs_is_seen() {
    goes_red("I5", |lines| {
        again(lines, |event| {
            let Event::Write(Write { insert: true, slot: Some(_), id, .. }) = event else { return false };
            *id += "-again";
            true
        });
    });
}

#[test]
fn a_job_with_two_results_is_seen() {
    goes_red("I5", |lines| {
        again(lines, |event| {
            let Event::Write(write) = event else { return false };
            write.order = u64::MAX;
            write.state.as_deref() == Some("complete") && write.fields.iter().any(|field| field == "state")
        });
    });
}

#[test]
fn a_slot_that_nobody_took_and_nobody_missed_is_seen() {
    goes_red("I5", |lines| {
        let slots = History::of(lines.clone());
        let slots = slots.writes().into_iter().filter(|write| write.insert && write.department == "default");
        let mut slots: Vec<i64> = slots.filter_map(|write| write.slot).collect();
        slots.sort_unstable();
        let middle = slots[slots.len() / 2];
        lines.retain(|line| {
            !matches!(&line.event, Event::Write(write) if write.department == "default" && write.slot == Some(middle))
        });
    });
}

#[test]
fn a_department_that_nobody_leads_for_too_long_is_seen() {
    goes_red("I7", |lines| {
        let (from, until, _) = round(lines, "killed");
        // The round is as long.
        lines.iter_mut().filter(|line| line.at_us >= until).for_each(|line| line.at_us += 20_000_000);
        let led = |line: &&mut Line| (from..until).contains(&line.at_us) && matches!(line.event, Event::Led { .. });
        lines.iter_mut().find(led).expect("have a new leader").at_us = until + 19_000_000;
    });
}

#[test]
fn a_leadership_that_changes_while_the_ensemble_elects_is_seen() {
    goes_red("I8", |lines| {
        let (_, until, _) = round(lines, "leader killed");
        let settled = lines.iter().rposition(|line| line.at_us <= until && matches!(line.event, Event::Znodes(_)));
        let mut nodes = lines[settled.expect("have nodes")].clone();
        let Event::Znodes(changed) = &mut nodes.event else { panic!("be nodes") };
        *changed.counters.get_mut("default").expect("have a counter") += 1;
        nodes.at_us = until;
        lines.push(nodes);
    });
}

#[test]
fn a_post_that_is_answered_in_two_ways_is_seen() {
    goes_red("I9", |lines| {
        again(lines, |event| {
            let Event::Asked { id: Some(id), status: Some(201 | 202), .. } = event else { return false };
            *id += "-other";
            true
        });
    });
}

#[test]
fn a_user_that_was_made_twice_is_seen() {
    goes_red("I9", |lines| {
        again(lines, |event| {
            let Event::Write(Write { collection, id, order, .. }) = event else { return false };
            *id += "-again";
            *order = u64::MAX;
            collection == "users"
        });
    });
}

#[test]
fn backups_that_nobody_was_told_of_are_seen() {
    goes_red("I9", |lines| {
        for n in 0..3 {
            again(lines, |event| {
                let Event::Write(Write { job: Some(job), insert: true, id, .. }) = event else { return false };
                *id = format!("{id}-again-{n}");
                job == "on_demand"
            });
        }
    });
}

#[test]
fn a_leader_node_that_outlives_its_process_is_seen() {
    goes_red("I10", |lines| {
        let (from, _, who) = round(lines, "killed");
        let left = History::of(lines.clone()).znodes_at(from).expect("have nodes").clone();
        let (name, node) = left.leaders.iter().find(|(_, node)| node.replica == who).expect("have led");
        for line in lines.iter_mut().filter(|line| line.at_us > from) {
            if let Event::Znodes(nodes) = &mut line.event {
                nodes.leaders.insert(name.clone(), node.clone());
            }
        }
    });
}

#[test]
fn a_view_that_stays_behind_the_nodes_is_seen() {
    goes_red("I11", |lines| {
        let (from, until, who) = round(lines, "killed");
        let deaf = |line: &Line| {
            let view =
                matches!(&line.event, Event::View { replica, session, .. } if *replica != who && session != "silent");
            view && (from..=until + 1).contains(&line.at_us)
        };
        lines.retain(|line| !deaf(line));
        // It stays so for long enough to be looked at.
        lines.iter_mut().filter(|line| line.at_us > until + 1).for_each(|line| line.at_us += 10_000_000);
    });
}

/// Some rounds of a broken build, each with one fault, and what a checker says of them.
async fn on_a_broken_build(build: &str, faults: &[What], invariant: &str) -> Finding {
    let mut world = World::start(T, 1, Some(PathBuf::from(variable(build)))).await;
    let mut deck = Deck::of(1);
    for (number, what) in (1..).zip(faults) {
        super::round(&mut world, number, &[*what], &mut deck).await;
    }
    find(&world.end().await, invariant)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the broken builds of `make chaos`"]
async fn without_the_fence_comparison_an_effect_after_the_next_claim_is_seen() {
    let finding = on_a_broken_build("ROLLKEEPER_TEST_UNFENCED", &[What::LateWrite; 3], "I3").await;
    assert!(!finding.violations.is_empty(), "{finding:?}");
    eprintln!("I3 of a build without fence: {:#?}", finding.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the broken builds of `make chaos`"]
async fn with_a_lease_that_is_only_what_the_client_believes_a_step_after_its_end_is_seen() {
    let finding = on_a_broken_build("ROLLKEEPER_TEST_UNLEASED", &[What::Frozen(15)], "I4").await;
    assert!(!finding.violations.is_empty(), "{finding:?}");
    eprintln!("I4 of a build whose lease is its client's belief: {:#?}", finding.violations);
}
