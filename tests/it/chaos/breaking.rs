//! Breaks things, and mends them.

use std::time::Duration;

use mongodb::bson::doc;

use super::faults::What::{
    self, Blackhole, Cut, EnsembleLeaderFrozen, EnsembleLeaderKilled, Frozen, Killed, LateWrite, MongodFrozen,
    MongodKilled, QuorumLost, Refused, SteppedDown,
};
use super::faults::kind;
use super::history::{Event, now_us, us};
use super::world::{REPLICAS, World};
use crate::harness::eventually;
use crate::harness::parts::{admin_of, until_primary, zookeeper_mode};
use crate::harness::proxy::Mode;

const PATIENCE: Duration = Duration::from_mins(2);
/// How long a transaction is held up at its fence: less than it may last.
const HELD: Duration = Duration::from_millis(4300);
/// What the history calls that.
const HELD_UP: &str = "write held up";

/// Something that is broken now.
#[derive(Debug)]
pub(super) struct Open {
    what: What,
    /// The replica or the servers.
    which: Vec<usize>,
    who: String,
    /// When it is to be mended.
    pub(super) until_us: i64,
    /// When the server lets go of a write that it holds up.
    held_us: Option<i64>,
    /// The leader nodes that a killed replica left behind.
    left: Vec<i64>,
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
        let (mut which, who) = match what {
            EnsembleLeaderKilled | EnsembleLeaderFrozen(_) | QuorumLost(_) => {
                (vec![self.ensemble.leader().await], "zookeeper".to_owned())
            }
            MongodFrozen(_) | MongodKilled | SteppedDown => (Vec::new(), "mongodb".to_owned()),
            _ => (vec![victim], format!("r{}", victim + 1)),
        };
        let held_us = if what == LateWrite { Some(self.hold_a_write(round, &who).await) } else { None };
        let trouble = Event::Trouble { round, who: who.clone(), what: kind(what).to_owned(), over: false };
        self.recorder.record(trouble);
        let span = match who.as_str() {
            "zookeeper" => self.break_ensemble(what, &mut which),
            "mongodb" => self.break_mongod(what).await,
            replica => self.break_replica(what, victim, replica).await,
        };
        let killed = matches!(what, Killed { .. });
        let nodes = self.nodes().leaders.into_values().filter(|node| killed && node.replica == who);
        let left = nodes.map(|node| node.czxid).collect();
        Open { what, which, who, until_us: now_us() + us(span), held_us, left }
    }

    /// Breaks a replica, and tells for how long.
    async fn break_replica(&mut self, what: What, index: usize, id: &str) -> Duration {
        match what {
            Killed { at_once } => {
                self.stack.replicas[index].kill();
                if at_once { Duration::ZERO } else { self.tenths(13) }
            }
            Frozen(tenths) => {
                self.stack.replicas[index].freeze();
                self.tenths(tenths)
            }
            Cut(tenths) => {
                self.zookeeper_of(index, Mode::Cut);
                self.tenths(tenths)
            }
            Blackhole(tenths) => {
                self.zookeeper_of(index, Mode::Blackhole);
                self.tenths(tenths)
            }
            Refused(tenths) => {
                self.refuse(id).await;
                self.tenths(tenths)
            }
            _ => {
                self.stack.replicas[index].freeze();
                Duration::ZERO
            }
        }
    }

    /// Breaks servers of the ensemble, and tells for how long.
    fn break_ensemble(&mut self, what: What, which: &mut Vec<usize>) -> Duration {
        let leader = which[0];
        match what {
            EnsembleLeaderFrozen(tenths) => {
                self.ensemble.servers[leader].process.freeze();
                self.tenths(tenths)
            }
            QuorumLost(tenths) => {
                which.push((leader + 1) % self.ensemble.servers.len());
                for server in which {
                    self.ensemble.servers[*server].process.kill();
                }
                self.tenths(tenths)
            }
            _ => {
                self.ensemble.servers[leader].process.kill();
                Duration::ZERO
            }
        }
    }

    /// Breaks `mongod`, and tells for how long.
    async fn break_mongod(&mut self, what: What) -> Duration {
        let mongod = self.stack.mongod.as_mut().expect("have one");
        match what {
            MongodFrozen(tenths) => {
                mongod.process.freeze();
                self.tenths(tenths)
            }
            MongodKilled => {
                mongod.process.kill();
                Duration::ZERO
            }
            _ => {
                let admin = admin_of(mongod).await;
                // It closes connections, this one perhaps among them.
                let _ = admin.run_command(doc! { "replSetStepDown": 3, "force": true }).await;
                Duration::ZERO
            }
        }
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
        self.recorder.record(Event::Trouble { round, who: who.clone(), what, over: true });
        if let Some(until) = open.held_us {
            eventually("the write goes on", PATIENCE, async || (now_us() >= until).then_some(())).await;
            self.recorder.record(Event::Trouble { round, who, what: HELD_UP.to_owned(), over: true });
        }
        eventually("what a dead leader left is gone", PATIENCE, async || {
            let nodes = self.nodes();
            (!nodes.leaders.values().any(|node| open.left.contains(&node.czxid))).then_some(())
        })
        .await;
    }

    async fn ensemble_leader(&self) -> Option<usize> {
        for (index, server) in self.ensemble.servers.iter().enumerate() {
            if zookeeper_mode(server).await.as_deref() == Some("leader") {
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
    /// returns as soon as it is held. The server lets it go on by itself; tells when.
    async fn hold_a_write(&self, round: u64, replica: &str) -> i64 {
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
        let (who, what) = (replica.to_owned(), HELD_UP.to_owned());
        self.recorder.record(Event::Trouble { round, who, what, over: false });
        now_us() + us(held)
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
