//! Takes down what is committed to `MongoDB`, in the order of its commits, with the epoch that each document carries after it.

use futures::StreamExt;
use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};
use mongodb::change_stream::event::{ChangeStreamEvent, OperationType};
use mongodb::options::FullDocumentType;

use super::history::{Event, Write};
use super::recorder::Recorder;

/// Collections that leaders write, and that keep what each document was like after each write.
const KEPT: [&str; 5] = ["heads", "backups", "restores", "restore_batches", "departments"];
/// What clients make under a key begins so.
pub(super) const ONCE: &str = "once-";

/// Asks the server to keep what documents are like after each write.
pub(super) async fn keep_images(database: &Database) {
    for collection in KEPT {
        let keep = doc! { "collMod": collection, "changeStreamPreAndPostImages": { "enabled": true } };
        database.run_command(keep).await.expect("keep images");
    }
}

/// What is not of interest never leaves the server: each fenced transaction counts in its fence, and a head moves with
/// every segment.
fn wanted() -> Document {
    let named = |field: &str| doc! { format!("updateDescription.updatedFields.{field}"): { "$exists": true } };
    let insert = doc! { "operationType": "insert" };
    doc! { "$match": { "$or": [
        { "ns.coll": "fences", "$or": [&insert, named("epoch")] },
        { "ns.coll": "heads", "$or": [&insert, named("epoch")] },
        { "ns.coll": { "$in": ["backups", "restores", "restore_batches", "departments"] }, "operationType": { "$ne": "delete" } },
        { "ns.coll": "users", "operationType": "insert", "fullDocument.name": { "$regex": format!("^{ONCE}") } },
    ] } }
}

/// Takes commits down until dropped; goes on where it was when the server was away.
pub(super) async fn follow(database: Database, recorder: Recorder, opened: tokio::sync::oneshot::Sender<()>) {
    let (mut token, mut order, mut opened) = (None, 0, Some(opened));
    loop {
        let watch = database.watch().pipeline([wanted()]).full_document(FullDocumentType::WhenAvailable);
        let watch = watch.full_document_before_change(mongodb::options::FullDocumentBeforeChangeType::Off);
        let Ok(mut stream) = watch.resume_after(token.clone()).await else {
            tokio::task::yield_now().await;
            continue;
        };
        if let Some(opened) = opened.take() {
            let _ = opened.send(());
        }
        token = token.or_else(|| stream.resume_token());
        while let Some(Ok(event)) = stream.next().await {
            order += 1;
            token = stream.resume_token();
            if let Some(write) = write(order, event) {
                recorder.record(Event::Write(write));
            }
        }
    }
}

fn write(order: u64, event: ChangeStreamEvent<Document>) -> Option<Write> {
    let collection = event.ns?.coll?;
    let key = event.document_key?;
    let (department, id) = match key.get_document("_id") {
        Ok(key) => {
            // A range of a restore has a number.
            let id = key.get("id").or_else(|| key.get("restore")).map(plain).unwrap_or_default();
            (key.get_str("department").unwrap_or_default().to_owned(), id)
        }
        Err(_) => (key.get_str("_id").ok()?.to_owned(), String::new()),
    };
    let changed = event.update_description.map(|update| update.updated_fields).unwrap_or_default();
    let after = event.full_document.unwrap_or_else(|| changed.clone());
    let carries = if matches!(collection.as_str(), "backups" | "restores" | "departments") { "fence" } else { "epoch" };
    let text = |field: &str| after.get_str(field).ok().map(ToOwned::to_owned);
    let by = after.get_document("executed_by").ok();
    let by = by.and_then(|by| Some((by.get_str("replica").ok()?.to_owned(), by.get_i64("epoch").ok()?)));
    let claimed = || Some((after.get_i64("zxid").ok()?, text("owner")?, text("claim")?));
    let schedule = after.get_document("schedule").ok();
    Some(Write {
        order,
        department,
        id,
        insert: event.operation_type == OperationType::Insert,
        // `copies.0.state` is of `copies`.
        fields: changed.keys().filter_map(|key| key.split('.').next()).map(ToOwned::to_owned).collect(),
        epoch: after.get_i64(carries).ok(),
        claimed: if collection == "fences" { claimed() } else { None },
        state: text("state"),
        job: if collection == "backups" { text("kind") } else { None },
        by,
        slot: after.get_datetime("slot").ok().map(|slot| slot.timestamp_millis()),
        missed: schedule.and_then(|schedule| schedule.get_i64("missed_slots").ok()),
        name: if collection == "users" { text("name") } else { None },
        collection,
    })
}

fn plain(value: &Bson) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}
