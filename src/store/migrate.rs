//! Applies the migrations that are embedded in the binary: once each, checksummed, one runner at a time.

use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::Collection;
use mongodb::bson::{Document, doc};

use super::error::{command_code, read, write};
use super::{Store, StoreError};
use crate::domain::clock::Timestamp;
use crate::domain::department::{Department, DepartmentState, Policy, Schedule};
use crate::domain::ids::DepartmentName;
use crate::domain::user::Rev;

/// Every migration: its name and its text, in order.
const MIGRATIONS: [(&str, &str); 4] = [
    ("0001_collections", include_str!("../../migrations/0001_collections.json")),
    ("0002_indexes", include_str!("../../migrations/0002_indexes.json")),
    ("0003_barriers", include_str!("../../migrations/0003_barriers.json")),
    ("0004_points", include_str!("../../migrations/0004_points.json")),
];
/// How long a runner may stay silent before another one takes over.
const LEASE_MILLIS: i64 = 30_000;
/// How often a runner asks for the lock before it gives up.
const LOCK_TRIES: u32 = 300;

impl Store {
    /// Applies every migration that is not applied yet; returns the names of those it applied. Makes the default
    /// department with this policy where there is none.
    ///
    /// # Errors
    /// `StoreError::Migration` when an applied migration differs from the embedded one or is newer than this binary.
    pub async fn migrate(&self, default_policy: &Policy, now: Timestamp) -> Result<Vec<String>, StoreError> {
        let migrations = self.database.collection::<Document>("migrations");
        let holder = format!("{:032x}", rand::random::<u128>());
        lock(&migrations, &holder).await?;
        let outcome = self.apply_all(&migrations, &holder, default_policy, now).await;
        let free = migrations.update_one(
            doc! { "_id": "lock", "holder": &holder },
            doc! { "$set": { "expires_at": mongodb::bson::DateTime::from_millis(0) } },
        );
        if let Err(error) = write(free).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "free the lock of migrations; it expires by itself"
            );
        }
        outcome
    }

    async fn apply_all(
        &self,
        migrations: &Collection<Document>,
        holder: &str,
        default_policy: &Policy,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let find = migrations.find(doc! { "_id": { "$ne": "lock" } });
        let applied: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        let mut fresh = Vec::new();
        for record in &applied {
            check_known(record)?;
        }
        for (name, text) in MIGRATIONS {
            if applied.iter().any(|record| record.get_str("_id").is_ok_and(|known| known == name)) {
                continue;
            }
            for command in commands_of(name, text)? {
                renew(migrations, holder).await?;
                self.apply(command).await?;
            }
            let record = doc! { "_id": name, "checksum": checksum(text), "applied_at": super::documents::date(now) };
            write(migrations.insert_one(record)).await?;
            fresh.push(name.to_owned());
        }
        let department = Department {
            name: DepartmentName::default_department(),
            policy: default_policy.clone(),
            state: DepartmentState::Active,
            rev: Rev::random(),
            created_at: now,
            updated_at: now,
            schedule: Schedule { last_slot: None, missed_slots: 0 },
        };
        if self.departments.get(&department.name).await?.is_none() {
            match self.departments.insert(&department).await {
                Ok(()) | Err(StoreError::Stale | StoreError::Taken(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(fresh)
    }

    async fn apply(&self, command: Document) -> Result<(), StoreError> {
        const NAMESPACE_EXISTS: i32 = 48;
        match write(self.database.run_command(command)).await {
            Ok(_) => Ok(()),
            // A runner that died after the command and before its record.
            Err(StoreError::Other(error)) if command_code(&error) == Some(NAMESPACE_EXISTS) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn checksum(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn commands_of(name: &str, text: &str) -> Result<Vec<Document>, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Migration(format!("The migration {name} is not a list of commands: {error}.")))
}

/// Refuses an applied migration that this binary does not have, or has with another text.
fn check_known(record: &Document) -> Result<(), StoreError> {
    let name = record.get_str("_id").unwrap_or_default();
    let Some((_, text)) = MIGRATIONS.iter().find(|(known, _)| *known == name) else {
        return Err(StoreError::Migration(format!(
            "The database has the migration {name}, which this version does not know; run a newer rollkeeper."
        )));
    };
    if record.get_str("checksum").is_ok_and(|applied| applied == checksum(text)) {
        return Ok(());
    }
    Err(StoreError::Migration(format!(
        "The migration {name} was applied with another text; restore the file that was applied and add a new one."
    )))
}

/// Takes the lock by compare-and-set on the server's clock; waits for another runner.
async fn lock(migrations: &Collection<Document>, holder: &str) -> Result<(), StoreError> {
    let free = doc! { "_id": "lock", "expires_at": mongodb::bson::DateTime::from_millis(0) };
    match write(migrations.insert_one(free)).await {
        Ok(_) | Err(StoreError::Taken(_)) => {}
        Err(error) => return Err(error),
    }
    for _ in 0..LOCK_TRIES {
        let expired = doc! { "_id": "lock", "$expr": { "$lt": ["$expires_at", "$$NOW"] } };
        if take(migrations, expired, holder).await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(StoreError::Migration("Another replica is migrating and has not ended within a minute; try again.".to_owned()))
}

async fn renew(migrations: &Collection<Document>, holder: &str) -> Result<(), StoreError> {
    if take(migrations, doc! { "_id": "lock", "holder": holder }, holder).await? {
        return Ok(());
    }
    Err(StoreError::Migration("Another replica took the migration over, because this one was too slow.".to_owned()))
}

async fn take(migrations: &Collection<Document>, filter: Document, holder: &str) -> Result<bool, StoreError> {
    let until = doc! { "$add": ["$$NOW", LEASE_MILLIS] };
    let update = vec![doc! { "$set": { "holder": holder, "expires_at": until } }];
    Ok(write(migrations.update_one(filter, update)).await?.matched_count == 1)
}
