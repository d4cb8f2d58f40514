//! The faults: what breaks, for how long, and in which order they are drawn.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

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

/// What the history calls it.
pub(super) fn kind(what: What) -> &'static str {
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
