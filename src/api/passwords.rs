//! Password hashes: made with argon2id a few at a time, or checked when a client brings its own.
//!
//! Rule: the permit of a hash belongs to the blocking task that computes it, not to the request: a client that goes away
//! must not let more hashes run at the same time than configured.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Kind, Problem};
use crate::config::http::HttpConfig;
use crate::domain::text::Invalid;
use crate::domain::user::{HASH_BYTES_MAX, PasswordHash};

/// Longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Most memory that a given hash may ask for, in KiB.
const MEMORY_KIB_MAX: u32 = 262_144;
/// Most passes that a given hash may ask for.
const ITERATIONS_MAX: u32 = 16;
/// Most lanes that a given hash may ask for.
const PARALLELISM_MAX: u32 = 16;

/// Hashes passwords, a few at a time.
#[derive(Debug)]
pub struct Hasher {
    params: Params,
    permits: Arc<Semaphore>,
    concurrency: usize,
    waiting: AtomicUsize,
    refused: AtomicUsize,
    queue: usize,
}

impl Hasher {
    /// From the configuration.
    ///
    /// # Errors
    /// When the argon2 parameters are not valid.
    pub fn new(config: &HttpConfig) -> Result<Self, Invalid> {
        let argon2 = config.argon2;
        let params = Params::new(argon2.memory_kib, argon2.iterations, argon2.parallelism, Some(32))
            .map_err(|error| Invalid::new("invalid_argon2", format!("[http.argon2] is not valid: {error}.")))?;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let concurrency = config.hash_concurrency.unwrap_or(cores / 2).max(1);
        Ok(Self {
            params,
            permits: Arc::new(Semaphore::new(concurrency)),
            concurrency,
            waiting: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            queue: config.hash_queue,
        })
    }

    /// How many hashes run at the same time.
    pub const fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// How many passwords wait to be hashed.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many were refused since the start.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Hashes a password for a request that waits.
    ///
    /// # Errors
    /// 503 when too many wait already.
    pub async fn hash(&self, password: SecretString) -> Result<PasswordHash, Problem> {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.queued().await?,
        };
        self.compute(password, permit).await
    }

    /// Hashes a password for a stream that has time: it waits as long as it takes and never answers 503.
    ///
    /// # Errors
    /// When the hash cannot be computed.
    pub async fn hash_patiently(&self, password: SecretString) -> Result<PasswordHash, Problem> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(failed)?;
        self.compute(password, permit).await
    }

    async fn queued(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Place::take(&self.waiting, self.queue).ok_or_else(|| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            Problem::unavailable("Too many passwords are being hashed at the moment.").code("hashing_saturated")
        })?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(failed);
        drop(place);
        permit
    }

    async fn compute(&self, password: SecretString, permit: OwnedSemaphorePermit) -> Result<PasswordHash, Problem> {
        let params = self.params.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            hash_now(params, &password)
        })
        .await
        .map_err(failed)?
        .map_err(|error| failed(std::io::Error::other(error.to_string())))
    }
}

/// A place in the queue; given back also when the client goes away.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let place = Self(waiting);
        // Dropping `place` gives back what was counted here.
        (waiting.fetch_add(1, Ordering::Relaxed) < limit).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Problem {
    Problem::new(Kind::Internal, "The password could not be hashed.").source(error)
}

fn hash_now(params: Params, password: &SecretString) -> Result<PasswordHash, argon2::Error> {
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

/// Checks a password that is to be hashed.
///
/// # Errors
/// When it is empty or too long.
pub fn check_password(password: &str) -> Result<(), Invalid> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(Invalid::new("invalid_password", "A password is 1 to 1024 bytes of UTF-8."));
    }
    Ok(())
}

/// Checks a hash that a client brings: argon2 in PHC string format, at a cost that verification can afford.
///
/// # Errors
/// When it is anything else; the message names the rule, never the hash.
pub fn check_hash(text: &str) -> Result<PasswordHash, Invalid> {
    phc_is_affordable(text).map(|()| PasswordHash::from_checked(text.to_owned())).ok_or_else(|| {
        Invalid::new(
            "invalid_password_hash",
            "A password hash is an argon2 PHC string, $argon2id$v=19$m=..,t=..,p=..$salt$hash, with m up to 262144, \
             t and p up to 16, a salt of 8 to 64 bytes and a hash of 16 to 64 bytes.",
        )
    })
}

/// `Some` when every part is there, in order and within its limit.
fn phc_is_affordable(text: &str) -> Option<()> {
    if text.len() > HASH_BYTES_MAX {
        return None;
    }
    let mut parts = text.strip_prefix('$')?.split('$').peekable();
    matches!(parts.next()?, "argon2id" | "argon2i" | "argon2d").then_some(())?;
    if let Some(version) = parts.next_if(|part| part.starts_with("v=")) {
        matches!(version, "v=16" | "v=19").then_some(())?;
    }
    let mut costs = parts.next()?.split(',');
    let mut cost = |name: &str, max: u32| {
        let digits = costs.next()?.strip_prefix(name)?;
        let number: u32 = digits.parse().ok()?;
        // `+1` and `01` parse as numbers, and are not what a verifier reads.
        (number.to_string() == digits && (1..=max).contains(&number)).then_some(number)
    };
    let memory = cost("m=", MEMORY_KIB_MAX)?;
    cost("t=", ITERATIONS_MAX)?;
    let lanes = cost("p=", PARALLELISM_MAX)?;
    (memory >= 8 * lanes && costs.next().is_none()).then_some(())?;
    let salt = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
    let output = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
    let lengths_fit = (8..=64).contains(&salt.len()) && (16..=64).contains(&output.len());
    (lengths_fit && parts.next().is_none()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::{PasswordVerifier, password_hash::phc};

    fn hasher(queue: usize) -> Hasher {
        let mut config = HttpConfig { hash_concurrency: Some(1), hash_queue: queue, ..HttpConfig::default() };
        config.argon2.memory_kib = 64;
        Hasher::new(&config).unwrap()
    }

    #[tokio::test]
    async fn a_made_hash_verifies_with_the_stock_verifier_and_passes_our_own_check() {
        let hash = hasher(1).hash("correct horse".into()).await.unwrap();
        assert!(check_hash(hash.expose()).is_ok());
        let parsed = phc::PasswordHash::new(hash.expose()).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse", &parsed).is_ok());
        assert!(Argon2::default().verify_password(b"wrong", &parsed).is_err());
    }

    #[tokio::test]
    async fn a_full_queue_answers_503_with_retry_after() {
        let hasher = hasher(0);
        let _busy = Arc::clone(&hasher.permits).acquire_owned().await.unwrap();
        assert_eq!(hasher.hash("x".into()).await.unwrap_err().status(), 503);
        assert_eq!(hasher.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn only_affordable_argon2_hashes_are_taken() {
        let good = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$WVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVk";
        assert!(check_hash(good).is_ok());
        assert!(check_hash(&good.replace("v=19$", "")).is_ok());
        for (part, bad) in [
            ("m=19456", "m=4194304"),
            ("m=19456", "m=7"),
            ("m=19456", "m=+19456"),
            ("t=2", "t=17"),
            ("t=2", "t=0"),
            ("p=1", "p=17"),
            ("c29tZXNhbHQ", "c29t"),
            ("argon2id", "argon2"),
            ("v=19", "v=20"),
            (",p=1", ""),
            ("$WVlZ", "$$WVlZ"),
        ] {
            assert!(check_hash(&good.replace(part, bad)).is_err(), "{part} -> {bad}");
        }
        for bad in ["", "plain", "$2b$12$abc", &good.repeat(20)] {
            assert!(check_hash(bad).is_err());
        }
    }
}
