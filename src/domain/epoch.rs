//! Leadership of a department and the number that fences it.
//!
//! Rule: every write of a leader takes a `Leadership`, and `MongoDB` compares its epoch inside the write.

use std::fmt;

use super::ids::{DepartmentName, ReplicaId};

/// Fencing number of a leadership of a department; only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub i64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The right of one replica to act for one department, as long as no higher epoch has claimed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// The department that is led.
    pub department: DepartmentName,
    /// The fencing number of this leadership.
    pub epoch: Epoch,
    /// The replica that leads.
    pub replica: ReplicaId,
    /// Random name of this one claim: tells a lost reply from somebody else's claim of the same epoch.
    pub claim: String,
}

/// Who carried a job out, as shown in the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executor {
    /// The replica.
    pub replica: ReplicaId,
    /// Its epoch for the department.
    pub epoch: Epoch,
}

impl From<&Leadership> for Executor {
    fn from(leadership: &Leadership) -> Self {
        Self { replica: leadership.replica.clone(), epoch: leadership.epoch }
    }
}
