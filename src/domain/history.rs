//! How far a department's history goes: sequences, chain, timeline, position.

use std::fmt;
use std::time::Duration;

use super::clock::Timestamp;
use super::damage::JournalDamage;
use super::divergence::Divergence;
use super::drift::Drift;
use super::epoch::Epoch;
use super::ids::{DepartmentName, TargetName, UserId};
use super::user::User;
use super::window::Place;

/// What moments are counted in.
const MILLISECOND: Duration = Duration::from_millis(1);

/// Per-department number of a change: 1, 2, 3, …; 0 is the empty beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub i64);

/// The line of history that a department goes on; a re-base starts a new one. The first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline(pub i64);

/// Chain value: keyed hash over all change lines up to a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// The chain of an empty history.
    pub const GENESIS: Self = Self([0; 32]);
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A moment of the replica set's oplog: seconds and an ordinal within the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterTime {
    /// Seconds since the Unix epoch.
    pub seconds: u32,
    /// Ordinal within the second.
    pub ordinal: u32,
}

/// Where a change stream goes on: an opaque resume token, BSON-encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamToken(pub Vec<u8>);

/// A point of a department's history and of the change stream that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Changes up to and including this number.
    pub sequence: Sequence,
    /// The chain value at that sequence.
    pub chain: Chain,
    /// The department's time at that point; never goes back.
    pub time: Timestamp,
    /// Something that is no change of a user stands after the last change, so that every later change has a later time.
    pub closed: bool,
    /// The oplog moment of the event that stands at this point.
    pub cluster_time: ClusterTime,
    /// Inserts less deletes since the history began; tells how many records there are by how many there were.
    pub balance: i64,
    /// Where the stream goes on after it; absent before the first event.
    pub token: Option<StreamToken>,
}

impl Position {
    /// The last moment whose changes are all there: the next change may have the same time as the one before it.
    pub fn certain(&self) -> Timestamp {
        if self.closed { self.time } else { self.time.earlier_by(MILLISECOND) }
    }

    /// Takes the time of an event in; `wall` is the clock of the server that wrote it, which may have gone back.
    pub fn tell_time(&mut self, wall: Option<Timestamp>, is_change: bool) {
        if is_change {
            let least = if self.closed { self.time.later_by(MILLISECOND) } else { self.time };
            self.time = wall.map_or(least, |wall| wall.max(least));
            self.closed = false;
        } else if let Some(wall) = wall {
            self.time = self.time.max(wall);
            self.closed = true;
        }
    }
}

/// What the history comes from: a restore into another replica set, or a dropped collection, changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Id of the replica set.
    pub replica_set_id: String,
    /// UUID of the users collection; empty while there is none.
    pub users_uuid: String,
}

impl Source {
    /// Whether there is a users collection.
    pub fn has_users(&self) -> bool {
        !self.users_uuid.is_empty()
    }
}

/// How far a department's history goes, as MongoDB holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The department.
    pub department: DepartmentName,
    /// The epoch that moved it last.
    pub epoch: Epoch,
    /// The line of history.
    pub timeline: Timeline,
    /// The point it has reached.
    pub position: Position,
    /// What the history comes from.
    pub source: Source,
    /// The earliest place from which the journal is whole, where that is not the first complete backup: the empty
    /// beginning, or what retention has left.
    pub begin: Option<Place>,
    /// Since when captured changes have waited longer than a flush for the write quorum; absent while none does.
    pub behind_since: Option<Timestamp>,
    /// Every break of the history, oldest first.
    pub gaps: Vec<Gap>,
    /// How far each target holds the journal; one that is absent holds nothing yet.
    pub journal: Vec<JournalCopy>,
    /// Where the journal breaks on a target, and no other target could give what is missing.
    pub damage: Vec<JournalDamage>,
    /// What the last comparison with the live records found; absent before the first.
    pub drift: Option<Drift>,
    /// The targets hold another history: nothing is written to them.
    pub diverged: Option<Divergence>,
}

impl Head {
    /// The place that it has reached, at the last moment of which nothing more can come.
    pub fn place(&self) -> Place {
        Place { timeline: self.timeline, sequence: self.position.sequence, time: self.position.certain() }
    }

    /// How far a target holds the journal.
    pub fn journal_through(&self, target: &TargetName) -> Option<Sequence> {
        self.journal.iter().find(|copy| copy.target == *target).map(|copy| copy.through)
    }
}

/// How far one target holds the journal of a department.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalCopy {
    /// The target.
    pub target: TargetName,
    /// It holds every change up to and including this one.
    pub through: Sequence,
}

/// A stretch of history that could not be captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The line of history that ended there.
    pub timeline: Timeline,
    /// The last sequence before the gap.
    pub after: Sequence,
    /// The last sequence that is not of the history after the gap: higher where another history has used the next numbers.
    pub goes_on_after: Sequence,
    /// The department's time at that sequence.
    pub time: Timestamp,
    /// When it was found.
    pub found_at: Timestamp,
    /// Stable code, for example `history_lost` or `collection_dropped`.
    pub cause: String,
}

/// One committed change of a user, as the change stream tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Inserted or replaced: the whole record after it.
    Put(User),
    /// Deleted.
    Delete(UserId),
    /// Written by something other than the service with an update operator: what the update said, as JSON text.
    Patch(UserId, String),
}

impl Change {
    /// The user that changed.
    pub fn user_id(&self) -> &UserId {
        match self {
            Self::Put(user) => &user.id,
            Self::Delete(id) | Self::Patch(id, _) => id,
        }
    }
}
