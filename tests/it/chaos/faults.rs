//! The faults: what breaks, for how long, and in which order they are drawn.

use std::time::Duration;

use mongodb::bson::doc;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::history::{Event, now_us, us};
use super::world::{REPLICAS, World};
use crate::harness::eventually;
use crate::harness::parts::{admin_of, until_primary};
use crate::harness::proxy::Mode;

const PATIENCE: Duration = Duration::from_mins(2);
/// How long a transaction is held up at its fence: less than it may last.
const HELD: Duration = Duration::from_millis(4300);

/// Something that breaks. Tenths are of the session timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A leader is killed, and started again when others lead, or at once.
    Killed { at_once: bool },
    /// A leader stands still for so many tenths.
    Frozen(u32),
    /// A leader has no connection with `ZooKeeper` for so many tenths.
    Cut(u32),
    /// A leader keeps its connections with `ZooKeeper`, and nothing passes for so many tenths.
    Blackhole(u32),
    /// A leader stands still while a write of its own is held up on its way, until others lead; then both go on.
    LateWrite,
    /// A leader hears nothing but broken connections from `MongoDB` for so many tenths.
    Refused(u32),
    /// The leader of the ensemble is killed, and started again when another one leads.
    EnsembleLeaderKilled,
    /// Two of three servers are killed for so many tenths.
    QuorumLost(u32),
    /// The leader of the ensemble stands still for so many tenths.
    EnsembleLeaderFrozen(u32),
    /// `mongod` stands still for so many tenths.
    MongodFrozen(u32),
    /// `mongod` is killed and started again.
    MongodKilled,
    /// The primary steps down, and is none for some seconds.
    SteppedDown,
}

use What::{
    Blackhole, Cut, EnsembleLeaderFrozen, EnsembleLeaderKilled, Frozen, Killed, LateWrite, MongodFrozen, MongodKilled,
    QuorumLost, Refused, SteppedDown,
};

const KILLED: What = Killed { at_once: false };

/// What may happen in a round: one thing or two at once.
const DECK: [&[What]; 22] = [
    &[KILLED],
    &[KILLED],
    &[Killed { at_once: true }],
    &[Frozen(5)],
    &[Frozen(9)],
    &[Frozen(15)],
    &[Frozen(100)],
    &[Cut(15)],
    &[Blackhole(15)],
    &[LateWrite],
    &[EnsembleLeaderKilled],
    &[QuorumLost(15)],
    &[EnsembleLeaderFrozen(15)],
    &[Refused(12), KILLED],
    &[MongodFrozen(10), KILLED],
    &[MongodKilled, Frozen(15)],
    &[SteppedDown, Cut(15)],
    &[KILLED, KILLED],
    &[Frozen(15), Cut(20)],
    &[EnsembleLeaderKilled, KILLED],
    &[Blackhole(15), MongodFrozen(5)],
    &[LateWrite, KILLED],
];

/// What happens in the few rounds of `make test`.
pub(super) const SHORT: [&[What]; 5] =
    [&[KILLED], &[Frozen(15)], &[Cut(15)], &[MongodFrozen(5), Killed { at_once: true }], &[LateWrite]];

/// Draws faults so that each comes once before one comes again.
#[derive(Debug)]
pub(super) struct Deck {
    random: StdRng,
    left: Vec<&'static [What]>,
}

impl Deck {
    pub(super) fn of(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), left: Vec::new() }
    }

    /// The next round.
    pub(super) fn draw(&mut self) -> &'static [What] {
        if self.left.is_empty() {
            self.left = DECK.to_vec();
            self.left.shuffle(&mut self.random);
        }
        self.left.pop().expect("have one")
    }

    /// A time of up to `longest`.
    pub(super) fn up_to(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.random.random_range(0.0..1.0))
    }
}

/// The name of a round in the report.
pub(super) fn name(faults: &[What]) -> String {
    let of_session = |what: &str, tenths: u32| format!("{what} {}.{} T", tenths / 10, tenths % 10);
    let one = |what: &What| match *what {
        Killed { at_once: false } => "killed".to_owned(),
        Killed { at_once: true } => "killed, back at once".to_owned(),
        Frozen(tenths) => of_session("frozen", tenths),
        Cut(tenths) => of_session("cut", tenths),
        Blackhole(tenths) => of_session("blackhole", tenths),
        LateWrite => "late write".to_owned(),
        Refused(tenths) => of_session("refused by MongoDB", tenths),
        EnsembleLeaderKilled => "leader of ZooKeeper killed".to_owned(),
        QuorumLost(tenths) => of_session("quorum lost", tenths),
        EnsembleLeaderFrozen(tenths) => of_session("leader of ZooKeeper frozen", tenths),
        MongodFrozen(tenths) => of_session("mongod frozen", tenths),
        MongodKilled => "mongod killed".to_owned(),
        SteppedDown => "primary stepped down".to_owned(),
    };
    faults.iter().map(one).collect::<Vec<_>>().join(" + ")
}

/// Something that is broken now.
#[derive(Debug)]
pub(super) struct Open {
    what: What,
    /// The replica or the servers.
    which: Vec<usize>,
    who: String,
    /// When it is to be mended.
    pub(super) until_us: i64,
}

impl World {
    /// The span of tenths of the session timeout.
    fn tenths(&self, tenths: u32) -> Duration {
        self.session * tenths / 10
    }

    /// A replica that leads something, or any other, if those are taken.
    fn victim(&self, taken: &[Open]) -> usize {
        let nodes = self.nodes();
        let free = |index: &usize| !taken.iter().any(|open| open.who == format!("r{}", index + 1));
        let leads =
            |index: &usize| nodes.leaders.values().filter(|node| node.replica == format!("r{}", index + 1)).count();
        (0..REPLICAS).filter(free).max_by_key(leads).expect("have a replica left")
    }

    /// Breaks something.
    pub(super) async fn break_it(&mut self, round: u64, what: What, open: &[Open]) -> Open {
        let victim = self.victim(open);
        let (mut which, mut who) = (vec![victim], format!("r{}", victim + 1));
        let ensemble = matches!(what, EnsembleLeaderKilled | EnsembleLeaderFrozen(_) | QuorumLost(_));
        if ensemble {
            let leader = self.ensemble.leader().await;
            (which, who) = (vec![leader], "zookeeper".to_owned());
        }
        if matches!(what, MongodFrozen(_) | MongodKilled | SteppedDown) {
            (which, who) = (Vec::new(), "mongodb".to_owned());
        }
        if what == LateWrite {
            self.hold_a_write(&who).await;
        }
        let trouble = Event::Trouble { round, who: who.clone(), what: kind(what).to_owned(), over: false };
        self.recorder.record(trouble);
        let span = match what {
            Killed { at_once } => {
                self.stack.replicas[victim].kill();
                if at_once { Duration::ZERO } else { self.tenths(13) }
            }
            Frozen(tenths) => {
                self.stack.replicas[victim].freeze();
                self.tenths(tenths)
            }
            LateWrite => {
                self.stack.replicas[victim].freeze();
                Duration::ZERO
            }
            Cut(tenths) => {
                self.zookeeper_of(victim, Mode::Cut);
                self.tenths(tenths)
            }
            Blackhole(tenths) => {
                self.zookeeper_of(victim, Mode::Blackhole);
                self.tenths(tenths)
            }
            Refused(tenths) => {
                self.refuse(&who).await;
                self.tenths(tenths)
            }
            EnsembleLeaderKilled => {
                self.ensemble.servers[which[0]].process.kill();
                Duration::ZERO
            }
            EnsembleLeaderFrozen(tenths) => {
                self.ensemble.servers[which[0]].process.freeze();
                self.tenths(tenths)
            }
            QuorumLost(tenths) => {
                which.push((which[0] + 1) % self.ensemble.servers.len());
                which.iter().for_each(|server| self.ensemble.servers[*server].process.kill());
                self.tenths(tenths)
            }
            MongodFrozen(tenths) => {
                self.stack.mongod.as_ref().expect("have one").process.freeze();
                self.tenths(tenths)
            }
            MongodKilled => {
                self.stack.mongod.as_mut().expect("have one").process.kill();
                Duration::ZERO
            }
            SteppedDown => {
                let admin = admin_of(self.stack.mongod.as_ref().expect("have one")).await;
                // It closes connections, this one perhaps among them.
                let _ = admin.run_command(doc! { "replSetStepDown": 3, "force": true }).await;
                Duration::ZERO
            }
        };
        Open { what, which, who, until_us: now_us() + us(span) }
    }

    /// Waits until the time of a fault is over, and mends it.
    pub(super) async fn mend(&mut self, round: u64, open: Open) {
        eventually("the time of the fault is over", PATIENCE, async || (now_us() >= open.until_us).then_some(())).await;
        match open.what {
            Killed { at_once } => {
                if !at_once {
                    self.until_taken_over(&open.who, self.session * 2).await;
                }
                self.stack.replicas[open.which[0]].restart();
            }
            Frozen(_) => self.stack.replicas[open.which[0]].thaw(),
            LateWrite => {
                self.until_claimed(&open.who).await;
                self.stack.replicas[open.which[0]].thaw();
                self.no_fail_point().await;
            }
            Cut(_) | Blackhole(_) => self.zookeeper_of(open.which[0], Mode::Pass),
            Refused(_) => self.no_fail_point().await,
            EnsembleLeaderKilled => {
                let others = |index: usize| index != open.which[0];
                eventually("another server leads", PATIENCE, async || {
                    self.ensemble_leader().await.filter(|n| others(*n))
                })
                .await;
                self.ensemble.servers[open.which[0]].restart();
            }
            EnsembleLeaderFrozen(_) => self.ensemble.servers[open.which[0]].process.thaw(),
            QuorumLost(_) => open.which.iter().for_each(|server| self.ensemble.servers[*server].restart()),
            MongodFrozen(_) => self.stack.mongod.as_ref().expect("have one").process.thaw(),
            MongodKilled => self.stack.mongod.as_mut().expect("have one").restart(),
            SteppedDown => {}
        }
        if open.who == "mongodb" {
            until_primary(&admin_of(self.stack.mongod.as_ref().expect("have one")).await).await;
        }
        if open.who == "zookeeper" {
            eventually("the ensemble serves", PATIENCE, async || self.ensemble_leader().await).await;
        }
        let (who, what) = (open.who, kind(open.what).to_owned());
        self.recorder.record(Event::Trouble { round, who, what, over: true });
    }

    async fn ensemble_leader(&self) -> Option<usize> {
        for (index, server) in self.ensemble.servers.iter().enumerate() {
            if crate::harness::parts::zookeeper_mode(server).await.as_deref() == Some("leader") {
                return Some(index);
            }
        }
        None
    }

    async fn fail_point(&self, mode: mongodb::bson::Bson, data: mongodb::bson::Document) -> i32 {
        let admin = admin_of(self.stack.mongod.as_ref().expect("have one")).await;
        let set = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
        let reply = admin.run_command(set).await.expect("set the fail point");
        reply.get("count").and_then(mongodb::bson::Bson::as_i32).unwrap_or(0)
    }

    async fn no_fail_point(&self) {
        self.fail_point("off".into(), doc! {}).await;
    }

    /// Breaks the connection of a replica whenever it asks something.
    async fn refuse(&self, replica: &str) {
        let commands =
            ["find", "insert", "update", "delete", "findAndModify", "aggregate", "getMore", "commitTransaction"];
        let data = doc! { "failCommands": commands.to_vec(), "appName": replica, "closeConnection": true };
        self.fail_point("alwaysOn".into(), data).await;
    }

    /// Holds the next transaction of a replica up at its fence, or the next move of a head, which may last for longer;
    /// returns as soon as it is held. The server lets it go on by itself.
    async fn hold_a_write(&self, replica: &str) {
        let long = self.session * 14 / 10;
        let (command, collection, held) =
            if long < HELD { ("findAndModify", "fences", HELD) } else { ("update", "heads", long) };
        let data = doc! {
            "failCommands": [command], "namespace": format!("{}.{collection}", self.stack.place.database),
            "appName": replica, "blockConnection": true, "blockTimeMS": i32::try_from(held.as_millis()).expect("fit"),
        };
        let before = self.fail_point(doc! { "times": 1 }.into(), data).await;
        let admin = admin_of(self.stack.mongod.as_ref().expect("have one")).await;
        let wait = doc! { "waitForFailPoint": "failCommand", "timesEntered": before + 1, "maxTimeMS": 60_000 };
        admin.run_command(wait).await.expect("see a statement held up");
    }

    /// Waits until others have claimed in `MongoDB` what a replica led, or have had the time for it.
    async fn until_claimed(&self, replica: &str) {
        let fences = self.stack.database().await.collection::<mongodb::bson::Document>("fences");
        let begun = now_us();
        eventually("others have claimed", PATIENCE, async || {
            let left = fences.count_documents(doc! { "owner": replica }).await.ok()?;
            (left == 0 || now_us() > begun + us(self.session * 3)).then_some(())
        })
        .await;
    }
}

/// What the history calls it.
fn kind(what: What) -> &'static str {
    match what {
        Killed { .. } => "killed",
        Frozen(_) | LateWrite => "frozen",
        Cut(_) => "cut",
        Blackhole(_) => "blackhole",
        Refused(_) => "refused",
        EnsembleLeaderKilled => "leader killed",
        QuorumLost(_) => "quorum lost",
        EnsembleLeaderFrozen(_) => "leader frozen",
        MongodFrozen(_) => "mongod frozen",
        MongodKilled => "mongod killed",
        SteppedDown => "stepped down",
    }
}
