//! Verifying a backup over HTTP: every copy is read back, what is wrong is told, nothing is written.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::objects::{Damage, Object, chunks};
use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;

const TARGETS: usize = 3;

async fn verify(stack: &Stack, backup: &Value) -> Value {
    let path = format!("/backups/{}/verify", backup["id"].as_str().expect("have an id"));
    stack.client().send(Method::POST, &path, &[], None).await.expect(200).json
}

/// State and code of the cause of each copy, in the order of the targets.
fn found(verified: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let copies = verified["copies"].as_array().expect("have copies");
    copies.iter().map(|copy| (text(&copy["state"]), text(&copy["cause"]["code"]))).collect()
}

#[tokio::test]
async fn each_copy_is_read_back_and_its_damage_is_told_without_being_written_down() {
    let settings = Settings { targets: TARGETS, chunk_records: 16, ..Settings::default() };
    let stack = Stack::start(settings).await;
    stack.create_users("default", 200).await;
    let backup = stack.backup("default").await;
    let backup = present_everywhere(&stack, &backup).await;
    let good = verify(&stack, &backup).await;
    assert_eq!((&good["whole"], &good["whole_copies"]), (&json!(true), &json!(TARGETS)), "{good}");
    for (copy, before) in
        good["copies"].as_array().expect("have copies").iter().zip(backup["copies"].as_array().expect("have them"))
    {
        assert!(copy["verified_at"].as_str() > before["verified_at"].as_str(), "{copy} {before}");
    }
    let paths = chunks(&stack, &backup);
    let (first, last) = (Object::at(&stack, TARGETS, &paths[0]), Object::at(&stack, TARGETS, &paths[paths.len() - 1]));
    let present = ("present".to_owned(), String::new());
    for kind in Damage::ALL {
        last.damage(1, kind, &first, &stack.place.recipient);
        let verified = verify(&stack, &backup).await;
        let bad = if kind == Damage::Deleted { ("missing", "target_failed") } else { ("damaged", "damaged") };
        let bad = (bad.0.to_owned(), bad.1.to_owned());
        assert_eq!(found(&verified), [present.clone(), bad, present.clone()], "{kind:?}: {verified}");
        assert_eq!((&verified["whole"], &verified["whole_copies"]), (&json!(false), &json!(2)), "{verified}");
        let message = verified["copies"][1]["cause"]["message"].as_str().expect("have a message");
        assert!(message.contains(last.path()), "{message}");
        last.mend();
    }
    let targets = stack.folder.path().join("targets");
    std::fs::rename(targets.join("t3"), targets.join("away")).expect("hide the target");
    let verified = verify(&stack, &backup).await;
    assert_eq!(found(&verified)[2], ("present".to_owned(), "target_failed".to_owned()), "{verified}");
    assert_eq!((&verified["whole"], &verified["whole_copies"]), (&json!(false), &json!(2)), "{verified}");
    std::fs::rename(targets.join("away"), targets.join("t3")).expect("bring the target back");
    let path = format!("/backups/{}", backup["id"].as_str().expect("have an id"));
    assert_eq!(stack.client().get(&path).await.expect(200).json, backup);
}

#[tokio::test]
async fn only_a_complete_backup_can_be_verified() {
    let stack = Stack::start(Settings::default()).await;
    stack.first_slot_done("default").await;
    let client = stack.client();
    let targets = stack.folder.path().join("targets");
    std::fs::rename(targets.join("t2"), targets.join("away")).expect("hide the target");
    let job = client.post("/backups", json!({ "department": "default" })).await.expect(202);
    stack.ended(job.header("location"), "failed").await;
    let path = format!("{}/verify", job.header("location"));
    client.send(Method::POST, &path, &[], None).await.expect_problem(409, "backup_not_complete");
    for id in ["0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f", "nope"] {
        let path = format!("/backups/{id}/verify");
        client.send(Method::POST, &path, &[], None).await.expect_problem(404, "not_found");
    }
}
