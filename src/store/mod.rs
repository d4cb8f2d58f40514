//! MongoDB: the only module that names `mongodb` or `bson`. One file per collection.
//!
//! Rules: every user write is a whole-document insert, guarded replace or guarded delete; every leader write takes a
//! `Leadership` and compares its epoch inside the write; absence is `Option`.

pub mod audit;
pub mod backups;
pub mod barriers;
pub mod condemned;
pub mod copies;
pub mod copy_counts;
pub mod departments;
pub mod divergence;
pub mod doctor;
mod documents;
pub mod error;
pub mod fences;
pub mod heads;
mod holds;
pub mod idempotency;
pub mod job_changes;
pub mod kept;
mod lost_heads;
mod meter;
pub mod migrate;
mod pins;
pub mod rebuild;
pub mod repository;
pub mod restore_batches;
pub mod restore_elsewhere;
pub mod restore_undo;
pub mod restores;
pub mod retired;
mod room;
mod scan;
pub mod step_downs;
pub mod tail;
pub mod tokens;
mod told;
mod txn;
pub mod users;
pub mod windows;

#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Database};

use crate::config::mongodb::MongodbConfig;
use crate::domain::history::Source;
use crate::domain::ids::ReplicaId;

pub use error::StoreError;

/// How long the driver looks for a primary, and for a connection to it.
const SELECT_WITHIN: Duration = Duration::from_secs(2);

const NOT_A_REPLICA_SET: &str = "MongoDB runs as a standalone server, which has neither transactions nor change \
     streams; start mongod with --replSet and initiate the set (one member is enough).";

/// All collections of one database.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    /// User records.
    pub users: users::Users,
    /// Departments and their policies.
    pub departments: departments::Departments,
    /// Who did what.
    pub audit: audit::Audit,
    /// Backup jobs and the catalogue of backups.
    pub backups: backups::Backups,
    /// Backups as retention sees them.
    pub kept: kept::Kept,
    /// Copies of backups, many at a time.
    pub copies: copies::Copies,
    /// Names that nothing may refer to any more.
    pub condemned: condemned::Condemned,
    /// Requests that came with a key.
    pub idempotency: idempotency::Idempotency,
    /// Sync barriers.
    pub barriers: barriers::Barriers,
    /// Restore jobs.
    pub restores: restores::Restores,
    /// What each range of a restore did.
    pub restore_batches: restore_batches::RestoreBatches,
    /// Departments that end.
    pub retired: retired::Retired,
    /// The epoch of each department.
    pub fences: fences::Fences,
    /// How far the history of each department goes.
    pub heads: heads::Heads,
    /// Departments whose targets hold another history.
    pub divergences: divergence::Divergences,
    /// What of each history can be read.
    pub windows: windows::Windows,
    /// The identity of the repository of backups.
    pub repository: repository::RepositoryRecord,
    /// Wishes that a leadership goes to another replica.
    pub step_downs: step_downs::StepDowns,
    /// Change streams of departments.
    pub tail: tail::Tail,
    /// Tokens that were issued.
    pub tokens: tokens::Tokens,
}

impl Store {
    fn of(database: Database) -> Self {
        Self {
            users: users::Users::new(&database),
            departments: departments::Departments::new(&database),
            audit: audit::Audit::new(&database),
            backups: backups::Backups::new(&database),
            copies: copies::Copies::new(&database),
            kept: kept::Kept::new(&database),
            condemned: condemned::Condemned::new(&database),
            barriers: barriers::Barriers::new(&database),
            idempotency: idempotency::Idempotency::new(&database),
            restores: restores::Restores::new(&database),
            restore_batches: restore_batches::RestoreBatches::new(&database),
            retired: retired::Retired::new(&database),
            fences: fences::Fences::new(&database),
            heads: heads::Heads::new(&database),
            divergences: divergence::Divergences::new(&database),
            windows: windows::Windows::new(&database),
            repository: repository::RepositoryRecord::new(&database),
            step_downs: step_downs::StepDowns::new(&database),
            tail: tail::Tail::new(&database),
            tokens: tokens::Tokens::new(&database),
            database,
        }
    }

    /// Connects lazily: works while MongoDB is down. The replica id becomes the driver's application name.
    ///
    /// # Errors
    /// When the connection string is not valid.
    pub async fn connect(config: &MongodbConfig, uri: &str, replica: &ReplicaId) -> Result<Self, StoreError> {
        // The driver's own message may repeat parts of the string, and the string may hold a password.
        let mut options = ClientOptions::parse(uri).await.map_err(|_| {
            StoreError::Unsupported(
                "The MongoDB connection string cannot be read; give it as mongodb://host:port/?replicaSet=name."
                    .to_owned(),
            )
        })?;
        options.app_name = Some(replica.as_str().to_owned());
        options.server_selection_timeout = Some(SELECT_WITHIN);
        options.connect_timeout = Some(SELECT_WITHIN);
        options.read_concern = Some(ReadConcern::majority());
        options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
        options.selection_criteria = None;
        room::make(&mut options);
        let client = Client::with_options(options).map_err(StoreError::Other)?;
        Ok(Self::of(client.database(&config.database)))
    }

    /// Refuses what rollkeeper cannot run on: a standalone server, mongos, a version before 6.0.
    ///
    /// # Errors
    /// `StoreError::Unsupported` with a full sentence; `Unavailable` when MongoDB does not answer.
    pub async fn check(&self) -> Result<(), StoreError> {
        let hello = error::read(self.database.run_command(doc! { "hello": 1 })).await?;
        if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
            return Err(StoreError::Unsupported(
                "The connection string leads to mongos; rollkeeper needs one replica set, so name its members there."
                    .to_owned(),
            ));
        }
        if hello.get_str("setName").is_err() {
            return Err(StoreError::Unsupported(NOT_A_REPLICA_SET.to_owned()));
        }
        let build = error::read(self.database.run_command(doc! { "buildInfo": 1 })).await?;
        let version = build.get_str("version").unwrap_or("of unknown version");
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0);
        if major < 6 {
            return Err(StoreError::Unsupported(format!(
                "MongoDB {version} is too old; rollkeeper needs 6.0 or newer, so upgrade the replica set."
            )));
        }
        Ok(())
    }

    /// One round trip, for readyz; at most one second.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        error::read_within(Duration::from_secs(1), self.database.run_command(doc! { "ping": 1 })).await.map(drop)
    }

    /// What the change streams of this database come from, with or without users.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn source(&self) -> Result<Source, StoreError> {
        present_source(&self.database).await
    }
}

/// What the change streams of a database come from.
async fn source_of(database: &Database) -> Result<Source, StoreError> {
    let reason = "the collection does not exist; run `rollkeeper migrate`".to_owned();
    let source = present_source(database).await?;
    if source.has_users() { Ok(source) } else { Err(StoreError::Corrupt { collection: "users", reason }) }
}

/// The same, also while there are no users. Reading it needs the role `clusterMonitor`.
async fn present_source(database: &Database) -> Result<Source, StoreError> {
    let admin = database.client().database("admin");
    let reply = error::read(admin.run_command(doc! { "replSetGetConfig": 1 })).await?;
    let settings = reply.get_document("config").and_then(|config| config.get_document("settings"));
    let replica_set_id = settings
        .and_then(|settings| settings.get_object_id("replicaSetId"))
        .map_err(|_| StoreError::Unsupported(NOT_A_REPLICA_SET.to_owned()))?;
    let list = database.run_cursor_command(doc! { "listCollections": 1, "filter": { "name": "users" } });
    let found: Vec<Document> = error::read(async { list.await?.try_collect().await }).await?;
    let uuid = found
        .first()
        .and_then(|users| users.get_document("info").ok())
        .and_then(|info| info.get("uuid"))
        .and_then(|uuid| match uuid {
            mongodb::bson::Bson::Binary(binary) => Some(hex::encode(&binary.bytes)),
            _ => None,
        })
        .unwrap_or_default();
    Ok(Source { replica_set_id: replica_set_id.to_hex(), users_uuid: uuid })
}
