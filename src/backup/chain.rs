//! Change lines and the chain over them: `chain(n) = keyed-blake3(chain(n−1) ‖ line n)`.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::clock::Timestamp;
use crate::domain::history::{Chain, Change, Sequence};
use crate::domain::ids::UserId;

use super::Repository;
use super::record::{parse_record, write_record, write_text};

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

/// A change with its place in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Its number.
    pub sequence: Sequence,
    /// The department's time at it.
    pub time: Timestamp,
    /// What changed.
    pub change: Change,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    sequence: i64,
    time: String,
    #[serde(borrow)]
    put: Option<&'a RawValue>,
    delete: Option<String>,
    patch: Option<PatchLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchLine {
    id: String,
    update: String,
}

/// Reads a change line.
///
/// # Errors
/// The reason, without any value of the line.
pub fn parse_change(line: &[u8]) -> Result<Numbered, String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|_| "not a line of a change".to_owned())?;
    let change = match (line.put, line.delete, line.patch) {
        (Some(user), None, None) => Change::Put(parse_record(user.get().as_bytes())?),
        (None, Some(id), None) => Change::Delete(id.parse().map_err(|error| format!("id: {error}"))?),
        (None, None, Some(patch)) => {
            Change::Patch(patch.id.parse().map_err(|error| format!("id: {error}"))?, patch.update)
        }
        _ => return Err("not one of put, delete and patch".to_owned()),
    };
    let time = line.time.parse().map_err(|error| format!("time: {error}"))?;
    Ok(Numbered { sequence: Sequence(line.sequence), time, change })
}

/// Number, time and user of a change line, without looking at the rest of it. What is not byte by byte as we write it
/// is read whole.
///
/// # Errors
/// The reason, without any value of the line.
pub(super) fn parse_place(line: &[u8]) -> Result<(Sequence, Timestamp, UserId), String> {
    match exact_place(line) {
        Some(place) => Ok(place),
        None => parse_change(line).map(|numbered| {
            let id = numbered.change.user_id().clone();
            (numbered.sequence, numbered.time, id)
        }),
    }
}

fn exact_place(line: &[u8]) -> Option<(Sequence, Timestamp, UserId)> {
    let rest = line.strip_prefix(b"{\"sequence\":")?;
    let (sequence, rest) = rest.split_at(rest.iter().position(|b| *b == b',')?);
    let rest = rest.strip_prefix(b",\"time\":\"")?;
    let (time, rest) = rest.split_at(rest.iter().position(|b| *b == b'"')?);
    let kinds = [b"\",\"put\":{\"id\":\"".as_slice(), b"\",\"delete\":\"", b"\",\"patch\":{\"id\":\""];
    let rest = kinds.iter().find_map(|kind| rest.strip_prefix(*kind))?;
    let id = &rest[..rest.iter().position(|b| *b == b'"')?];
    let text = |bytes| std::str::from_utf8(bytes).ok();
    Some((Sequence(text(sequence)?.parse().ok()?), text(time)?.parse().ok()?, text(id)?.parse().ok()?))
}

impl Repository {
    /// The chain value after a line (without its line end).
    pub fn chain_after(&self, chain: &Chain, line: &[u8]) -> Chain {
        let mut hasher = blake3::Hasher::new_keyed(&self.keys().chain);
        hasher.update(&chain.0);
        hasher.update(line);
        Chain(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::testing::{golden_repository, user};

    #[test]
    fn the_place_of_a_change_is_read_without_the_rest() {
        let id = user(1).id;
        for change in [Change::Put(user(1)), Change::Delete(id.clone()), Change::Patch(id.clone(), "{}".to_owned())] {
            let line = change_line(Sequence(7), Timestamp::from_millis(1_700_000_000_123), &change);
            let place = (Sequence(7), Timestamp::from_millis(1_700_000_000_123), id.clone());
            assert_eq!(exact_place(&line), Some(place.clone()));
            assert_eq!(parse_place(&line), Ok(place));
        }
        assert!(parse_place(b"{\"sequence\":1}").is_err());
    }

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
                let line = change_line(Sequence(sequence), time, change);
                let chain = repository.chain_after(&before, &line);
                assert!(!seen.contains(&chain));
                assert_eq!(chain, repository.chain_after(&before, &line));
                seen.push(chain);
                let read = Numbered { sequence: Sequence(sequence), time, change: change.clone() };
                assert_eq!(parse_change(&line), Ok(read));
            }
        }
    }
}
