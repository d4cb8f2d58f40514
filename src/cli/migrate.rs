//! `rollkeeper migrate`: prepares the database and the chroot. It waits for servers that are just starting.

use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep};

use super::{EXIT_FAILURE, EXIT_MISSING, EXIT_USAGE, output};
use crate::config::Config;
use crate::domain::clock::Clock;
use crate::domain::department::Policy;
use crate::domain::ids::ReplicaId;
use crate::store::{Store, StoreError};

/// Longest wait for each server.
const WITHIN: Duration = Duration::from_secs(30);
/// Pause between two attempts.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Runs the command; the exit code.
pub(super) async fn run(config: Config) -> u8 {
    match database(&config).await {
        Ok(applied) if applied.is_empty() => output::line("MongoDB: nothing to do"),
        Ok(applied) => output::line(&format!("MongoDB: applied {}", applied.join(", "))),
        Err((code, sentence)) => {
            output::problem(&sentence);
            return code;
        }
    };
    match chroot(&config).await {
        Ok(()) => output::line(&format!("ZooKeeper: {} is there", config.zookeeper.chroot)),
        Err((code, sentence)) => {
            output::problem(&sentence);
            code
        }
    }
}

async fn database(config: &Config) -> Result<Vec<String>, (u8, String)> {
    let uri = config.mongodb.uri().map_err(|error| (EXIT_USAGE, error.to_string()))?;
    let me: ReplicaId = "migrate".parse().map_err(|error| (EXIT_FAILURE, format!("{error}")))?;
    let store = Store::connect(&config.mongodb, uri.expose_secret(), &me)
        .await
        .map_err(|error| (EXIT_USAGE, format!("{:#}", anyhow::Error::new(error))))?;
    let policy = config.backup.policy();
    let deadline = Instant::now() + WITHIN;
    loop {
        match attempt(&store, &policy).await {
            Ok(applied) => return Ok(applied),
            Err(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_)) if Instant::now() < deadline => {
                sleep(RETRY_EVERY).await;
            }
            Err(error) => return Err((code_of(&error), format!("{:#}", anyhow::Error::new(error)))),
        }
    }
}

async fn attempt(store: &Store, policy: &Policy) -> Result<Vec<String>, StoreError> {
    store.check().await?;
    store.migrate(policy, Clock::System.now()).await
}

fn code_of(error: &StoreError) -> u8 {
    match error {
        StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_) => EXIT_MISSING,
        StoreError::Unsupported(_) | StoreError::Migration(_) => EXIT_USAGE,
        _ => EXIT_FAILURE,
    }
}

async fn chroot(config: &Config) -> Result<(), (u8, String)> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let auth = config.zookeeper.auth().map_err(|error| (EXIT_USAGE, error.to_string()))?;
        match crate::cluster::create_chroot(&config.zookeeper, auth).await {
            Ok(()) => return Ok(()),
            Err(_) if Instant::now() < deadline => sleep(RETRY_EVERY).await,
            Err(error) => return Err((EXIT_MISSING, error.to_string())),
        }
    }
}
