//! The change stream of a replica: one for all departments that it leads, and what becomes of the history when it breaks.

mod errors;
mod load;
mod receipts;
mod room;
mod unreadable;

use std::time::Duration;

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use serde_json::{Value, json};

use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

const WITHIN: Duration = Duration::from_mins(1);

async fn sync(stack: &Stack, department: &str) -> Value {
    stack.client().post(&format!("/departments/{department}/sync"), json!({})).await.expect(200).json
}

async fn head(stack: &Stack, department: &str) -> Value {
    stack.client().get(&format!("/departments/{department}")).await.expect(200).json["head"].clone()
}

/// The gaps of a department, as its head has them: the cause, and the sequence before it.
async fn gaps(stack: &Stack, department: &str) -> Vec<(String, i64)> {
    let document = head_document(stack, department).await;
    let of = |gap: &Bson| {
        let gap = gap.as_document().expect("be a document");
        (gap.get_str("cause").expect("have a cause").to_owned(), gap.get_i64("after").expect("have a sequence"))
    };
    document.get_array("gaps").expect("have gaps").iter().map(of).collect()
}

/// The causes of them.
async fn causes(stack: &Stack, department: &str) -> Vec<String> {
    gaps(stack, department).await.into_iter().map(|(cause, _)| cause).collect()
}

/// What an administrator runs.
async fn admin(stack: &Stack, command: Document) -> Document {
    let client = stack.database().await.client().clone();
    client.database("admin").run_command(command).await.expect("run a command")
}

/// The cursors of change streams over the whole database that a replica has open on the server.
async fn cursors(stack: &Stack, replica: &str) -> usize {
    let name = &stack.place.database;
    let operations = [
        doc! { "$currentOp": { "allUsers": true, "idleCursors": true } },
        // An idle cursor names what it reads, one at work only the database.
        doc! { "$match": { "appName": replica, "ns": { "$in": [format!("{name}.$cmd.aggregate"), format!("{name}.$cmd")] } } },
    ];
    let database = stack.database().await.client().database("admin");
    let found: Vec<Document> =
        database.aggregate(operations).await.expect("ask for operations").try_collect().await.expect("read them");
    let ids = found.iter().filter_map(|operation| operation.get_document("cursor").ok()?.get_i64("cursorId").ok());
    ids.collect::<std::collections::BTreeSet<_>>().len()
}

/// Waits until a department's new timeline has a complete backup, and returns that.
async fn bridged(stack: &Stack, department: &str, timeline: i64) -> Value {
    eventually("the new timeline has a complete backup", WITHIN, async || {
        let listed = stack.client().get(&format!("/backups?department={department}")).await.expect(200).json;
        listed["items"].as_array()?.iter().find(|backup| backup["timeline"] == timeline).cloned()
    })
    .await
}

async fn names_in(stack: &Stack, backup: &Value) -> Vec<String> {
    stack.records_of_backup(backup).await.values().map(|user| user.name.as_str().to_owned()).collect()
}

/// Users that have to be seen on both sides of a gap, and what stands before it.
async fn before_the_gap(stack: &Stack, department: &str) -> Value {
    stack.create(department, &format!("{department}-before"), "Before").await;
    let backup = stack.backup(department).await;
    stack.create(department, &format!("{department}-later"), "Later").await;
    assert_eq!(sync(stack, department).await["sequence"], 2);
    backup
}

/// Insists on one gap with this cause, a new timeline with a complete backup, and a journal that goes on.
async fn after_the_gap(stack: &Stack, department: &str, cause: &str, first: &Value, names: &[&str]) {
    let bridge = bridged(stack, department, 2).await;
    assert_eq!(bridge["kind"], "scheduled", "{bridge}");
    assert_eq!(names_in(stack, &bridge).await, names, "{bridge}");
    assert_eq!(names_in(stack, first).await, ["Before"], "what was backed up before the gap stays readable");
    stack.create(department, &format!("{department}-zz-after"), "After").await;
    let receipt = sync(stack, department).await;
    assert_eq!(receipt["sequence"], 3, "sequence and chain go on: {receipt}");
    let last = stack.backup(department).await;
    assert_eq!((&last["timeline"], &last["sequence"]), (&json!(2), &json!(3)), "{last}");
    let both: Vec<&str> = names.iter().copied().chain(["After"]).collect();
    assert_eq!(names_in(stack, &last).await, both);
    assert_eq!(gaps(stack, department).await, [(cause.to_owned(), 2)]);
    let shown = stack.client().get(&format!("/departments/{department}")).await.expect(200).json;
    assert_eq!(shown["recovery_window"]["gaps"][0]["cause"], cause, "{shown}");
    let document = head_document(stack, department).await;
    let source = document.get_document("source").expect("have a source").get_str("users_uuid").expect("be a text");
    assert_eq!(source, users_uuid(stack).await);
}

async fn head_document(stack: &Stack, department: &str) -> Document {
    let heads = stack.database().await.collection::<Document>("heads");
    heads.find_one(doc! { "_id": department }).await.expect("read a head").expect("have a head")
}

async fn users_uuid(stack: &Stack) -> String {
    let database = stack.database().await;
    let list = doc! { "listCollections": 1, "filter": { "name": "users" } };
    let found: Vec<Document> =
        database.run_cursor_command(list).await.expect("list").try_collect().await.expect("read the list");
    match found[0].get_document("info").expect("have info").get("uuid") {
        Some(Bson::Binary(uuid)) => hex::encode(&uuid.bytes),
        other => panic!("{other:?}"),
    }
}

async fn wait_for_gap(stack: &Stack, department: &str) {
    eventually("the gap is recorded", WITHIN, async || (!gaps(stack, department).await.is_empty()).then_some(())).await;
}

#[tokio::test]
async fn all_departments_of_a_replica_are_followed_by_one_cursor() {
    let stack = Stack::start(Settings::default()).await;
    let names: Vec<String> = (0..12).map(|n| format!("dept-{n:02}")).collect();
    for name in &names {
        stack.department(name).await;
    }
    for name in &names {
        stack.create(name, &format!("{name}-a"), "Ada").await;
        assert_eq!(sync(&stack, name).await["sequence"], 1);
    }
    eventually("one cursor is left", WITHIN, async || (cursors(&stack, "r1").await == 1).then_some(())).await;
    for name in names.iter().rev() {
        stack.create(name, &format!("{name}-b"), "Bob").await;
        assert_eq!(sync(&stack, name).await["sequence"], 2);
        assert_eq!(cursors(&stack, "r1").await, 1);
    }
    let opened = stack.replicas[0].log().matches("opened the change stream").count();
    assert!(opened <= 1 + names.len(), "it was opened {opened} times");
}

#[tokio::test]
async fn a_dropped_users_collection_that_is_made_again_by_a_write_is_a_gap_and_a_new_timeline() {
    let stack = Stack::start(Settings::default()).await;
    stack.department("eng").await;
    let first = before_the_gap(&stack, "eng").await;
    let database = stack.database().await;
    database.collection::<Document>("users").drop().await.expect("drop the users");
    wait_for_gap(&stack, "eng").await;
    stack.create("eng", "eng-again", "Again").await;
    after_the_gap(&stack, "eng", "collection_dropped", &first, &["Again"]).await;
    assert_eq!(causes(&stack, "default").await, ["collection_dropped"], "it concerns every department");
    // The collection has again what the migrations gave it.
    let twice = json!({ "department": "eng", "name": "Again", "password": "correct horse battery" });
    stack.client().post("/users", twice).await.expect_problem(409, "name_taken");
}

#[tokio::test]
async fn users_that_are_renamed_away_and_back_are_a_gap_each() {
    let stack = Stack::start(Settings::default()).await;
    stack.department("eng").await;
    let first = before_the_gap(&stack, "eng").await;
    let name = |coll: &str| format!("{}.{coll}", stack.place.database);
    let rename = |from: &str, to: &str| doc! { "renameCollection": name(from), "to": name(to) };
    admin(&stack, rename("users", "elsewhere")).await;
    wait_for_gap(&stack, "eng").await;
    admin(&stack, rename("elsewhere", "users")).await;
    after_the_gap(&stack, "eng", "collection_renamed", &first, &["Before", "Later"]).await;
}

#[tokio::test]
async fn a_dropped_database_is_a_gap_once_it_is_migrated_again() {
    let stack = Stack::start(Settings::default()).await;
    let first = before_the_gap(&stack, "default").await;
    stack.database().await.drop().await.expect("drop the database");
    let heads = stack.database().await.collection::<Document>("heads");
    eventually("the leader has put its head back with the gap", WITHIN, async || {
        let head = heads.find_one(doc! { "_id": "default" }).await.ok()??;
        (head.get_i64("timeline").ok()? == 2).then_some(())
    })
    .await;
    stack.migrate(&Settings::default());
    after_the_gap(&stack, "default", "database_dropped", &first, &[]).await;
}
