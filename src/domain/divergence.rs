//! A department whose targets hold another history than its head: what counts as evidence, and what follows from it.
//!
//! Rule: only what was checked (MAC, place, chain) comes here; a leader that died between a segment and the head left an
//! *orphan*, which is no evidence as long as its own stream agrees with it.

use super::clock::Timestamp;
use super::epoch::Epoch;
use super::history::{Chain, Head, Sequence, Source, Timeline};
use super::ids::{DepartmentName, TargetName};

/// Why a department is diverged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DivergenceCause {
    /// The targets are ahead of the head: MongoDB was rolled back, or this database is an old copy of another one.
    MongodbRolledBack,
    /// Somebody else writes there: the same sequences with another chain, epoch or source.
    AnotherWriter,
}

impl DivergenceCause {
    /// Every cause.
    pub const ALL: [Self; 2] = [Self::MongodbRolledBack, Self::AnotherWriter];

    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MongodbRolledBack => "mongodb_rolled_back",
            Self::AnotherWriter => "another_writer",
        }
    }

    /// What happened, in a sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::MongodbRolledBack => {
                "The targets hold more of the history than MongoDB knows: MongoDB was rolled back, or it is an old copy."
            }
            Self::AnotherWriter => {
                "Another database writes to the same targets: one of the two is a copy that should not run beside them."
            }
        }
    }
}

/// The object that shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Where it lies.
    pub target: TargetName,
    /// Its path below the target.
    pub object: String,
    /// The line of history that it belongs to.
    pub timeline: Timeline,
    /// The history goes at least so far.
    pub sequence: Sequence,
    /// The epoch of the leader that wrote it.
    pub epoch: Epoch,
}

/// A department is diverged: nothing is written to the targets until an operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// Why.
    pub cause: DivergenceCause,
    /// When it was found.
    pub found_at: Timestamp,
    /// What shows it.
    pub evidence: Evidence,
    /// The wish of an operator to go on with the live records.
    pub rebase: Option<RebaseRequest>,
}

/// A wish to go on with the live records on a new timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebaseRequest {
    /// Who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: Timestamp,
}

impl Divergence {
    /// What an operator can do about it.
    pub fn remedy(department: &DepartmentName) -> String {
        format!(
            "Nothing is written to the targets for {department} until you decide. To get the history of the targets back, \
             stop the replicas and run `rollkeeper vault restore` into an empty MongoDB. To go on with the live records, \
             make sure that no other database writes to these targets, then POST /departments/{department}/rebase."
        )
    }
}

/// What an object past the head is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// A run of changes.
    Segment {
        /// Its first change.
        first: Sequence,
        /// The chain before that.
        before: Chain,
        /// The chain after its last change.
        after: Chain,
        /// What the history comes from.
        source: Source,
    },
    /// A snapshot or a word on a backup: these are written only after the head has got there.
    AfterTheHead,
}

/// A checked object that lies past the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastHead {
    /// Where it is, and whose.
    pub evidence: Evidence,
    /// What it is.
    pub held: Held,
}

/// A segment that a dead leader may have left: the chain that the own stream has to show at its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Where it is.
    pub evidence: Evidence,
    /// The chain after its last change.
    pub after: Chain,
}

/// What is known without looking at the targets.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The head.
    pub head: &'a Head,
    /// The epoch of the last leader that took the head before this one: every leader takes it before it writes.
    pub before: Epoch,
    /// What the database's change stream comes from now.
    pub source: &'a Source,
}

/// What follows from the objects past the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// The history goes on from the head, once the own stream has shown what these segments say.
    GoesOn(Vec<Orphan>),
    /// It does not.
    Diverged(DivergenceCause, Evidence),
}

/// Judges what lies past the head when a leadership begins.
pub fn judge(known: Known<'_>, found: Vec<PastHead>) -> Judgement {
    let mut orphans = Vec::new();
    for PastHead { evidence, held } in found {
        match judge_one(known, &evidence, &held) {
            Ok(after) => orphans.extend(after.map(|after| Orphan { evidence, after })),
            Err(cause) => return Judgement::Diverged(cause, evidence),
        }
    }
    Judgement::GoesOn(orphans)
}

/// The chain to compare with, if there is a stream to compare it with; or why nothing goes on.
fn judge_one(known: Known<'_>, evidence: &Evidence, held: &Held) -> Result<Option<Chain>, DivergenceCause> {
    let Held::Segment { first, before, after, source } = held else {
        return Err(DivergenceCause::MongodbRolledBack);
    };
    let Head { timeline, position, source: own, .. } = known.head;
    if evidence.timeline > *timeline || known.source.replica_set_id != own.replica_set_id {
        // Nothing of this replica set's stream can ever confirm it.
        return Err(DivergenceCause::MongodbRolledBack);
    }
    if source != own {
        return Err(DivergenceCause::AnotherWriter);
    }
    if evidence.epoch > known.before {
        return Err(DivergenceCause::MongodbRolledBack);
    }
    if first.0 == position.sequence.0 + 1 && *before != position.chain {
        return Err(DivergenceCause::AnotherWriter);
    }
    // Users that were dropped and made again begin a new timeline beside it.
    Ok((known.source == own).then_some(*after))
}

/// Judges what lies on the targets while this leadership goes on: what a later or another writer put there, past the head
/// or as the newest of all.
pub fn judge_while_leading(head: &Head, past: Vec<PastHead>, newest: Option<Evidence>) -> Option<Evidence> {
    let foreign = |past: &PastHead| {
        let other_source = matches!(&past.held, Held::Segment { source, .. } if *source != head.source);
        past.evidence.timeline > head.timeline || other_source
    };
    let newest = newest.filter(|newest| newest.epoch > head.epoch);
    newest.or_else(|| past.into_iter().find(foreign).map(|past| past.evidence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::history::{ClusterTime, Position};

    fn source(name: &str) -> Source {
        let (set, users) = name.split_once(", ").unwrap_or((name, "u"));
        Source { replica_set_id: set.to_owned(), users_uuid: users.to_owned() }
    }

    fn head() -> Head {
        Head {
            department: "eng".parse().unwrap(),
            epoch: Epoch(8),
            timeline: Timeline(2),
            position: Position {
                sequence: Sequence(10),
                chain: Chain([1; 32]),
                time: Timestamp::from_millis(0),
                closed: false,
                cluster_time: ClusterTime { seconds: 1, ordinal: 1 },
                balance: 0,
                token: None,
            },
            source: source("a"),
            begin: None,
            behind_since: None,
            gaps: Vec::new(),
            journal: Vec::new(),
            damage: Vec::new(),
            drift: None,
            diverged: None,
        }
    }

    fn segment(timeline: i64, epoch: i64, from: &str) -> PastHead {
        let evidence = Evidence {
            target: "t1".parse().unwrap(),
            object: "x".to_owned(),
            timeline: Timeline(timeline),
            sequence: Sequence(12),
            epoch: Epoch(epoch),
        };
        let (before, after) = (Chain([1; 32]), Chain([2; 32]));
        PastHead { evidence, held: Held::Segment { first: Sequence(11), before, after, source: source(from) } }
    }

    fn judged(found: PastHead, live: &str) -> Result<usize, DivergenceCause> {
        let (head, live) = (head(), source(live));
        match judge(Known { head: &head, before: Epoch(7), source: &live }, vec![found]) {
            Judgement::GoesOn(orphans) => Ok(orphans.len()),
            Judgement::Diverged(cause, _) => Err(cause),
        }
    }

    #[test]
    fn a_segment_of_the_last_leader_past_the_head_is_compared_with_the_stream() {
        assert_eq!(judged(segment(2, 7, "a"), "a"), Ok(1));
        assert_eq!(judged(segment(2, 5, "a"), "a"), Ok(1));
    }

    #[test]
    fn what_no_leader_of_this_database_can_have_written_is_a_divergence() {
        use DivergenceCause::{AnotherWriter, MongodbRolledBack};
        assert_eq!(judged(segment(2, 8, "a"), "a"), Err(MongodbRolledBack), "an epoch that never took this head");
        assert_eq!(judged(segment(3, 7, "a"), "a"), Err(MongodbRolledBack), "a later timeline");
        assert_eq!(judged(segment(2, 7, "a"), "b"), Err(MongodbRolledBack), "restored into another replica set");
        assert_eq!(judged(segment(2, 7, "b"), "a"), Err(AnotherWriter), "another replica set");
        let mut other = segment(2, 7, "a");
        if let Held::Segment { before, .. } = &mut other.held {
            *before = Chain([9; 32]);
        }
        assert_eq!(judged(other, "a"), Err(AnotherWriter), "another chain");
        assert_eq!(judged(segment(2, 7, "a"), "a, dropped"), Ok(0), "the users were dropped since");
        let word = PastHead { held: Held::AfterTheHead, ..segment(2, 7, "a") };
        assert_eq!(judged(word, "a"), Err(MongodbRolledBack), "a backup past the head");
    }

    #[test]
    fn a_leader_does_not_take_its_own_segments_for_those_of_another_writer() {
        let foreign = |found: PastHead| {
            let newest = found.evidence.clone();
            judge_while_leading(&head(), vec![found], Some(newest)).is_some()
        };
        assert!(!foreign(segment(2, 8, "a")), "its own, on its way to the head");
        assert!(!foreign(segment(2, 7, "a")), "a late one of the leader before");
        assert!(foreign(segment(2, 9, "a")));
        assert!(foreign(segment(2, 8, "b")));
        assert!(foreign(segment(3, 8, "a")));
    }
}
