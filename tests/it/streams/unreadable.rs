//! A change of a user that cannot be read is a gap with its cause: it is neither passed over nor guessed.

use mongodb::bson::{Document, doc};
use serde_json::json;

use super::{WITHIN, bridged, causes, gaps, head, names_in, sync, wait_for_gap};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

#[tokio::test]
async fn a_change_of_a_user_whose_id_is_none_is_a_gap_and_the_history_goes_on_after_it() {
    let stack = Stack::start(Settings::default()).await;
    stack.department("eng").await;
    stack.create("eng", "eng-before", "Before").await;
    let first = stack.backup("eng").await;
    stack.create("default", "ada", "Ada").await;
    let users = stack.database().await.collection::<Document>("users");
    let key = doc! { "department": "eng", "id": 7 };
    let user = doc! { "_id": &key, "name": "Nobody" };
    users.insert_one(user).bypass_document_validation(true).await.expect("write past the service");
    wait_for_gap(&stack, "eng").await;
    let unreadable = |after: i64| ("unreadable_event".to_owned(), after);
    assert_eq!(gaps(&stack, "eng").await, [unreadable(1)]);
    // As long as it is there no backup can be made, and each that is tried says why.
    let failed = eventually("the backup of the new timeline has failed", WITHIN, async || {
        let listed = stack.client().get("/backups?department=eng&state=failed").await.expect(200).json;
        listed["items"].as_array()?.first().cloned()
    })
    .await;
    let cause = failed["cause"]["message"].as_str().expect("have a cause");
    assert!(cause.contains("`users` cannot be read"), "{failed}");
    stack.create("eng", "eng-during", "During").await;
    let waits = stack.client().post("/departments/eng/sync", json!({})).await.expect(503).json;
    assert_eq!(waits["code"], "not_durable_yet", "what the gap swallowed is in no backup yet: {waits}");

    // That it is taken away is a change which cannot be read either.
    users.delete_one(doc! { "_id": key }).await.expect("take it away");
    let bridge = bridged(&stack, "eng", 3).await;
    assert_eq!(names_in(&stack, &bridge).await, ["Before", "During"], "{bridge}");
    stack.create("eng", "eng-late", "Late").await;
    assert_eq!(sync(&stack, "eng").await["sequence"], 3);
    assert_eq!(gaps(&stack, "eng").await, [unreadable(1), unreadable(2)]);
    let shown = stack.client().get("/departments/eng").await.expect(200).json;
    assert_eq!(shown["recovery_window"]["gaps"][0]["cause"], "unreadable_event", "{shown}");
    assert_eq!(names_in(&stack, &first).await, ["Before"], "what was backed up before the gap stays readable");
    // It concerns nobody else.
    assert_eq!(sync(&stack, "default").await["sequence"], 1);
    assert_eq!((&head(&stack, "default").await["timeline"], causes(&stack, "default").await), (&json!(1), vec![]));
}
