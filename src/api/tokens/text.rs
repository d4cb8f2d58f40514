//! The text of an issued token: `rk_` and 68 characters of base64url, which are 16 bytes of its id, 32 bytes that nobody can
//! guess and 3 bytes of a check.
//!
//! Rule: the text is shown once and stored nowhere; what is stored is a hash over id and secret. The check is no secret: it
//! lets a mistyped or random text be refused without asking MongoDB.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::ids::TokenId;
use crate::domain::user::Rev;

/// What every issued token begins with, so that a leaked one is recognised.
pub const PREFIX: &str = "rk_";
const ID: usize = 16;
const SECRET: usize = 32;
const CHECK: usize = 3;
const BYTES: usize = ID + SECRET + CHECK;
/// Characters after the prefix; the bytes fill them without a rest, so that a token has one text.
const CHARS: usize = BYTES / 3 * 4;

/// The text of an issued token.
pub struct TokenText([u8; BYTES]);

impl std::fmt::Debug for TokenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenText({}, ***)", self.id())
    }
}

impl TokenText {
    /// A new secret for an id.
    pub fn fresh(id: Uuid) -> Self {
        Self::with(id, &rand::random())
    }

    /// The secret of a token that is issued under an `Idempotency-Key`: whoever has the key and carries the same request out
    /// makes the same one, so that it can be shown again and still lies nowhere.
    pub fn derived(key: &[u8; 32], id: Uuid, rev: Rev) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(id.as_bytes()).update(&rev.bits().to_le_bytes());
        Self::with(id, hasher.finalize().as_bytes())
    }

    fn with(id: Uuid, secret: &[u8; SECRET]) -> Self {
        let mut bytes = [0; BYTES];
        bytes[..ID].copy_from_slice(id.as_bytes());
        bytes[ID..ID + SECRET].copy_from_slice(secret);
        let check = check(&bytes[..ID + SECRET]);
        bytes[ID + SECRET..].copy_from_slice(&check);
        Self(bytes)
    }

    /// Reads what a caller sent; nothing that was not made here passes by accident.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(PREFIX).filter(|text| text.len() == CHARS)?;
        let bytes: [u8; BYTES] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        (check(&bytes[..ID + SECRET]) == bytes[ID + SECRET..]).then_some(Self(bytes))
    }

    /// The id of the token, which is no secret.
    pub fn id(&self) -> TokenId {
        let mut id = [0; ID];
        id.copy_from_slice(&self.0[..ID]);
        Uuid::from_bytes(id).into()
    }

    /// What is stored instead of the text. The secret has 256 random bits, so a fast hash is enough.
    pub fn hash(&self) -> [u8; 32] {
        blake3::derive_key("rollkeeper 2026-11 issued token", &self.0[..ID + SECRET])
    }

    /// The text for the one who asked for the token.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

fn check(bytes: &[u8]) -> [u8; CHECK] {
    let hash = blake3::derive_key("rollkeeper 2026-11 token check", bytes);
    [hash[0], hash[1], hash[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_no_two_are_alike() {
        let id = Uuid::from_u128(7);
        let (one, other) = (TokenText::fresh(id), TokenText::fresh(id));
        let read = TokenText::parse(&one.expose()).unwrap();
        assert_eq!((read.id(), read.hash()), (TokenId::from(id), one.hash()));
        assert_ne!(one.hash(), other.hash());
        assert_eq!(one.expose().len(), PREFIX.len() + CHARS);
    }

    #[test]
    fn a_derived_token_is_the_same_for_the_same_request_and_key_alone() {
        let text = |key: u8, id, rev| TokenText::derived(&[key; 32], Uuid::from_u128(id), Rev::from_bits(rev)).expose();
        assert_eq!(text(1, 7, 9), text(1, 7, 9));
        for other in [text(2, 7, 9), text(1, 8, 9), text(1, 7, 8)] {
            assert_ne!(other, text(1, 7, 9));
        }
        assert!(TokenText::parse(&text(1, 7, 9)).is_some());
    }

    #[test]
    fn a_text_with_any_other_character_is_not_a_token() {
        let good = TokenText::fresh(Uuid::from_u128(7)).expose();
        for at in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            assert!(TokenText::parse(&String::from_utf8(bad).unwrap()).is_none(), "{at}");
        }
        for bad in ["", "rk_", &good[1..], &good[..good.len() - 1], &format!("{good}A"), "rk_ü"] {
            assert!(TokenText::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_secret_does_not_show_in_debug() {
        let text = TokenText::fresh(Uuid::from_u128(7));
        assert!(!format!("{text:?}").contains(&text.expose()[30..50]));
    }
}
