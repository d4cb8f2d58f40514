//! `[http]`: the HTTP server and the hashing of passwords.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::durations::duration;

/// The HTTP server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address to listen on. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// Longest time for a request that is not a stream. Default 30s.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// Time for open requests to end at shutdown, with `drain_notice`. Default 20s.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// How long a replica that shuts down goes on answering, and tells each client to connect anew. Default 3s.
    #[serde(with = "duration")]
    pub drain_notice: Duration,
    /// Passwords hashed at the same time. Default: half of the cores, at least 1.
    pub hash_concurrency: Option<usize>,
    /// Passwords that may wait for hashing before 503. Default 64.
    pub hash_queue: usize,
    /// Listeners of `/jobs/events` at the same time before 503. Default 200.
    pub event_listeners: usize,
    /// argon2id parameters for new hashes.
    pub argon2: Argon2Config,
}

/// argon2id parameters for new hashes; the defaults are OWASP's minimum.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Argon2Config {
    /// Memory in KiB. Default 19456.
    pub memory_kib: u32,
    /// Passes. Default 2.
    pub iterations: u32,
    /// Lanes. Default 1.
    pub parallelism: u32,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(20),
            drain_notice: Duration::from_secs(3),
            hash_concurrency: None,
            hash_queue: 64,
            event_listeners: 200,
            argon2: Argon2Config::default(),
        }
    }
}

impl Default for Argon2Config {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1 }
    }
}
