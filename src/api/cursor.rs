//! Cursors of lists: opaque, signed, and bound to the list and the filter that they came from.
//!
//! Rule: a cursor is only a position. It grants nothing, and one that was changed or belongs to another list is refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::auth::Tokens;
use super::problem::{Kind, Problem};

/// Bytes of the signature.
const SIGNATURE: usize = 16;

#[derive(Serialize, Deserialize)]
struct Payload<K> {
    filter: String,
    key: K,
}

/// Short fingerprint of a list and its filter.
pub fn fingerprint(list: &str, filter: &impl std::fmt::Debug) -> String {
    let hash = blake3::hash(format!("{list}\n{filter:?}").as_bytes());
    hash.to_hex()[..16].to_owned()
}

/// Makes the cursor that goes on after `key`.
pub fn encode<K: Serialize>(tokens: &Tokens, filter: &str, key: &K) -> String {
    let payload = serde_json::to_vec(&Payload { filter: filter.to_owned(), key }).unwrap_or_default();
    let mut bytes = sign(tokens, &payload).to_vec();
    bytes.extend_from_slice(&payload);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor back.
///
/// # Errors
/// 400 `invalid_cursor` when it was not made here, `cursor_mismatch` when it belongs to another list or filter.
pub fn decode<K: DeserializeOwned>(tokens: &Tokens, filter: &str, text: &str) -> Result<K, Problem> {
    let invalid = || {
        Problem::new(Kind::Invalid, "The cursor was not made by this service; take it from `next_cursor` as it is.")
            .code("invalid_cursor")
    };
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
    let (signature, payload) = bytes.split_at_checked(SIGNATURE).ok_or_else(invalid)?;
    if !bool::from(subtle::ConstantTimeEq::ct_eq(signature, &sign(tokens, payload)[..])) {
        return Err(invalid());
    }
    // The filter first: the key of another list has another shape.
    let bound: Payload<serde_json::Value> = serde_json::from_slice(payload).map_err(|_| invalid())?;
    if bound.filter != filter {
        return Err(Problem::new(
            Kind::Invalid,
            "The cursor belongs to another list or filter. Keep all parameters but `cursor` and `limit` as they were.",
        )
        .code("cursor_mismatch"));
    }
    serde_json::from_value(bound.key).map_err(|_| invalid())
}

fn sign(tokens: &Tokens, payload: &[u8]) -> [u8; SIGNATURE] {
    let hash = blake3::keyed_hash(tokens.cursor_key(), payload);
    let mut signature = [0; SIGNATURE];
    signature.copy_from_slice(&hash.as_bytes()[..SIGNATURE]);
    signature
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Tokens {
        Tokens::from_bootstrap(&text.repeat(32)).unwrap()
    }

    #[test]
    fn a_cursor_is_read_back_by_every_replica_with_the_same_token() {
        let cursor = encode(&tokens("a"), "f", &("eng", 7));
        let key: (String, i64) = decode(&tokens("a"), "f", &cursor).unwrap();
        assert_eq!(key, ("eng".to_owned(), 7));
    }

    #[test]
    fn a_forged_cursor_is_refused() {
        let cursor = encode(&tokens("a"), "f", &1);
        let mut forged = cursor.clone().into_bytes();
        forged[30] ^= 1;
        for text in [String::from_utf8_lossy(&forged).into_owned(), String::new(), "%%".to_owned(), "AAAA".to_owned()] {
            let problem = decode::<i64>(&tokens("a"), "f", &text).unwrap_err();
            assert_eq!((problem.status().as_u16(), problem.code_str()), (400, "invalid_cursor"), "{text}");
        }
        assert_eq!(decode::<i64>(&tokens("b"), "f", &cursor).unwrap_err().code_str(), "invalid_cursor");
    }

    #[test]
    fn a_cursor_of_another_filter_is_refused() {
        let cursor = encode(&tokens("a"), &fingerprint("users", &Some("eng")), &1);
        let other = fingerprint("users", &Some("hr"));
        assert_eq!(decode::<i64>(&tokens("a"), &other, &cursor).unwrap_err().code_str(), "cursor_mismatch");
    }
}
