//! Fences, the schedule, backups and restores.

use super::{NOW, backup, department, drop_database, leader, leadership, record, store};
use crate::domain::audit::AuditAction;
use crate::domain::backup::{BackupContent, BackupProgress, BackupState, Base};
use crate::domain::clock::Timestamp;
use crate::domain::copies::{Copy, CopyState};
use crate::domain::epoch::Epoch;
use crate::domain::history::{Chain, ClusterTime, Sequence, Timeline};
use crate::domain::ids::RestoreId;
use crate::domain::restore::{
    CredentialsPolicy, LockedPolicy, OnConflict, Plan, Restore, RestoreMode, RestoreRequest, RestoreSource,
    RestoreState,
};
use crate::store::StoreError;
use crate::store::backups::Made;
use crate::store::fences::Claimed;

#[tokio::test]
async fn a_claim_is_mine_again_after_a_lost_reply_and_stale_for_others() {
    let store = store().await;
    assert_eq!(store.fences.claim(&leadership(2), 1).await.unwrap(), Claimed::Mine);
    assert_eq!(store.fences.claim(&leadership(2), 1).await.unwrap(), Claimed::Mine);
    let mut other = leadership(2);
    other.claim = "other".to_owned();
    assert_eq!(store.fences.claim(&other, 1).await.unwrap(), Claimed::Stale(Epoch(2)));
    assert_eq!(store.fences.claim(&leadership(1), 1).await.unwrap(), Claimed::Stale(Epoch(2)));
    assert_eq!(store.fences.epoch(&department()).await.unwrap(), Some(Epoch(2)));
    drop_database(store).await;
}

fn content() -> BackupContent {
    BackupContent {
        timeline: Timeline(1),
        sequence: Sequence(5),
        chain: Chain([1; 32]),
        taken_at: NOW,
        cluster_time: ClusterTime { seconds: 1, ordinal: 2 },
        records: 3,
        balance: 3,
        base: Base {
            snapshot: "x.snap".to_owned(),
            sequence: Sequence(4),
            taken_at: NOW,
            records: 2,
            bytes: 4,
            root: "ab".to_owned(),
        },
        unchanged: false,
    }
}

fn made(copies: Vec<Copy>) -> Made {
    Made { content: content(), copies, chunks: Vec::new() }
}

#[tokio::test]
async fn a_backup_goes_from_queued_to_complete() {
    let store = store().await;
    let leadership = leader(&store, 1).await;
    let backup = backup();
    store.backups.insert(&backup).await.unwrap();
    assert!(matches!(store.backups.insert(&backup).await, Err(StoreError::Taken(_))));
    assert_eq!(store.backups.open(&department()).await.unwrap(), std::slice::from_ref(&backup));
    store.backups.take(&leadership, &backup.id, NOW).await.unwrap();
    let progress = BackupProgress { records_done: 1, records_total: 2, bytes_done: 3 };
    store.backups.set_progress(&leadership, &backup.id, progress).await.unwrap();
    let owed = Copy { target: "a".parse().unwrap(), state: CopyState::Owed, verified_at: None, cause: None };
    store.backups.complete(&leadership, &backup.id, &made(vec![owed]), NOW).await.unwrap();
    let again = store.backups.complete(&leadership, &backup.id, &made(Vec::new()), NOW).await;
    assert!(matches!(again, Err(StoreError::Stale)), "{again:?}");
    let done = store.backups.get(&backup.id).await.unwrap().unwrap();
    assert_eq!((done.state, done.attempt, done.progress), (BackupState::Complete, 1, progress));
    assert_eq!(done.content, Some(content()));
    let owing = async |target: &str| {
        let targets = [target.parse().unwrap()];
        store.backups.owing(&department(), &targets, 10).await.unwrap()
    };
    assert_eq!(owing("a").await, std::slice::from_ref(&done));
    assert_eq!(store.backups.newest_complete(&department()).await.unwrap(), Some(done.clone()));
    let present = Copy { target: "a".parse().unwrap(), state: CopyState::Present, verified_at: Some(NOW), cause: None };
    store.backups.set_copies(&leadership, &backup.id, &[present]).await.unwrap();
    assert!(owing("a").await.is_empty());
    assert_eq!(owing("new").await.len(), 1, "a target that came later has no copy");
    drop_database(store).await;
}

#[tokio::test]
async fn a_slot_is_taken_exactly_once() {
    let store = store().await;
    let leadership = leader(&store, 1).await;
    let slot = Timestamp::from_millis(20_000);
    let (one, two) = (backup(), backup());
    let (first, second) = tokio::join!(
        store.departments.take_slot(&leadership, None, slot, 2, Some(&one)),
        store.departments.take_slot(&leadership, None, slot, 2, Some(&two)),
    );
    assert_eq!([first.is_ok(), second.is_ok()].iter().filter(|ok| **ok).count(), 1, "{first:?} {second:?}");
    assert!(matches!(first.and(second), Err(StoreError::Stale)));
    assert_eq!(store.backups.open(&department()).await.unwrap().len(), 1);
    let schedule = store.departments.get(&department()).await.unwrap().unwrap().schedule;
    assert_eq!((schedule.last_slot, schedule.missed_slots), (Some(slot), 2));
    drop_database(store).await;
}

#[cfg(not(feature = "unfenced"))]
#[tokio::test]
async fn a_leader_that_was_superseded_writes_nothing() {
    let store = store().await;
    let old = leader(&store, 1).await;
    let backup = backup();
    store.backups.insert(&backup).await.unwrap();
    store.backups.take(&old, &backup.id, NOW).await.unwrap();
    let new = leader(&store, 2).await;
    store.fences.adopt_jobs(&new).await.unwrap();
    let before = store.backups.get(&backup.id).await.unwrap();
    let progress = store.backups.set_progress(&old, &backup.id, BackupProgress::default()).await;
    assert!(matches!(progress, Err(StoreError::Fenced(Epoch(1)))), "{progress:?}");
    let complete = store.backups.complete(&old, &backup.id, &made(Vec::new()), NOW).await;
    assert!(matches!(complete, Err(StoreError::Fenced(Epoch(1)))), "{complete:?}");
    let slot = store.departments.take_slot(&old, None, NOW, 0, None).await;
    assert!(matches!(slot, Err(StoreError::Fenced(Epoch(1)))), "{slot:?}");
    assert_eq!(store.backups.get(&backup.id).await.unwrap(), before);
    store.backups.complete(&new, &backup.id, &made(Vec::new()), NOW).await.unwrap();
    drop_database(store).await;
}

#[tokio::test]
async fn a_restore_goes_from_queued_to_complete() {
    let store = store().await;
    let leadership = leader(&store, 1).await;
    let request = RestoreRequest {
        source: RestoreSource::Backup(backup().id),
        into: None,
        users: Some(vec!["u1".parse().unwrap()]),
        mode: RestoreMode::Exact,
        credentials: CredentialsPolicy::Restore,
        locked: LockedPolicy::Unlock,
        on_conflict: OnConflict::Overwrite,
    };
    let restore = Restore::queued(RestoreId::from(uuid::Uuid::now_v7()), department(), request, "ada".to_owned(), NOW);
    store.restores.insert(&restore, &record(AuditAction::StartRestore)).await.unwrap();
    assert_eq!(store.restores.get(&restore.id).await.unwrap(), Some(restore.clone()));
    let taken = store.restores.take(&leadership, &restore.id, NOW).await.unwrap();
    assert_eq!((taken.state, taken.started_at), (RestoreState::Planning, Some(NOW)));
    store.restores.set_safety_backup(&leadership, &restore.id, &backup().id).await.unwrap();
    let plan = Plan {
        creates: 1,
        updates: 2,
        deletes: 3,
        renames: 1,
        unchanged: 4,
        security_kept: 5,
        conflicts: 6,
        renumbered: 7,
        noted: 9,
        missing_users: vec!["u9".parse().unwrap()],
        hash: "h".to_owned(),
        samples: Vec::new(),
        computed_at: NOW,
    };
    store.restores.set_plan(&leadership, &restore.id, &plan).await.unwrap();
    assert!(matches!(
        store.restores.request_apply(&restore.id, "other", &record(AuditAction::ApplyRestore)).await,
        Err(StoreError::Stale)
    ));
    store.restores.request_apply(&restore.id, "h", &record(AuditAction::ApplyRestore)).await.unwrap();
    store.restores.start_applying(&leadership, &restore.id).await.unwrap();
    assert_eq!(store.restores.open(&department()).await.unwrap().len(), 1);
    store.restores.finish(&leadership, &restore.id, RestoreState::Complete, None, NOW).await.unwrap();
    assert!(matches!(
        store.restores.request_cancel(&restore.id, &record(AuditAction::CancelRestore)).await,
        Err(StoreError::Stale)
    ));
    let done = store.restores.get(&restore.id).await.unwrap().unwrap();
    assert_eq!((done.state, done.plan), (RestoreState::Complete, Some(plan)));
    drop_database(store).await;
}

#[cfg(not(feature = "unfenced"))]
#[tokio::test]
async fn a_transaction_that_a_claim_overtakes_does_not_commit() {
    let store = store().await;
    let old = leader(&store, 1).await;
    let backup = backup();
    store.backups.insert_fenced(&old, &backup).await.unwrap();
    assert!(matches!(store.backups.insert_fenced(&old, &backup).await, Err(StoreError::Taken(_))));
    let mut txn = crate::store::txn::Txn::fenced(&store.database, &old).await.unwrap();
    let ended = loop {
        let filter = mongodb::bson::doc! { "_id.id": backup.id.as_str() };
        let update = mongodb::bson::doc! { "$set": { "state": "failed" } };
        let outcome = txn.set("backups", filter, update).await.map(drop);
        store.fences.claim(&leadership(2), 2).await.unwrap();
        match txn.finish(outcome).await {
            Ok(None) => {}
            ended => break ended,
        }
    };
    assert!(matches!(ended, Err(StoreError::Fenced(Epoch(1)))), "{ended:?}");
    assert_eq!(store.backups.get(&backup.id).await.unwrap().unwrap().state, BackupState::Queued);
    drop_database(store).await;
}
