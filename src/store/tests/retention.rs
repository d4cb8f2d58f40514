//! Condemned names, holds and drops.

use super::{NOW, backup, department, drop_database, leader, record, store};
use crate::domain::audit::AuditAction;
use crate::domain::backup::{BackupContent, BackupState, Base, Wish};
use crate::domain::cause::Cause;
use crate::domain::clock::Timestamp;
use crate::domain::epoch::Leadership;
use crate::domain::history::{Chain, ClusterTime, Sequence, Timeline};
use crate::domain::ids::{BackupId, TargetName};
use crate::store::backups::Made;
use crate::store::condemned::Doomed;
use crate::store::{Store, StoreError};

fn made(snapshot: &str) -> Made {
    let base = Base {
        snapshot: snapshot.to_owned(),
        sequence: Sequence(4),
        taken_at: NOW,
        records: 2,
        bytes: 4,
        root: "ab".to_owned(),
    };
    let content = BackupContent {
        timeline: Timeline(1),
        sequence: Sequence(8),
        chain: Chain([1; 32]),
        taken_at: NOW,
        cluster_time: ClusterTime { seconds: 1, ordinal: 2 },
        records: 3,
        balance: 3,
        base,
        unchanged: false,
    };
    Made { content, copies: Vec::new(), chunks: vec!["chunk".to_owned()] }
}

fn doomed(path: &str) -> Doomed {
    Doomed { path: path.to_owned(), after: NOW, segment: None, replaced_by: None }
}

fn targets() -> Vec<TargetName> {
    vec!["a".parse().unwrap(), "b".parse().unwrap()]
}

/// A backup that is being made.
async fn running(store: &Store, leadership: &Leadership) -> BackupId {
    let backup = backup();
    store.backups.insert(&backup).await.unwrap();
    store.backups.take(leadership, &backup.id, NOW).await.unwrap();
    backup.id
}

#[tokio::test]
async fn a_backup_that_refers_to_a_condemned_name_is_not_completed() {
    let store = store().await;
    let leadership = leader(&store, 1).await;
    let segment = |first, last| Some((Timeline(1), Sequence(first), Sequence(last)));
    let names = [
        doomed("gone.snap"),
        doomed("gone-chunk"),
        Doomed { segment: segment(1, 4), ..doomed("before") },
        Doomed { segment: segment(5, 6), replaced_by: Some("larger".to_owned()), ..doomed("merged") },
    ];
    assert!(store.condemned.condemn(&leadership, Some(0), &names, &targets()).await.unwrap());
    let id = running(&store, &leadership).await;
    let chunk = Made { chunks: vec!["other".to_owned(), "gone-chunk".to_owned()], ..made("x.snap") };
    for refused in [made("gone.snap"), chunk] {
        let outcome = store.backups.complete(&leadership, &id, &refused, NOW).await;
        assert!(matches!(outcome, Err(StoreError::Condemned)), "{outcome:?}");
    }
    store.backups.complete(&leadership, &id, &made("x.snap"), NOW).await.unwrap();

    let needed = [Doomed { segment: segment(7, 9), ..doomed("needed") }];
    assert!(!store.condemned.condemn(&leadership, Some(0), &needed, &targets()).await.unwrap(), "one more is complete");
    assert!(store.condemned.condemn(&leadership, Some(1), &needed, &targets()).await.unwrap());
    let next = running(&store, &leadership).await;
    let outcome = store.backups.complete(&leadership, &next, &made("x.snap"), NOW).await;
    assert!(matches!(outcome, Err(StoreError::Condemned)), "{outcome:?}");
    drop_database(store).await;
}

#[tokio::test]
async fn a_name_is_due_on_each_target_until_that_one_has_deleted_it() {
    let store = store().await;
    let leadership = leader(&store, 1).await;
    let later = Timestamp::from_millis(NOW.as_millis() + 1);
    let names = [Doomed { after: later, ..doomed("second") }, doomed("first")];
    store.condemned.condemn(&leadership, None, &names, &targets()).await.unwrap();
    let due = async |target: &str, now| {
        let due = store.condemned.due(&department(), &target.parse().unwrap(), now, 9).await.unwrap();
        due.into_iter().map(|doomed| doomed.path).collect::<Vec<_>>()
    };
    assert_eq!(due("a", NOW).await, ["first"]);
    assert_eq!(due("a", later).await, ["first", "second"]);
    let gone = ["first".to_owned()];
    store.condemned.gone(&leadership, &"a".parse().unwrap(), &gone, later).await.unwrap();
    assert_eq!((due("a", later).await, due("b", NOW).await), (vec!["second".to_owned()], gone.to_vec()));
    let known = store.condemned.among(&department(), &["first".to_owned(), "other".to_owned()]).await.unwrap();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), gone, "it stays condemned");
    drop_database(store).await;
}

#[tokio::test]
async fn a_held_backup_is_not_dropped_and_a_dropped_one_is_owed_to_every_target() {
    let store = store().await;
    let leadership = leader(&store, 1).await;
    let id = running(&store, &leadership).await;
    let wish = Wish { by: "ada".to_owned(), at: NOW };
    assert!(
        matches!(
            store.kept.hold(&id, &wish, &targets(), &record(AuditAction::HoldBackup)).await,
            Err(StoreError::Stale)
        ),
        "it is not complete"
    );
    store.backups.complete(&leadership, &id, &made("x.snap"), NOW).await.unwrap();
    store.kept.hold(&id, &wish, &targets(), &record(AuditAction::HoldBackup)).await.unwrap();
    assert!(matches!(
        store.kept.request_delete(&id, &wish, &record(AuditAction::DeleteBackup)).await,
        Err(StoreError::Stale)
    ));
    let dropped = [(id.clone(), Cause::new("retention", "x"))];
    store.kept.drop(&leadership, &dropped, &targets(), NOW).await.unwrap();
    let held = store.backups.get(&id).await.unwrap().unwrap();
    assert_eq!((held.state, held.held.is_some(), held.word()), (BackupState::Complete, true, 2));
    store.kept.release(&id, &targets(), &record(AuditAction::ReleaseBackup)).await.unwrap();
    store.kept.drop(&leadership, &dropped, &targets(), NOW).await.unwrap();
    let gone = store.backups.get(&id).await.unwrap().unwrap();
    assert_eq!((gone.state, gone.word()), (BackupState::Deleted, 4));
    for target in targets() {
        assert_eq!(store.kept.untold(&department(), &target, 9).await.unwrap().len(), 1);
        store.kept.told(&leadership, &gone, &target, NOW).await.unwrap();
        assert!(store.kept.untold(&department(), &target, 9).await.unwrap().is_empty());
    }
    drop_database(store).await;
}
