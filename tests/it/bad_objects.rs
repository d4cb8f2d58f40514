//! Damaged, swapped, forged and lost objects of backups: another copy serves, or the restore fails and changes nothing.

use mongodb::bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::client::Answer;
use crate::harness::objects::{Damage, Object, chunks, forged};
use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;

const TARGETS: usize = 3;
/// Enough for several chunks, wherever they are cut.
const USERS: usize = 200;
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxlLXNhbHQtMDE$1rBUU2jrGMzPeKRYNGndy8ozvtm05CBFs59hxa/MB5k";

fn small_chunks() -> Settings {
    Settings { targets: TARGETS, chunk_records: 16, ..Settings::default() }
}

/// Plans a restore and waits for what comes of it.
async fn plan(stack: &Stack, backup: &Value) -> Answer {
    let body = json!({ "from": { "backup_id": backup["id"] }, "mode": "exact", "locked": "restore" }).to_string();
    let headers = [("content-type", "application/json"), ("prefer", "wait=30")];
    stack.client().send(Method::POST, "/restores", &headers, Some(body)).await.expect(200)
}

/// Users with a backup, all of them changed since, so that the safety backup needs none of its chunks.
async fn changed_since(stack: &Stack) -> (Value, Vec<Value>) {
    stack.create_users("default", USERS).await;
    let backup = stack.backup("default").await;
    let backup = present_everywhere(stack, &backup).await;
    let locked = stack.all_users("default").await.into_iter().map(|user| {
        let line = json!({ "id": user["id"], "name": user["name"], "locked": true, "password_hash": HASH });
        line.to_string() + "\n"
    });
    let (headers, body) = ([("content-type", "application/x-ndjson")], locked.collect::<String>());
    let path = "/users/import?on_conflict=replace";
    let answer = stack.client().send(Method::POST, path, &headers, Some(body)).await.expect(200);
    assert_eq!(answer.text.matches("replaced").count(), USERS, "{}", answer.text);
    (backup, stack.all_users("default").await)
}

#[tokio::test]
async fn a_bad_copy_on_one_target_harms_no_restore() {
    let stack = Stack::start(small_chunks()).await;
    let (backup, users) = changed_since(&stack).await;
    let paths = chunks(&stack, &backup);
    assert!(paths.len() >= 2, "{paths:?}");
    let chunk = Object::at(&stack, TARGETS, &paths[0]);
    let other = Object::at(&stack, TARGETS, &paths[1]);
    let manifest = Object::at(&stack, TARGETS, backup["snapshot"].as_str().expect("have a snapshot"));
    for kind in Damage::ALL {
        for (object, instead) in [(&chunk, &other), (&manifest, &chunk)] {
            for on in 0..TARGETS - 1 {
                object.damage(on, kind, instead, &stack.place.recipient);
            }
            let planned = plan(&stack, &backup).await.json;
            assert_eq!(planned["state"], "planned", "{kind:?} {}: {planned}", object.path());
            assert_eq!(planned["plan"]["updates"], USERS, "{planned}");
            object.mend();
        }
    }
    assert_eq!(stack.all_users("default").await, users);
}

#[tokio::test]
async fn without_a_good_copy_the_restore_fails_with_its_cause_and_changes_no_user() {
    let stack = Stack::start(small_chunks()).await;
    let (backup, users) = changed_since(&stack).await;
    let paths = chunks(&stack, &backup);
    let chunk = Object::at(&stack, TARGETS, &paths[0]);
    let other = Object::at(&stack, TARGETS, &paths[1]);
    let manifest = Object::at(&stack, TARGETS, backup["snapshot"].as_str().expect("have a snapshot"));
    for kind in Damage::ALL {
        for (object, instead) in [(&chunk, &other), (&manifest, &chunk)] {
            for on in 0..TARGETS {
                object.damage(on, kind, instead, &stack.place.recipient);
            }
            let failed = plan(&stack, &backup).await.json;
            assert_eq!(failed["state"], "failed", "{kind:?} {}: {failed}", object.path());
            let code = if kind == Damage::Deleted { "target_failed" } else { "damaged" };
            assert_eq!(failed["cause"]["code"], code, "{kind:?}: {failed}");
            let message = failed["cause"]["message"].as_str().expect("have a message");
            assert!(message.contains(object.path()), "{kind:?}: {message}");
            assert_eq!(failed["plan"], Value::Null, "{failed}");
            // What is known of the backup is still told.
            let told = stack.client().get(&format!("/backups/{}", backup["id"].as_str().expect("have an id"))).await;
            let told = told.expect(200).json;
            assert_eq!((&told["state"], &told["records"]), (&json!("complete"), &json!(USERS)), "{told}");
            object.mend();
        }
    }
    assert_eq!(stack.all_users("default").await, users);
    assert_eq!(plan(&stack, &backup).await.json["state"], "planned", "mended, it can be restored again");
}

#[tokio::test]
async fn a_chunk_that_no_target_has_any_more_is_written_anew_by_the_next_backup() {
    let stack = Stack::start(small_chunks()).await;
    stack.create_users("default", USERS).await;
    let backup = stack.backup("default").await;
    let backup = present_everywhere(&stack, &backup).await;
    let chunk = Object::at(&stack, TARGETS, &chunks(&stack, &backup)[0]);
    for on in 0..TARGETS {
        chunk.damage(on, if on == 0 { Damage::Truncated } else { Damage::Deleted }, &chunk, "");
    }
    let next = stack.backup("default").await;
    assert_eq!((&next["records"], &next["root"]), (&json!(USERS), &backup["root"]));
    assert_eq!(plan(&stack, &next).await.json["state"], "planned");
    // The lost chunk has the records that are live, so it is not needed as long as nobody changes them.
    assert_eq!(plan(&stack, &backup).await.json["state"], "planned");
    // No chunk has less than four.
    for n in (0..USERS).step_by(4) {
        stack.client().delete(&format!("/users/default-{n:05}")).await.expect(204);
    }
    assert_eq!(plan(&stack, &backup).await.json["state"], "failed");
    assert_eq!(plan(&stack, &next).await.json["state"], "planned");
}

#[tokio::test]
async fn a_planted_backup_is_not_believed_even_where_the_catalogue_points_at_it() {
    let stack = Stack::start(small_chunks()).await;
    let (backup, users) = changed_since(&stack).await;
    let snapshot = backup["snapshot"].as_str().expect("have a snapshot");
    let timeline = backup["timeline"].as_i64().expect("have a timeline");
    // Everything as a reader of the format would make it, but for the secret: header, no chunks, totals, right name.
    let header = format!(
        "{{\"format\":1,\"kind\":\"snapshot\",\"department\":\"default\",\"timeline\":{timeline},\"sequence\":{},\
         \"chain\":\"{}\",\"cluster_time\":[1,1],\"taken_at\":\"2026-11-23T09:30:00.000Z\",\"epoch\":9,\
         \"recipients\":\"x\"}}\n",
        backup["sequence"],
        "0".repeat(64)
    );
    let totals = format!("{{\"records\":0,\"bytes\":0,\"root\":\"{}\",\"chunks\":0}}\n", "0".repeat(64));
    let sealed = forged(&stack.place.recipient, &(header + &totals));
    let folder = snapshot.rsplit_once('/').expect("lie in a folder").0;
    let planted =
        format!("{folder}/{:020}-{}.snap", backup["sequence"].as_i64().expect("have one"), blake3::hash(&sealed));
    for n in 1..=TARGETS {
        let file = stack.folder.path().join(format!("targets/t{n}")).join(&planted);
        std::fs::write(file, &sealed).expect("plant the manifest");
    }
    let mongo = mongodb::Client::with_uri_str(&stack.place.mongodb).await.expect("connect to MongoDB");
    let backups = mongo.database(&stack.place.database).collection::<Document>("backups");
    let key = doc! { "_id.id": backup["id"].as_str().expect("have an id") };
    let update = doc! { "$set": { "content.base.snapshot": &planted } };
    let done = backups.update_one(key, update).await.expect("update");
    assert_eq!(done.modified_count, 1);
    let failed = plan(&stack, &backup).await.json;
    assert_eq!((&failed["state"], &failed["cause"]["code"]), (&json!("failed"), &json!("damaged")), "{failed}");
    assert!(failed["cause"]["message"].as_str().is_some_and(|text| text.contains("MAC")), "{failed}");
    assert_eq!(stack.all_users("default").await, users);
}
