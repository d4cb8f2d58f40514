//! Applies the migrations that are embedded in the binary: once each, checksummed, one runner at a time.

use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::{Collection, Database};

use super::error::{command_code, read, write};
use super::{Store, StoreError};
use crate::domain::clock::Timestamp;
use crate::domain::department::{Department, DepartmentState, Policy, Schedule};
use crate::domain::ids::DepartmentName;
use crate::domain::user::Rev;

/// Every migration: its name and its text, in order.
///
/// A new one that only adds what older versions do not look at is also named in [`OLDER_RUN_BESIDE`].
const MIGRATIONS: [(&str, &str); 7] = [
    ("0001_collections", include_str!("../../migrations/0001_collections.json")),
    ("0002_indexes", include_str!("../../migrations/0002_indexes.json")),
    ("0003_barriers", include_str!("../../migrations/0003_barriers.json")),
    ("0004_points", include_str!("../../migrations/0004_points.json")),
    ("0005_retention", include_str!("../../migrations/0005_retention.json")),
    ("0006_tokens_audit", include_str!("../../migrations/0006_tokens_audit.json")),
    ("0007_idempotency", include_str!("../../migrations/0007_idempotency.json")),
];
/// Migrations with which a version runs that does not know them: a replica that restarts in the middle of a rollout comes
/// back, and an image can be rolled back. Their records say so, since the older version has no other way to know.
const OLDER_RUN_BESIDE: [&str; 0] = [];
/// The field of a record that says so.
const OLDER_RUN: &str = "older_versions_run";
/// Name of the record that stands while the database is rebuilt from targets.
pub(super) const REBUILD: &str = "rebuild";
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
        let lock = Lock::take(&self.database).await?;
        let outcome = async {
            let fresh = self.apply_all(&lock, now, false).await?;
            if !self.source().await?.has_users() {
                self.mend_users().await?;
            }
            self.make_default(default_policy, now).await?;
            Ok(fresh)
        };
        let outcome = outcome.await;
        lock.free().await;
        outcome
    }

    /// Applies what is not applied yet. `rebuilding` is whoever rebuilds the database; others leave it alone meanwhile.
    pub(super) async fn apply_all(
        &self,
        lock: &Lock,
        now: Timestamp,
        rebuilding: bool,
    ) -> Result<Vec<String>, StoreError> {
        let applied = self.applied_migrations().await?;
        let mut fresh = Vec::new();
        let is_mark = |record: &Document| record.get_str("_id").is_ok_and(|name| name == REBUILD);
        for record in applied.iter().filter(|record| !(rebuilding && is_mark(record))) {
            check_known(record)?;
        }
        for (name, text) in MIGRATIONS {
            if is_applied(&applied, name) {
                continue;
            }
            for command in commands_of(name, text)? {
                lock.renew().await?;
                self.apply(command).await?;
            }
            let older_run = OLDER_RUN_BESIDE.contains(&name);
            let record = doc! {
                "_id": name, "checksum": checksum(text), "applied_at": super::documents::date(now), OLDER_RUN: older_run,
            };
            write(lock.migrations.insert_one(record)).await?;
            fresh.push(name.to_owned());
        }
        Ok(fresh)
    }

    async fn applied_migrations(&self) -> Result<Vec<Document>, StoreError> {
        let migrations = self.database.collection::<Document>("migrations");
        let find = migrations.find(doc! { "_id": { "$ne": "lock" } });
        read(async { find.await?.try_collect().await }).await
    }

    /// How many migrations a start would apply.
    ///
    /// # Errors
    /// `StoreError::Migration` when this version cannot run with those that are applied.
    pub(super) async fn pending_migrations(&self) -> Result<usize, StoreError> {
        let applied = self.applied_migrations().await?;
        applied.iter().try_for_each(check_known)?;
        Ok(MIGRATIONS.iter().filter(|(name, _)| !is_applied(&applied, name)).count())
    }

    async fn make_default(&self, default_policy: &Policy, now: Timestamp) -> Result<(), StoreError> {
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
            match self.departments.insert(&department, None).await {
                Ok(()) | Err(StoreError::Stale | StoreError::Taken(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives the users what the migrations gave them, after somebody dropped them: the collection, its validator, its
    /// indexes. What is there already stays.
    ///
    /// # Errors
    /// When MongoDB does not answer, or refuses an index because of users that were written without it.
    pub async fn mend_users(&self) -> Result<(), StoreError> {
        const USERS: &str = "users";
        for (name, text) in MIGRATIONS {
            for command in commands_of(name, text)? {
                if command.values().next().and_then(Bson::as_str) != Some(USERS) {
                    continue;
                }
                // One that a write has made by accident has no validator.
                let validator = command.get_document("validator").ok().cloned();
                self.apply(command).await?;
                if let Some(validator) = validator {
                    self.apply(doc! { "collMod": USERS, "validator": validator }).await?;
                }
            }
        }
        Ok(())
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

fn is_applied(applied: &[Document], name: &str) -> bool {
    applied.iter().any(|record| record.get_str("_id").is_ok_and(|known| known == name))
}

fn checksum(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn commands_of(name: &str, text: &str) -> Result<Vec<Document>, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Migration(format!("The migration {name} is not a list of commands: {error}.")))
}

/// Refuses an applied migration that this version does not have and cannot run with, or that it has with another text.
fn check_known(record: &Document) -> Result<(), StoreError> {
    let name = record.get_str("_id").unwrap_or_default();
    if name == REBUILD {
        return Err(StoreError::Migration(
            "The database is being rebuilt from targets, and that has not ended; run the same `rollkeeper vault restore` \
             again until it has."
                .to_owned(),
        ));
    }
    let Some((_, text)) = MIGRATIONS.iter().find(|(known, _)| *known == name) else {
        if record.get_bool(OLDER_RUN).unwrap_or(false) {
            return Ok(());
        }
        return Err(StoreError::Migration(format!(
            "The database has the migration {name}, which this version does not know and cannot run with; run a newer \
             rollkeeper."
        )));
    };
    if record.get_str("checksum").is_ok_and(|applied| applied == checksum(text)) {
        return Ok(());
    }
    Err(StoreError::Migration(format!(
        "The migration {name} was applied with another text; restore the file that was applied and add a new one."
    )))
}

/// The right to change the schema; one runner has it at a time, and loses it when it stays silent.
#[derive(Debug)]
pub(super) struct Lock {
    migrations: Collection<Document>,
    holder: String,
}

impl Lock {
    /// Takes the lock by compare-and-set on the server's clock; waits for another runner.
    pub(super) async fn take(database: &Database) -> Result<Self, StoreError> {
        let migrations = database.collection::<Document>("migrations");
        let lock = Self { migrations, holder: format!("{:032x}", rand::random::<u128>()) };
        let free = doc! { "_id": "lock", "expires_at": mongodb::bson::DateTime::from_millis(0) };
        match write(lock.migrations.insert_one(free)).await {
            Ok(_) | Err(StoreError::Taken(_)) => {}
            Err(error) => return Err(error),
        }
        for _ in 0..LOCK_TRIES {
            let expired = doc! { "_id": "lock", "$expr": { "$lt": ["$expires_at", "$$NOW"] } };
            if lock.hold(expired).await? {
                return Ok(lock);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Err(StoreError::Migration(
            "Another replica is migrating and has not ended within a minute; try again.".to_owned(),
        ))
    }

    async fn renew(&self) -> Result<(), StoreError> {
        if self.hold(doc! { "_id": "lock", "holder": &self.holder }).await? {
            return Ok(());
        }
        Err(StoreError::Migration("Another replica took the migration over, because this one was too slow.".to_owned()))
    }

    async fn hold(&self, filter: Document) -> Result<bool, StoreError> {
        let until = doc! { "$add": ["$$NOW", LEASE_MILLIS] };
        let update = vec![doc! { "$set": { "holder": &self.holder, "expires_at": until } }];
        Ok(write(self.migrations.update_one(filter, update)).await?.matched_count == 1)
    }

    /// Gives the lock back.
    pub(super) async fn free(self) {
        let free = self.migrations.update_one(
            doc! { "_id": "lock", "holder": &self.holder },
            doc! { "$set": { "expires_at": mongodb::bson::DateTime::from_millis(0) } },
        );
        if let Err(error) = write(free).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "free the lock of migrations; it expires by itself"
            );
        }
    }
}
