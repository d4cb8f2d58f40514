//! The formats of password hashes: which are taken from clients, and what computing one of them may cost.
//!
//! Rule: a hash is read in full and its cost compared with the limits before anything is computed. That holds for stored
//! hashes too, which may have come with a restore or out of a shell.

use base64::Engine;
use base64::alphabet::BCRYPT;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD_NO_PAD};

use crate::domain::user::HASH_BYTES_MAX;

/// Most memory that a hash may ask for, in KiB.
const MEMORY_KIB_MAX: u32 = 262_144;
/// Most passes over that memory; for scrypt and its `p` together with the memory.
const ITERATIONS_MAX: u32 = 16;
/// Most lanes that a hash may ask for.
const PARALLELISM_MAX: u32 = 16;
/// Highest cost of bcrypt: 2 to its power rounds, some two seconds.
const BCRYPT_COST_MAX: u32 = 15;
/// Most memory times lanes of scrypt, in KiB.
const SCRYPT_WORK_KIB_MAX: u64 = 4 * MEMORY_KIB_MAX as u64;
/// Most rounds of PBKDF2.
const PBKDF2_ROUNDS_MAX: u32 = 2_000_000;

const ANY_RULE: &str = "A password hash is argon2, scrypt or pbkdf2 in PHC string format, or bcrypt: $argon2id$…, $scrypt$…, \
     $pbkdf2-sha256$…, $pbkdf2-sha512$…, $2a$…, $2b$… or $2y$….";
const ARGON2_RULE: &str = "An argon2 hash is a PHC string, $argon2id$v=19$m=..,t=..,p=..$salt$hash, with m up to 262144, \
     t and p up to 16, a salt of 8 to 64 bytes and a hash of 16 to 64 bytes.";
const BCRYPT_RULE: &str = "A bcrypt hash is $2b$NN$ with a cost NN of 04 to 15, or the same with 2a or 2y, and 53 \
     characters of salt and hash.";
const SCRYPT_RULE: &str = "An scrypt hash is a PHC string, $scrypt$ln=..,r=..,p=..$salt$hash, with ln up to 20, r up to 32 \
     and p up to 16, with 128 * r * 2^ln up to 256 MiB and p times that up to 1 GiB, a salt of 8 to 64 bytes and a hash of \
     16 to 64 bytes.";
const PBKDF2_RULE: &str = "A pbkdf2 hash is a PHC string, $pbkdf2-sha256$i=..$salt$hash or $pbkdf2-sha512$i=..$salt$hash, \
     with i up to 2000000, a salt of 8 to 64 bytes and a hash of 16 to 64 bytes.";

/// bcrypt's own alphabet. The bits that its last characters have left over are nothing to it.
const BCRYPT_TEXT: GeneralPurpose = GeneralPurpose::new(
    &BCRYPT,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// A hash that can be computed at a cost that the service can afford.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Affordable {
    pub(super) scheme: Scheme,
    pub(super) salt: Vec<u8>,
    pub(super) output: Vec<u8>,
}

/// How a hash is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Argon2 { variant: argon2::Algorithm, version: argon2::Version, memory_kib: u32, iterations: u32, lanes: u32 },
    Bcrypt { cost: u32 },
    Scrypt { log_n: u32, r: u32, p: u32 },
    Pbkdf2 { sha512: bool, rounds: u32 },
}

impl std::fmt::Debug for Affordable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Affordable").field(&self.scheme).finish()
    }
}

impl Scheme {
    /// What computing it costs, in rough units of the same kind for all: KiB that are passed over.
    pub(super) fn work(self) -> u64 {
        match self {
            Self::Argon2 { memory_kib, iterations, .. } => u64::from(memory_kib) * u64::from(iterations),
            // Each round of bcrypt goes twice over the 4 KiB of its state.
            Self::Bcrypt { cost } => 8 << cost,
            Self::Scrypt { log_n, r, p } => 2 * scrypt_kib(log_n, r) * u64::from(p),
            Self::Pbkdf2 { rounds, .. } => u64::from(rounds) / 4,
        }
    }

    /// Whether a hash of argon2id at these parameters protects better.
    pub(super) fn is_weaker_than(self, memory_kib: u32, iterations: u32) -> bool {
        match self {
            Self::Argon2 {
                variant: argon2::Algorithm::Argon2id,
                version: argon2::Version::V0x13,
                memory_kib: own,
                ..
            } => own < memory_kib || self.work() < u64::from(memory_kib) * u64::from(iterations),
            _ => true,
        }
    }
}

impl Affordable {
    /// Reads a hash.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        let Some((name, rest)) = text.strip_prefix('$').and_then(|text| text.split_once('$')) else {
            return Err(ANY_RULE);
        };
        let (read, rule) = match name {
            "argon2id" | "argon2i" | "argon2d" => (argon2_of(name, rest), ARGON2_RULE),
            "2a" | "2b" | "2y" => (bcrypt_of(rest), BCRYPT_RULE),
            "scrypt" => (scrypt_of(rest), SCRYPT_RULE),
            "pbkdf2-sha256" | "pbkdf2-sha512" => (pbkdf2_of(name == "pbkdf2-sha512", rest), PBKDF2_RULE),
            _ => (None, ANY_RULE),
        };
        read.filter(|_| text.len() <= HASH_BYTES_MAX).ok_or(rule)
    }
}

fn argon2_of(name: &str, rest: &str) -> Option<Affordable> {
    let variant = match name {
        "argon2id" => argon2::Algorithm::Argon2id,
        "argon2i" => argon2::Algorithm::Argon2i,
        _ => argon2::Algorithm::Argon2d,
    };
    let (version, rest) = match rest.split_once('$')? {
        ("v=19", rest) => (argon2::Version::V0x13, rest),
        ("v=16", rest) => (argon2::Version::V0x10, rest),
        _ if !rest.starts_with("v=") => (argon2::Version::V0x10, rest),
        _ => return None,
    };
    let (costs, rest) = rest.split_once('$')?;
    let mut costs = Costs(costs.split(','));
    let memory_kib = costs.number("m=", MEMORY_KIB_MAX)?;
    let iterations = costs.number("t=", ITERATIONS_MAX)?;
    let lanes = costs.number("p=", PARALLELISM_MAX)?;
    (memory_kib >= 8 * lanes).then_some(())?;
    costs.end()?;
    salted(Scheme::Argon2 { variant, version, memory_kib, iterations, lanes }, rest)
}

fn bcrypt_of(rest: &str) -> Option<Affordable> {
    let (digits, rest) = rest.split_once('$')?;
    (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(())?;
    let cost = digits.parse().ok().filter(|cost| (4..=BCRYPT_COST_MAX).contains(cost))?;
    (rest.len() == 53 && rest.is_ascii()).then_some(())?;
    let (salt, output) = rest.split_at(22);
    let (salt, output) = (BCRYPT_TEXT.decode(salt).ok()?, BCRYPT_TEXT.decode(output).ok()?);
    Some(Affordable { scheme: Scheme::Bcrypt { cost }, salt, output })
}

fn scrypt_of(rest: &str) -> Option<Affordable> {
    let (costs, rest) = rest.split_once('$')?;
    let mut costs = Costs(costs.split(','));
    let (log_n, r, p) = (costs.number("ln=", 20)?, costs.number("r=", 32)?, costs.number("p=", PARALLELISM_MAX)?);
    costs.end()?;
    let kib = scrypt_kib(log_n, r);
    (kib <= u64::from(MEMORY_KIB_MAX) && kib * u64::from(p) <= SCRYPT_WORK_KIB_MAX).then_some(())?;
    salted(Scheme::Scrypt { log_n, r, p }, rest)
}

/// The memory of scrypt; less than a KiB counts as one.
fn scrypt_kib(log_n: u32, r: u32) -> u64 {
    ((128 * u64::from(r)) << log_n).div_ceil(1024)
}

fn pbkdf2_of(sha512: bool, rest: &str) -> Option<Affordable> {
    let (costs, rest) = rest.split_once('$')?;
    let mut costs = Costs(costs.split(','));
    let rounds = costs.number("i=", PBKDF2_ROUNDS_MAX)?;
    let length = costs.0.next().map(|part| number(part, "l=", 64));
    costs.end()?;
    let read = salted(Scheme::Pbkdf2 { sha512, rounds }, rest)?;
    // A length that is given is the one of the hash.
    let fits = length.is_none_or(|length| length.is_some_and(|length| length as usize == read.output.len()));
    fits.then_some(read)
}

/// The end of a PHC string: salt and hash, each of a length that makes sense.
fn salted(scheme: Scheme, rest: &str) -> Option<Affordable> {
    let (salt, output) = rest.split_once('$')?;
    let (salt, output) = (STANDARD_NO_PAD.decode(salt).ok()?, STANDARD_NO_PAD.decode(output).ok()?);
    let lengths_fit = (8..=64).contains(&salt.len()) && (16..=64).contains(&output.len());
    lengths_fit.then_some(Affordable { scheme, salt, output })
}

/// The costs of a PHC string, in their order.
struct Costs<'a>(std::str::Split<'a, char>);

impl Costs<'_> {
    fn number(&mut self, name: &str, max: u32) -> Option<u32> {
        number(self.0.next()?, name, max)
    }

    fn end(&mut self) -> Option<()> {
        self.0.next().is_none().then_some(())
    }
}

/// A number from 1 on. `+1` and `01` parse as numbers, and are not what a verifier reads.
fn number(part: &str, name: &str, max: u32) -> Option<u32> {
    let digits = part.strip_prefix(name)?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits && (1..=max).contains(&number)).then_some(number)
}

#[cfg(test)]
#[path = "formats_tests.rs"]
mod tests;
