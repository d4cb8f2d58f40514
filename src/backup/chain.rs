//! Change lines and the chain over them: `chain(n) = keyed-blake3(chain(n−1) ‖ line n)`.

use crate::domain::clock::Timestamp;
use crate::domain::history::{Chain, Change, Sequence};

use super::Repository;

impl Repository {
    /// The chain value after a change. The line is a pure function of the change, its sequence and its time.
    pub fn chain_after(&self, chain: &Chain, sequence: Sequence, time: Timestamp, change: &Change) -> Chain {
        todo!()
    }
}
