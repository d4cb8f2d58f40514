//! The change stream and the scan at one cluster time.

use futures::StreamExt as _;
use mongodb::bson::{Document, doc};

use super::{NOW, backup, department, drop_database, leader, store, user};
use crate::domain::history::{Change, ClusterTime};
use crate::domain::user::{Rev, User};
use crate::store::Store;
use crate::store::heads::cluster_time_now;
use crate::store::tail::{TailEvent, TailKind, TailStream, TokenPlace};

/// How long a step of a stream may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

async fn open(store: &Store, at: ClusterTime) -> TailStream {
    store.tail.open(&[department()], at, PATIENCE).await.unwrap()
}

/// The next event that is one.
async fn event(stream: &mut TailStream) -> TailEvent {
    loop {
        let event = stream.next(PATIENCE).await.unwrap();
        if event.kind != TailKind::Idle {
            return event;
        }
    }
}

#[tokio::test]
async fn the_stream_tells_changes_and_the_marker_in_order_and_a_second_one_tells_the_same_places() {
    let store = store().await;
    let leadership = leader(&store, 1).await;
    let start = cluster_time_now(&store.database).await.unwrap();
    let mut stream = open(&store, start).await;
    let mut ada = user("a1", "Ada");
    store.users.insert(&ada).await.unwrap();
    let guard = std::mem::replace(&mut ada.rev, Rev::random());
    store.users.replace(&ada, guard).await.unwrap();
    let backup = backup();
    store.backups.insert(&backup).await.unwrap();
    let marker = store.backups.take(&leadership, &backup.id, NOW).await.unwrap();
    let users = store.database.collection::<Document>("users");
    users.update_one(doc! { "_id.id": "a1" }, doc! { "$set": { "locked": true } }).await.unwrap();
    store.users.delete(&department(), &ada.id, ada.rev).await.unwrap();

    let inserted = loop {
        let told = event(&mut stream).await;
        if matches!(told.kind, TailKind::User(_)) {
            break told;
        }
    };
    assert!(inserted.cluster_time.is_some() && inserted.wall_time.is_some());
    assert_eq!(event(&mut stream).await.kind, TailKind::User(Change::Put(ada.clone())));
    // One that also matches others, from the moment of the first event on: its tokens stand in the same order.
    let names = [department(), "another".parse().unwrap()];
    let mut resumed = store.tail.open(&names, inserted.cluster_time.unwrap(), PATIENCE).await.unwrap();
    let again = event(&mut resumed).await;
    assert_eq!(TokenPlace::of(&again.token), TokenPlace::of(&inserted.token));
    assert_eq!(TokenPlace::of(&inserted.token).map(|place| place.cluster_time()), inserted.cluster_time);
    assert_eq!(event(&mut resumed).await.kind, TailKind::User(Change::Put(ada.clone())));
    for stream in [&mut stream, &mut resumed] {
        assert_eq!(event(stream).await.kind, TailKind::Backup { marker: None });
        assert_eq!(event(stream).await.kind, TailKind::Backup { marker: Some(marker.clone()) });
        let TailKind::User(Change::Patch(id, text)) = event(stream).await.kind else { panic!("no patch") };
        assert!(id == ada.id && text.contains(r#""locked":true"#), "{text}");
        assert_eq!(event(stream).await.kind, TailKind::User(Change::Delete(ada.id.clone())));
    }
    let other = store.database.collection::<Document>("users2");
    other.insert_one(doc! { "_id": 1 }).await.unwrap();
    let rename = |from: &str, to: &str| {
        let name = |coll: &str| format!("{}.{coll}", store.database.name());
        doc! { "renameCollection": name(from), "to": name(to) }
    };
    let admin = store.database.client().database("admin");
    admin.run_command(rename("users", "users3")).await.unwrap();
    admin.run_command(rename("users2", "users")).await.unwrap();
    users.drop().await.unwrap();
    store.database.drop().await.unwrap();
    let mut place = TokenPlace::of(&again.token);
    for reason in ["collection_renamed", "collection_renamed", "collection_dropped", "database_dropped", "invalidated"]
    {
        let told = event(&mut stream).await;
        assert_eq!((told.kind, told.department), (TailKind::Gone(reason), None));
        let next = TokenPlace::of(&told.token);
        assert!(next > place, "{next:?} after {place:?}");
        place = next;
    }
    assert_eq!(event(&mut stream).await.kind, TailKind::Broken("stream_ended"));
}

#[tokio::test]
async fn a_dropped_wait_loses_no_event() {
    let store = store().await;
    let start = cluster_time_now(&store.database).await.unwrap();
    let mut stream = open(&store, start).await;
    for n in 0..5 {
        let next = user(&format!("u{n}"), &format!("name {n}"));
        let dropped = tokio::time::timeout(std::time::Duration::from_millis(1), stream.next(PATIENCE)).await;
        store.users.insert(&next).await.unwrap();
        if let Ok(Ok(told)) = dropped {
            assert!(!matches!(told.kind, TailKind::User(_)));
        }
        loop {
            if let TailKind::User(change) = event(&mut stream).await.kind {
                assert_eq!(change, Change::Put(next));
                break;
            }
        }
    }
    drop_database(store).await;
}

async fn scan(store: &Store, at: crate::domain::history::ClusterTime, cursors: usize) -> Vec<User> {
    let pieces: Vec<_> = store.users.scan_at(&department(), at, cursors).collect().await;
    pieces.into_iter().flat_map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_scan_shows_one_cluster_time_while_writes_go_on() {
    let store = store().await;
    let users: Vec<_> = (0..36_000).map(|n| user(&format!("u{n:06}"), &format!("name {n:06}"))).collect();
    for batch in users.chunks(6_000) {
        assert!(store.users.insert_many(batch).await.unwrap().iter().all(Result::is_ok));
    }
    let at = cluster_time_now(&store.database).await.unwrap();
    store.users.insert(&user("u000000x", "later")).await.unwrap();
    store.users.delete(&department(), &users[35_999].id, users[35_999].rev).await.unwrap();
    for cursors in [1, 3] {
        assert!(scan(&store, at, cursors).await == users, "with {cursors} cursors");
    }
    let now = cluster_time_now(&store.database).await.unwrap();
    assert_eq!(scan(&store, now, 2).await.len(), 36_000);
    drop_database(store).await;
}
