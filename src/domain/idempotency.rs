//! Requests that a client repeats under one key: what is remembered of the first one.

use std::time::Duration;

use uuid::Uuid;

use super::user::Rev;

/// How long a key is remembered.
pub const REMEMBERED_FOR: Duration = Duration::from_hours(24);
/// How long whoever carries a request out may be silent before another one takes it over.
pub const LEASE: Duration = Duration::from_secs(6);

/// One request that came with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRequest {
    /// Names the caller and the key.
    pub name: String,
    /// Commits to method, path and body.
    pub fingerprint: String,
}

/// What every execution of one request has in common, so that each finds what another one did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The id of whatever the request makes.
    pub id: Uuid,
    /// The revision of whatever the request makes.
    pub rev: Rev,
}

/// The right to carry a request out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The request.
    pub name: String,
    /// Who has the right: an execution, not a replica.
    pub holder: String,
    /// Common to all executions.
    pub seed: Seed,
    /// Whether another execution had begun before.
    pub repeated: bool,
}

/// What a request with a key finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nobody carries it out: the asker does from now on.
    Free(Hold),
    /// Another one carries it out.
    Running,
    /// The key belongs to another request.
    Another,
    /// It was carried out.
    Done(Answer),
}

/// An answer as it was first given.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that belong to it.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}
