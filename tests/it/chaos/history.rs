//! What is recorded of a run: one event a line, in JSON, so that a report can be made again from the file.
//!
//! Times are of `CLOCK_BOOTTIME`, in microseconds; those of logs come from the wall clock of the same machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Time since boot, in microseconds.
pub(super) fn now_us() -> i64 {
    read_us(ClockId::Boottime)
}

/// Time of the wall clock, in microseconds since the Unix epoch; logs have it.
pub(super) fn wall_us() -> i64 {
    read_us(ClockId::Realtime)
}

fn read_us(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

/// Microseconds of a span.
pub(super) fn us(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).expect("fit")
}

/// An event and its time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) at_us: i64,
    #[serde(flatten)]
    pub(super) event: Event,
}

/// A leader node as it stands in `ZooKeeper`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeaderNode {
    pub(super) replica: String,
    pub(super) instance: String,
    pub(super) claim: String,
    pub(super) epoch: i64,
    /// zxid of its creation.
    #[serde(default)]
    pub(super) czxid: i64,
    /// The session that owns it.
    #[serde(default)]
    pub(super) owner: i64,
}

/// All leader nodes, counters and registrations at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Znodes {
    /// The epoch node of each department.
    pub(super) counters: BTreeMap<String, i64>,
    /// The leader node of each department that has one.
    pub(super) leaders: BTreeMap<String, LeaderNode>,
    /// The session of each replica that is registered.
    pub(super) sessions: BTreeMap<String, i64>,
}

/// A committed write of a leader in `MongoDB`, or an insert that a client caused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Write {
    /// Its place in the order of commits.
    pub(super) order: u64,
    pub(super) collection: String,
    pub(super) department: String,
    /// Id of the job or the user; empty for others.
    pub(super) id: String,
    pub(super) insert: bool,
    /// The fields that an update has changed.
    pub(super) fields: Vec<String>,
    /// The epoch that the document carries after it.
    pub(super) epoch: Option<i64>,
    /// zxid, owner and claim of a claimed fence.
    pub(super) claimed: Option<(i64, String, String)>,
    pub(super) state: Option<String>,
    /// Kind of a job.
    pub(super) job: Option<String>,
    /// Replica and epoch that carry the job out.
    pub(super) by: Option<(String, i64)>,
    /// The slot of the schedule, in milliseconds since the Unix epoch.
    pub(super) slot: Option<i64>,
    /// Slots that passed without a backup, all told.
    pub(super) missed: Option<i64>,
    /// Name of a user.
    pub(super) name: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Event {
    /// The run begins.
    Run { seed: u64, session_us: i64, tick_us: i64, departments: Vec<String> },
    /// A round begins: what will break.
    Round { round: u64, fault: String },
    /// Something breaks, or is mended.
    Trouble { round: u64, who: String, what: String, over: bool },
    /// Everything is led, and every replica says so.
    Settled { round: u64 },
    /// A replica says that it leads.
    Led { replica: String, instance: String, claim: String, department: String, epoch: i64 },
    /// A replica says that it has stepped down.
    Ended { replica: String, department: String, epoch: i64 },
    /// A leader was asked to let another replica lead.
    Handed { replica: String, department: String, epoch: i64 },
    /// A leader begins a step, with so much left of its lease.
    Step { replica: String, department: String, epoch: i64, left_us: i64 },
    /// The nodes have changed.
    Znodes(Znodes),
    /// The ensemble has a leader and a follower, or lost them.
    Quorum { serves: bool },
    /// The machine let us wait so much longer than we wanted.
    Late { us: i64 },
    /// What a replica shows of the leaders; its session with `ZooKeeper`, or `silent` when it does not answer.
    View { replica: String, session: String, leaders: BTreeMap<String, (String, i64)> },
    /// `MongoDB` has committed.
    Write(Write),
    /// A client sent a POST with a key, and heard this.
    Asked { key: String, department: String, what: String, replica: String, status: Option<u16>, id: Option<String> },
}

/// The events of a run in the order of their times.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) lines: Vec<Line>,
}

impl History {
    /// Sorts events into a history.
    pub(super) fn of(mut lines: Vec<Line>) -> Self {
        lines.sort_by_key(|line| line.at_us);
        Self { lines }
    }

    /// Reads one that was kept, line by line.
    pub(super) fn parse(text: &str) -> Self {
        Self::of(text.lines().map(|line| serde_json::from_str(line).expect("be an event")).collect())
    }

    /// Keeps it in a file.
    pub(super) fn write(&self, file: &Path) {
        let line = |line: &Line| serde_json::to_string(line).expect("be JSON") + "\n";
        let text: String = self.lines.iter().map(line).collect();
        std::fs::write(file, text).expect("write the history");
    }

    /// Session timeout and tick, in microseconds.
    pub(super) fn timing(&self) -> (i64, i64) {
        let found = self.lines.iter().find_map(|line| match line.event {
            Event::Run { session_us, tick_us, .. } => Some((session_us, tick_us)),
            _ => None,
        });
        found.expect("begin with the run")
    }

    /// The committed writes, in their order.
    pub(super) fn writes(&self) -> Vec<&Write> {
        let write = |line| match line {
            &Line { event: Event::Write(ref write), .. } => Some(write),
            _ => None,
        };
        let mut writes: Vec<&Write> = self.lines.iter().filter_map(write).collect();
        writes.sort_by_key(|write| write.order);
        writes
    }

    /// The states of the nodes, with the time since when each is so.
    pub(super) fn znodes(&self) -> Vec<(i64, &Znodes)> {
        let nodes = |line| match line {
            &Line { at_us, event: Event::Znodes(ref nodes) } => Some((at_us, nodes)),
            _ => None,
        };
        self.lines.iter().filter_map(nodes).collect()
    }

    /// How long the machine had no time for us between two moments.
    pub(super) fn late_us(&self, from_us: i64, until_us: i64) -> i64 {
        let within = self.lines.iter().filter(|line| (from_us..=until_us).contains(&line.at_us));
        within.map(|line| if let Event::Late { us } = line.event { us } else { 0 }).sum()
    }

    /// The nodes at a moment.
    pub(super) fn znodes_at(&self, at_us: i64) -> Option<&Znodes> {
        self.znodes().into_iter().take_while(|(at, _)| *at <= at_us).last().map(|(_, nodes)| nodes)
    }
}

/// What broke, and from when to when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) round: u64,
    pub(super) who: String,
    pub(super) what: String,
    pub(super) from_us: i64,
    pub(super) until_us: i64,
}

/// One round of a run.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub(super) number: u64,
    pub(super) fault: String,
    pub(super) from_us: i64,
    pub(super) settled_us: i64,
    pub(super) broken: Vec<Broken>,
}

impl History {
    /// The rounds that came to their end.
    pub(super) fn rounds(&self) -> Vec<Round> {
        let mut rounds: Vec<Round> = Vec::new();
        for line in &self.lines {
            match &line.event {
                Event::Round { round, fault } => rounds.push(Round {
                    number: *round,
                    fault: fault.clone(),
                    from_us: line.at_us,
                    settled_us: i64::MAX,
                    broken: Vec::new(),
                }),
                Event::Trouble { round, who, what, over } => {
                    let Some(now) = rounds.last_mut() else { continue };
                    if *over {
                        let open = now.broken.iter_mut().find(|broken| broken.who == *who && broken.what == *what);
                        open.expect("break before it is mended").until_us = line.at_us;
                    } else {
                        let (who, what) = (who.clone(), what.clone());
                        let (from_us, until_us) = (line.at_us, i64::MAX);
                        now.broken.push(Broken { round: *round, who, what, from_us, until_us });
                    }
                }
                Event::Settled { .. } => {
                    if let Some(now) = rounds.last_mut() {
                        now.settled_us = line.at_us;
                    }
                }
                _ => {}
            }
        }
        rounds.retain(|round| round.settled_us != i64::MAX);
        rounds
    }
}
