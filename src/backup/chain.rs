//! Change lines and the chain over them: `chain(n) = keyed-blake3(chain(n−1) ‖ line n)`.

use crate::domain::clock::Timestamp;
use crate::domain::history::{Chain, Change, Sequence};

use super::Repository;
use super::record::{write_record, write_text};

/// The line of a change, without the line end: a pure function of its parts.
pub fn change_line(sequence: Sequence, time: Timestamp, change: &Change) -> Vec<u8> {
    let mut line = format!("{{\"sequence\":{},\"time\":\"{time}\",", sequence.0).into_bytes();
    match change {
        Change::Put(user) => {
            line.extend_from_slice(b"\"put\":");
            write_record(&mut line, user);
        }
        Change::Delete(id) => {
            line.extend_from_slice(b"\"delete\":");
            write_text(&mut line, id.as_str());
        }
        Change::Patch(id, update) => {
            line.extend_from_slice(b"\"patch\":{\"id\":");
            write_text(&mut line, id.as_str());
            line.extend_from_slice(b",\"update\":");
            write_text(&mut line, update);
            line.push(b'}');
        }
    }
    line.push(b'}');
    line
}

impl Repository {
    /// The chain value after a change. The line is a pure function of the change, its sequence and its time.
    pub fn chain_after(&self, chain: &Chain, sequence: Sequence, time: Timestamp, change: &Change) -> Chain {
        let mut hasher = blake3::Hasher::new_keyed(&self.keys().chain);
        hasher.update(&chain.0);
        hasher.update(&change_line(sequence, time, change));
        Chain(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::testing::{golden_repository, user};

    #[test]
    fn every_part_of_a_change_moves_the_chain() {
        let repository = golden_repository();
        let at = Timestamp::from_millis(0);
        let id = user(1).id;
        let changes = [
            Change::Put(user(1)),
            Change::Put(user(2)),
            Change::Delete(id.clone()),
            Change::Patch(id, "{\"name\":\"x\"}".to_owned()),
        ];
        let mut seen: Vec<Chain> = Vec::new();
        for change in &changes {
            for (sequence, time, before) in [(1, at, Chain::GENESIS), (2, at, Chain::GENESIS), (1, at, Chain([1; 32]))]
            {
                let chain = repository.chain_after(&before, Sequence(sequence), time, change);
                assert!(!seen.contains(&chain));
                assert_eq!(chain, repository.chain_after(&before, Sequence(sequence), time, change));
                seen.push(chain);
            }
            let line = change_line(Sequence(1), at, change);
            assert!(serde_json::from_slice::<serde_json::Value>(&line).is_ok());
        }
    }
}
