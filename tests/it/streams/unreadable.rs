//! A change of a user that cannot be read is a gap with its cause: it is neither passed over nor guessed.

use mongodb::bson::{Document, doc};
use serde_json::json;

use super::{after_the_gap, before_the_gap, causes, head, sync, wait_for_gap};
use crate::harness::Stack;
use crate::harness::settings::Settings;

#[tokio::test]
async fn a_change_of_a_user_whose_id_is_none_is_a_gap_and_the_history_goes_on_after_it() {
    let stack = Stack::start(Settings::default()).await;
    stack.department("eng").await;
    let first = before_the_gap(&stack, "eng").await;
    stack.create("default", "ada", "Ada").await;
    let users = stack.database().await.collection::<Document>("users");
    let key = doc! { "department": "eng", "id": 7 };
    let user = doc! { "_id": &key, "name": "Nobody" };
    users.insert_one(user).bypass_document_validation(true).await.expect("write past the service");
    wait_for_gap(&stack, "eng").await;
    eprintln!("LISTED {:?}", stack.client().get("/users?department=eng").await);
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    eprintln!(
        "BACKUPS {}",
        stack.client().get("/backups?department=eng&state=queued,running,failed,complete").await.text
    );
    eprintln!("LOG {}", stack.replicas[0].log());
    users.delete_one(doc! { "_id": key }).await.expect("take it away");
    after_the_gap(&stack, "eng", "unreadable_event", &first, &["Before", "Later"]).await;
    // It concerns nobody else.
    assert_eq!(sync(&stack, "default").await["sequence"], 1);
    assert_eq!((&head(&stack, "default").await["timeline"], causes(&stack, "default").await), (&json!(1), vec![]));
}
