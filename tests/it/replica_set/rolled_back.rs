//! A primary that is cut off from the others takes writes that nobody else ever has, dies, and gives them up when it is back.
//!
//! The service asks for a majority, so what it acknowledged is never among them; only who writes past it with `w: 1` loses
//! writes so. The history is what the majority has.

use std::time::Instant;

use mongodb::bson::{Document, doc};
use mongodb::options::{Acknowledgment, CollectionOptions, WriteConcern};
use serde_json::json;

use super::load::Load;
use super::start;
use crate::harness::members::Members;
use crate::harness::records::hash_number;
use crate::harness::{Stack, eventually};

/// Users that somebody changes past the service.
const KEEPERS: usize = 3;

#[tokio::test]
async fn what_a_cut_off_primary_alone_was_told_is_in_no_history_and_nothing_acknowledged_is_lost_with_it() {
    let (stack, mut members) = start().await;
    let load = Load::on(&stack).await;
    for n in 0..KEEPERS {
        let body =
            json!({ "id": format!("keeper-{n}"), "name": format!("Keeper {n}"), "password_hash": hash_number(1) });
        stack.client().post("/users", body).await.expect(201);
    }
    let before = stack.records("default").await;
    let primary = load
        .during(async {
            load.goes_on().await;
            let primary = members.until_primary().await;
            let others: Vec<usize> = (0..members.count()).filter(|n| *n != primary).collect();
            members.follow(&others, false).await;
            write_past_the_majority(&stack, &members, primary).await;
            members.kill(primary);
            members.follow(&others, true).await;
            let took = load.served_again("cut-off", Instant::now()).await;
            load.goes_on().await;
            members.bring_back().await;
            // The service goes on with the one that gave up what it had alone.
            members.step_up(primary).await;
            load.goes_on().await;
            eprintln!("cut off: served again after {took:.1?}");
            primary
        })
        .await;
    assert!(members.data(primary).join("rollback").is_dir(), "the member had writes to give up");
    let after = stack.records("default").await;
    assert!(!after.contains_key("foreign"), "it was rolled back");
    for n in 0..KEEPERS {
        let id = format!("keeper-{n}");
        assert_eq!(before.get(&id), after.get(&id), "what was done to it was rolled back");
        let history = stack.client().get(&format!("/users/{id}/history")).await.expect(200).json;
        assert_eq!(history["items"].as_array().map(Vec::len), Some(1), "{history}");
    }
    stack.client().get("/users/foreign/history?department=default").await.expect(404);
    load.holds(&stack).await;
}

/// An insert, two changes and a delete that only the primary has, all of them journaled by it.
async fn write_past_the_majority(stack: &Stack, members: &Members, primary: usize) {
    let alone = WriteConcern::builder().w(Acknowledgment::Nodes(1)).journal(true).build();
    let options = CollectionOptions::builder().write_concern(alone).build();
    let database = members.admin(primary).await.client().database(&stack.place.database);
    let users = database.collection_with_options::<Document>("users", options);
    let key = |id: &str| doc! { "_id": { "department": "default", "id": id } };
    // Of another department's kind in nothing but its id and its name.
    let mut foreign = users.find_one(key("keeper-0")).await.expect("read").expect("have it");
    foreign.insert("_id", doc! { "department": "default", "id": "foreign" });
    foreign.insert("name", "Foreign");
    users.insert_one(foreign).await.expect("insert");
    users.update_one(key("keeper-0"), doc! { "$set": { "locked": true } }).await.expect("update");
    users.update_one(key("keeper-1"), doc! { "$set": { "name": "Renamed" } }).await.expect("update");
    users.delete_one(key("keeper-2")).await.expect("delete");
    // Seen on the primary, and by nobody who asks for what the majority has.
    assert!(users.find_one(key("foreign")).await.expect("read").is_some());
    // Nor does it say that there is no such user while it cannot know: the primary has one.
    eventually("the service does not show it", super::WITHIN, async || {
        let answer = stack.client().get("/users/foreign").await;
        assert!(answer.status != 200 && answer.status != 404, "{}", answer.text);
        (answer.status == 503).then_some(())
    })
    .await;
}
