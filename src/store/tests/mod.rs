//! The store against a real `mongod`: `ROLLKEEPER_TEST_MONGODB_URI` names a replica set, each test has its own database.

mod jobs;
mod records;
mod retention;
mod streams;
mod tokens;

use std::time::Duration;

use super::Store;
use crate::config::mongodb::MongodbConfig;
use crate::domain::audit::{AuditAction, AuditOutcome, AuditRecord};
use crate::domain::backup::{Backup, BackupKind};
use crate::domain::clock::Timestamp;
use crate::domain::department::Policy;
use crate::domain::epoch::{Epoch, Leadership};
use crate::domain::ids::{BackupId, DepartmentName};
use crate::domain::user::{PasswordHash, Rev, User};

/// The moment at which the tests take place.
const NOW: Timestamp = Timestamp::from_millis(1_795_512_345_670);

#[expect(clippy::disallowed_methods, reason = "the address of the test server is no part of the configuration")]
async fn unmigrated() -> Store {
    let uri = std::env::var("ROLLKEEPER_TEST_MONGODB_URI")
        .expect("set ROLLKEEPER_TEST_MONGODB_URI to the connection string of a replica set for tests");
    let database = format!("store-{:016x}", rand::random::<u64>());
    let config = MongodbConfig { uri: None, uri_file: None, database };
    Store::connect(&config, &uri, &"test".parse().unwrap()).await.unwrap()
}

async fn store() -> Store {
    let store = unmigrated().await;
    store.migrate(&policy(), NOW).await.unwrap();
    store
}

async fn drop_database(store: Store) {
    store.database.drop().await.unwrap();
}

fn policy() -> Policy {
    Policy::checked(Duration::from_secs(10)).unwrap()
}

fn department() -> DepartmentName {
    DepartmentName::default_department()
}

fn user(id: &str, name: &str) -> User {
    User {
        id: id.parse().unwrap(),
        department: department(),
        name: name.parse().unwrap(),
        password_hash: PasswordHash::from_checked("$argon2id$x".to_owned()),
        locked: false,
        rev: Rev::random(),
        version: 1,
        created_at: NOW,
        updated_at: NOW,
    }
}

fn leadership(epoch: i64) -> Leadership {
    Leadership {
        department: department(),
        epoch: Epoch(epoch),
        replica: "test".parse().unwrap(),
        claim: format!("claim-{epoch}"),
    }
}

async fn leader(store: &Store, epoch: i64) -> Leadership {
    let leadership = leadership(epoch);
    store.fences.claim(&leadership, epoch).await.unwrap();
    leadership
}

fn record(action: AuditAction) -> AuditRecord {
    AuditRecord {
        id: uuid::Uuid::now_v7().into(),
        at: NOW,
        caller: "ada".to_owned(),
        token_id: None,
        action,
        department: Some(department()),
        subject: "x".to_owned(),
        request_id: None,
        replica: "test".parse().unwrap(),
        outcome: AuditOutcome::Done,
        // Not the moment of the tests, which MongoDB's own clock has passed.
        expires_at: Timestamp::from_millis(i64::from(u32::MAX) * 2000),
    }
}

fn backup() -> Backup {
    let wish = Backup::queued(BackupId::from(uuid::Uuid::now_v7()), department(), BackupKind::OnDemand, NOW);
    Backup { requested_by: Some("ada".to_owned()), ..wish }
}
