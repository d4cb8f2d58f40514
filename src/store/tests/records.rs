//! Users, departments, heads and migrations.

use mongodb::bson::doc;

use super::{NOW, department, drop_database, leader, policy, record, store, unmigrated, user};
use crate::domain::audit::AuditAction;
use crate::domain::history::{Chain, ClusterTime, JournalCopy, Position, Sequence, StreamToken};
use crate::domain::user::Rev;
use crate::store::error::UniqueField;
use crate::store::users::UserFilter;
use crate::store::{Store, StoreError};

#[tokio::test]
async fn a_user_is_written_read_replaced_and_deleted_by_its_rev() {
    let store = store().await;
    let ada = user("a1", "Ada");
    store.users.insert(&ada).await.unwrap();
    assert_eq!(store.users.get(&ada.id).await.unwrap(), Some(ada.clone()));

    let twin = store.users.insert(&user("a1", "Other")).await;
    assert!(matches!(twin, Err(StoreError::Taken(UniqueField::Id))), "{twin:?}");
    let namesake = store.users.insert(&user("a2", "Ada")).await;
    assert!(matches!(namesake, Err(StoreError::Taken(UniqueField::Name))), "{namesake:?}");

    let mut newer = ada.clone();
    newer.rev = Rev::from_bits(u64::MAX);
    newer.version = 2;
    store.users.replace(&newer, ada.rev).await.unwrap();
    assert!(matches!(store.users.replace(&newer, ada.rev).await, Err(StoreError::Stale)));
    assert!(matches!(store.users.delete(&department(), &ada.id, ada.rev).await, Err(StoreError::Stale)));
    assert_eq!(store.users.get(&ada.id).await.unwrap(), Some(newer.clone()));
    store.users.delete(&department(), &ada.id, newer.rev).await.unwrap();
    assert!(!store.users.any_in(&department()).await.unwrap());
    drop_database(store).await;
}

#[tokio::test]
async fn many_users_are_inserted_each_with_its_own_result_and_listed_by_pages() {
    let store = store().await;
    let users: Vec<_> = (0..25).map(|n| user(&format!("u{n:02}"), &format!("name {n:02}"))).collect();
    let mut batch = users.clone();
    batch.push(user("u00", "another"));
    let results = store.users.insert_many(&batch).await.unwrap();
    assert!(results[..25].iter().all(Result::is_ok));
    assert!(matches!(results[25], Err(StoreError::Taken(UniqueField::Id))));

    let filter = UserFilter { department: Some(department()), ..UserFilter::default() };
    let first = store.users.list(&filter, None, 20).await.unwrap();
    let last = first.last().map(|user| (user.department.clone(), user.id.clone()));
    let rest = store.users.list(&filter, last.as_ref(), 20).await.unwrap();
    assert_eq!([first, rest].concat(), users);
    let filter = UserFilter { name_prefix: Some("name 1".to_owned()), ..UserFilter::default() };
    assert_eq!(store.users.list(&filter, None, 100).await.unwrap().len(), 10);
    assert_eq!(store.users.count(&department()).await.unwrap(), 25);
    let holders = store.users.holders_of(&department(), &["name 03".to_owned(), "nobody".to_owned()]).await.unwrap();
    assert_eq!(holders, [("name 03".to_owned(), "u03".parse().unwrap())]);
    drop_database(store).await;
}

#[tokio::test]
async fn a_foreign_document_is_corrupt_and_the_validator_refuses_it() {
    let store = store().await;
    let foreign = doc! { "_id": { "department": "default", "id": "x" }, "name": 7 };
    let users = store.database.collection::<mongodb::bson::Document>("users");
    assert!(users.insert_one(foreign.clone()).await.is_err());
    users.insert_one(foreign).bypass_document_validation(true).await.unwrap();
    let read = store.users.get(&"x".parse().unwrap()).await;
    assert!(matches!(read, Err(StoreError::Corrupt { collection: "users", .. })), "{read:?}");
    drop_database(store).await;
}

#[tokio::test]
async fn migrations_are_applied_once_also_by_two_runners() {
    let store = unmigrated().await;
    let policy = policy();
    let (one, two) = tokio::join!(store.migrate(&policy, NOW), store.migrate(&policy, NOW));
    assert_eq!(
        [one.unwrap(), two.unwrap()].concat(),
        [
            "0001_collections",
            "0002_indexes",
            "0003_barriers",
            "0004_points",
            "0005_retention",
            "0006_tokens_audit",
            "0007_idempotency"
        ]
    );
    assert!(store.migrate(&policy, NOW).await.unwrap().is_empty());
    store.check().await.unwrap();
    let found = store.departments.get(&department()).await.unwrap().unwrap();
    assert_eq!(found.policy, policy);
    assert_eq!(store.departments.names().await.unwrap(), [department()]);
    assert!(matches!(store.departments.insert(&found, None).await, Err(StoreError::Stale)));

    let migrations = store.database.collection::<mongodb::bson::Document>("migrations");
    migrations.insert_one(doc! { "_id": "9999_future", "checksum": "x" }).await.unwrap();
    assert!(matches!(store.migrate(&policy, NOW).await, Err(StoreError::Migration(_))));
    drop_database(store).await;
}

#[tokio::test]
async fn a_deleted_department_comes_back_with_its_head() {
    let store = store().await;
    let found = store.departments.get(&department()).await.unwrap().unwrap();
    let rev = Rev::random();
    store
        .departments
        .set_deleted(&department(), found.rev, true, rev, &record(AuditAction::DeleteDepartment))
        .await
        .unwrap();
    assert!(store.departments.list(None, 10).await.unwrap().is_empty());
    let head = store.heads.get(&department()).await.unwrap();
    store.departments.insert(&found, None).await.unwrap();
    assert_eq!(store.heads.get(&department()).await.unwrap(), head);
    assert_eq!(store.departments.list(None, 10).await.unwrap(), [found]);
    drop_database(store).await;
}

#[tokio::test]
async fn a_head_moves_only_from_its_own_chain() {
    let store: Store = store().await;
    let leadership = leader(&store, 3).await;
    let source = store.source().await.unwrap();
    let (head, before) = store.heads.take(&leadership, &source).await.unwrap();
    assert!(before < leadership.epoch);
    // The same again is one whose answer was lost.
    assert_eq!(store.heads.take(&leadership, &source).await.unwrap(), (head.clone(), leadership.epoch));
    assert_eq!((head.position.sequence, head.epoch, &head.source), (Sequence(0), leadership.epoch, &source));
    let to = Position {
        sequence: Sequence(4),
        chain: Chain([7; 32]),
        time: NOW,
        closed: false,
        cluster_time: ClusterTime { seconds: 9, ordinal: 2 },
        balance: 2,
        token: Some(StreamToken(vec![1, 2, 3])),
    };
    let journal = [JournalCopy { target: "t1".parse().unwrap(), through: Sequence(4) }];
    store.heads.advance(&leadership, &Chain::GENESIS, (&to, None), &journal).await.unwrap();
    // The same move again is one whose answer was lost; any other from there is somebody else's.
    store.heads.advance(&leadership, &Chain::GENESIS, (&to, None), &journal).await.unwrap();
    let other = Position { sequence: Sequence(5), ..to.clone() };
    let refused = store.heads.advance(&leadership, &Chain::GENESIS, (&other, None), &journal).await;
    assert!(matches!(refused, Err(StoreError::Fenced(_))));
    assert_eq!(store.heads.get(&department()).await.unwrap().unwrap().journal, journal);
    assert_eq!(store.heads.get(&department()).await.unwrap().unwrap().position, to);
    let rebased = store.heads.rebase(&leadership, &source, "history_lost", NOW).await.unwrap();
    assert_eq!((rebased.timeline.0, rebased.position.sequence, rebased.position.chain), (2, to.sequence, to.chain));
    assert_eq!((rebased.position.token.as_ref(), rebased.gaps.len()), (None, 1));
    drop_database(store).await;
}

#[cfg(not(feature = "unfenced"))]
#[tokio::test]
async fn a_head_of_a_higher_epoch_is_not_taken_back() {
    let store = store().await;
    let (old, new) = (leader(&store, 3).await, leader(&store, 4).await);
    let source = store.source().await.unwrap();
    store.heads.take(&new, &source).await.unwrap();
    assert!(matches!(store.heads.take(&old, &source).await, Err(StoreError::Fenced(_))));
    drop_database(store).await;
}

#[tokio::test]
async fn a_dead_server_is_unavailable_soon_and_a_bad_address_never_shows() {
    let config = crate::config::mongodb::MongodbConfig { uri: None, uri_file: None, database: "x".to_owned() };
    let replica = "test".parse().unwrap();
    let store = Store::connect(&config, "mongodb://127.0.0.1:1/?replicaSet=rs0", &replica).await.unwrap();
    let ada = user("a1", "Ada");
    let both = async { tokio::join!(store.users.get(&ada.id), store.users.insert(&ada)) };
    let (read, write) = tokio::time::timeout(std::time::Duration::from_secs(4), both).await.unwrap();
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert!(matches!(write, Err(StoreError::Unavailable(_))), "{write:?}");
    let bad = Store::connect(&config, "mongo://u:secret@x", &replica).await.unwrap_err();
    assert!(!format!("{bad:?}").contains("secret"));
}
