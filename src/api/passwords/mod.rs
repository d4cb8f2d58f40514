//! Passwords: hashed with argon2id and verified a few at a time, and the check of hashes that clients bring.
//!
//! Rule: the permit of a hash belongs to the blocking task that computes it, not to the request: a client that goes away
//! must not let more hashes run at the same time than configured.

mod compute;
mod formats;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use argon2::{Algorithm, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Kind, Problem};
use crate::config::http::HttpConfig;
use crate::domain::text::Invalid;
use crate::domain::user::PasswordHash;
use formats::{Affordable, Scheme};

/// Longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Hashes passwords, a few at a time.
#[derive(Debug)]
pub struct Hasher {
    params: Params,
    permits: Arc<Semaphore>,
    concurrency: usize,
    waiting: AtomicUsize,
    refused: AtomicUsize,
    queue: usize,
    /// Everything that was computed, as `Scheme::work` counts it.
    work: Arc<AtomicU64>,
}

/// What became of a password that was compared with a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is the password of the hash.
    pub right: bool,
    /// Whether the hash should be made anew from this password: it is weaker than the ones that are made now.
    pub outdated: bool,
    /// What was computed for it, in KiB passed over.
    pub work: u64,
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
            work: Arc::default(),
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
        let permit = self.permit().await?;
        self.make(password, permit).await
    }

    /// Compares a password with a hash. Without a hash, or with one that the service cannot afford, as much is computed as
    /// for a hash that is made now, and the password is wrong.
    ///
    /// # Errors
    /// 503 when too many wait already.
    pub async fn verify(&self, password: SecretString, hash: Option<&PasswordHash>) -> Result<Verdict, Problem> {
        let read = hash.and_then(|hash| Affordable::read(hash.expose()).ok());
        let permit = self.permit().await?;
        let known = read.is_some();
        let hash = read.unwrap_or_else(|| self.dummy());
        let scheme = hash.scheme;
        let cut = matches!(scheme, Scheme::Bcrypt { .. }) && password.expose_secret().len() > compute::BCRYPT_BYTES_MAX;
        let work = scheme.work();
        let right = self.blocking(permit, work, move || compute::matches(&hash, &password)).await?;
        // What bcrypt did not read of a password may be wrong, and must not become part of a new hash.
        let outdated = scheme.is_weaker_than(self.params.m_cost(), self.params.t_cost()) && !cut;
        Ok(Verdict { right: known && right, outdated: known && right && outdated, work })
    }

    /// A hash of the present parameters that no password has.
    fn dummy(&self) -> Affordable {
        let scheme = Scheme::Argon2 {
            variant: Algorithm::Argon2id,
            version: Version::V0x13,
            memory_kib: self.params.m_cost(),
            iterations: self.params.t_cost(),
            lanes: self.params.p_cost(),
        };
        Affordable { scheme, salt: vec![0; 16], output: vec![0; 32] }
    }

    /// Hashes a password for a stream that has time: it waits as long as it takes and never answers 503.
    ///
    /// # Errors
    /// When the hash cannot be computed.
    pub async fn hash_patiently(&self, password: SecretString) -> Result<PasswordHash, Problem> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(failed)?;
        self.make(password, permit).await
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(_) => self.queued().await,
        }
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

    async fn make(&self, password: SecretString, permit: OwnedSemaphorePermit) -> Result<PasswordHash, Problem> {
        let params = self.params.clone();
        let work = self.dummy().scheme.work();
        self.blocking(permit, work, move || compute::hash_now(params, &password))
            .await?
            .map_err(|error| failed(std::io::Error::other(error.to_string())))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        work: u64,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let done = Arc::clone(&self.work);
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let computed = compute();
            done.fetch_add(work, Ordering::Relaxed);
            computed
        })
        .await
        .map_err(failed)
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

/// Checks a hash that a client brings: of a format that can be verified, at a cost that verification can afford.
///
/// # Errors
/// When it is anything else; the message names the rule, never the hash.
pub fn check_hash(text: &str) -> Result<PasswordHash, Invalid> {
    Affordable::read(text)
        .map(|_| PasswordHash::from_checked(text.to_owned()))
        .map_err(|rule| Invalid::new("invalid_password_hash", rule))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
