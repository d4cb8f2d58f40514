//! Computes hashes: makes new ones, and tells whether a password is the one of a hash.
//!
//! Rule: everything here blocks, for as long as the cost of the hash says; it runs with a permit of the `Hasher` only.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::formats::{Affordable, Scheme};
use crate::domain::user::PasswordHash;

/// What bcrypt reads of a password; it looks at no byte past these.
pub(super) const BCRYPT_BYTES_MAX: usize = 72;

/// A new hash of a password, with argon2id and a salt of its own.
pub(super) fn hash_now(params: Params, password: &SecretString) -> Result<PasswordHash, argon2::Error> {
    let salt: [u8; 16] = rand::random();
    let mut output = [0_u8; 32];
    let prefix = format!("$argon2id$v=19$m={},t={},p={}", params.m_cost(), params.t_cost(), params.p_cost());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
        password.expose_secret().as_bytes(),
        &salt,
        &mut output,
    )?;
    let text = format!("{prefix}${}${}", STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
    Ok(PasswordHash::from_checked(text))
}

/// Whether a password is the one of a hash. Takes the same time whatever the answer is.
pub(super) fn matches(hash: &Affordable, password: &SecretString) -> bool {
    let password = password.expose_secret().as_bytes();
    let Affordable { scheme, salt, output } = hash;
    let mut computed = vec![0_u8; output.len()];
    let done = match *scheme {
        Scheme::Argon2 { variant, version, memory_kib, iterations, lanes } => {
            Params::new(memory_kib, iterations, lanes, Some(output.len())).is_ok_and(|params| {
                Argon2::new(variant, version, params).hash_password_into(password, salt, &mut computed).is_ok()
            })
        }
        Scheme::Bcrypt { cost } => bcrypt_into(cost, salt, password, &mut computed),
        Scheme::Scrypt { log_n, r, p } => u8::try_from(log_n)
            .ok()
            .and_then(|log_n| scrypt::Params::new(log_n, r, p).ok())
            .is_some_and(|params| scrypt::scrypt(password, salt, &params, &mut computed).is_ok()),
        Scheme::Pbkdf2 { sha512: false, rounds } => {
            pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, rounds, &mut computed);
            true
        }
        Scheme::Pbkdf2 { sha512: true, rounds } => {
            pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, rounds, &mut computed);
            true
        }
    };
    bool::from(computed.ct_eq(output)) && done
}

/// bcrypt as everybody does it: what comes after 72 bytes does not count. It was made for texts that end with a zero, so a
/// password with a zero inside is the one of no hash.
fn bcrypt_into(cost: u32, salt: &[u8], password: &[u8], computed: &mut [u8]) -> bool {
    let Ok(salt) = <[u8; 16]>::try_from(salt) else { return false };
    let mut key = Vec::with_capacity(BCRYPT_BYTES_MAX);
    key.extend(password.iter().take(BCRYPT_BYTES_MAX));
    if key.len() < BCRYPT_BYTES_MAX {
        key.push(0);
    }
    let key: SecretSlice<u8> = key.into();
    let made = bcrypt::bcrypt(cost, salt, key.expose_secret());
    // The hash has one byte less than what is computed.
    computed.iter_mut().zip(made).for_each(|(to, from)| *to = from);
    !password.contains(&0)
}
