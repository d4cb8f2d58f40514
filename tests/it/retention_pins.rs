//! What an open restore reads outlives every prune: its backup or the one before its moment, and the journal from there.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::harness::records::{Records, assert_same_content};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

/// Settings of a stack that prunes within seconds.
fn pruning() -> Settings {
    let backup =
        ", prune_every = \"1s\", prune_grace = \"1s\", journal_every = \"100ms\", idle_head_every = \"1s\"".to_owned();
    Settings { chunk_records: 16, backup, ..Settings::default() }
}

async fn renamed(stack: &Stack, n: usize) {
    stack.change(&format!("default-{n:05}"), json!({ "name": format!("Renamed {n}") })).await;
}

async fn synced(stack: &Stack) -> Value {
    stack.client().post("/departments/default/sync", Value::Null).await.expect(200).json
}

/// A history with a moment between two backups, and backups after it. The backups before and after the moment, the
/// receipt of the moment, and the records then.
async fn history(stack: &Stack) -> (Vec<Value>, Value, Records) {
    stack.first_slot_done("default").await;
    stack.create_users("default", 40).await;
    let mut made = vec![stack.backup("default").await];
    renamed(stack, 1).await;
    made.push(stack.backup("default").await);
    renamed(stack, 2).await;
    let moment = synced(stack).await;
    let wanted = stack.records("default").await;
    for n in 3..6 {
        renamed(stack, n).await;
        synced(stack).await;
        made.push(stack.backup("default").await);
    }
    (made, moment, wanted)
}

/// Keeps the newest backup and nothing else, and waits until the others are dropped and what they alone needed is gone.
async fn pruned(stack: &Stack, dropped: &[&Value]) {
    let keep = json!({ "keep_within": "1s", "keep_last": 1, "keep_hourly": 0, "keep_daily": 0, "keep_weekly": 0,
        "keep_monthly": 0, "keep_yearly": 0 });
    let policy = json!({ "policy": { "retention": keep } });
    stack.client().put("/departments/default", policy).await.expect(200);
    for backup in dropped {
        let id = backup["id"].as_str().expect("have an id");
        eventually(&format!("{id} is gone"), Duration::from_mins(1), async || {
            let now = stack.client().get(&format!("/backups/{id}")).await.expect(200).json;
            let words = stack.folder.path().join(format!("targets/t1/departments/default/1/backups/{id}"));
            // Its words go last of all.
            let empty = std::fs::read_dir(words).map_or(true, |mut left| left.next().is_none());
            (now["state"] == "deleted" && empty).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_planned_restore_from_a_moment_outlives_a_prune_and_is_applied_then() {
    for by in ["time", "sequence"] {
        let stack = Stack::start(pruning()).await;
        let (made, moment, wanted) = history(&stack).await;
        let field = if by == "time" { "at" } else { by };
        let planned = stack
            .plan(json!({ "from": { "department": "default", field: moment[by] }, "mode": "exact",
                "credentials": "restore", "locked": "restore" }))
            .await;
        pruned(&stack, &[&made[0], &made[2], &made[3], &made[4]]).await;
        let shown = stack.client().get("/departments/default/retention").await.expect(200).json;
        let decision = shown["items"].as_array().and_then(|all| all.iter().find(|it| it["backup_id"] == made[1]["id"]));
        assert!(decision.is_some_and(|it| it["reasons"].to_string().contains("pinned")), "{shown}");
        stack
            .client()
            .delete(&format!("/backups/{}", made[1]["id"].as_str().expect("be a text")))
            .await
            .expect_problem(409, "backup_pinned");
        let done = stack.carry_out(&planned).await;
        assert_eq!(done["progress"]["conflicts"], 0, "{done}");
        assert_same_content(&wanted, &stack.records("default").await);
        // Nobody needs it any more: the undo reads the safety backup.
        pruned(&stack, &[&made[1]]).await;
        stack.undone(&planned.location).await;
    }
}

#[tokio::test]
async fn a_planned_restore_into_another_department_pins_in_the_one_that_it_reads() {
    let stack = Stack::start(pruning()).await;
    stack.department("sales").await;
    let (made, moment, wanted) = history(&stack).await;
    let from = json!({ "department": "default", "at": moment["time"] });
    let planned = stack.plan(json!({ "from": from, "into": "sales" })).await;
    pruned(&stack, &[&made[0], &made[2], &made[3]]).await;
    stack.carry_out(&planned).await;
    let names = |records: &Records| {
        let mut names: Vec<String> = records.values().map(|user| user.name.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&wanted), names(&stack.records("sales").await));
}

#[tokio::test]
async fn a_restore_that_comes_in_the_moment_of_the_drop_fails_with_its_cause() {
    let stack = Stack::start(Settings { replicas: 2, session_timeout: "30s".to_owned(), ..pruning() }).await;
    let (made, moment, wanted) = history(&stack).await;
    let leader = stack.leader_of("default").await;
    let (frozen, other): (Vec<_>, Vec<_>) = stack.replicas.iter().partition(|replica| leader["replica"] == *replica.id);
    frozen[0].freeze();
    // The handler has seen what the leader drops right after that, before it hears of the restore.
    let ask = async |from: Value| {
        let accepted = other[0].client.post("/restores", json!({ "from": from, "apply": true })).await.expect(202);
        accepted.header("location").to_owned()
    };
    let of_backup = ask(json!({ "backup_id": made[1]["id"] })).await;
    let of_moment = ask(json!({ "department": "default", "at": moment["time"] })).await;
    let database = stack.database().await;
    let backups = database.collection::<Document>("backups");
    let id = made[1]["id"].as_str().expect("have an id");
    let last = made[4]["id"].as_str().expect("have an id");
    let last = backups.find_one(doc! { "_id.id": last }).await.expect("find").expect("have the backup");
    let content = last.get_document("content").expect("have content");
    let value = |field: &str| content.get(field).expect("have the field").clone();
    let begin = doc! { "timeline": value("timeline"), "sequence": value("sequence"), "time": value("taken_at") };
    let heads = database.collection::<Document>("heads");
    heads.update_one(doc! { "_id": "default" }, doc! { "$set": { "begin": begin } }).await.expect("move the beginning");
    backups.update_one(doc! { "_id.id": id }, doc! { "$set": { "state": "deleted" } }).await.expect("drop the backup");
    frozen[0].thaw();
    for (location, code) in [(of_backup, "backup_not_complete"), (of_moment, "outside_recovery_window")] {
        let failed = stack.ended(&location, "failed").await;
        assert_eq!(failed["cause"]["code"], code, "{failed}");
    }
    let renamed: Vec<_> = stack.records("default").await.into_iter().filter(|(id, user)| wanted[id] != *user).collect();
    assert_eq!(renamed.len(), 3, "nothing was restored: {renamed:?}");
}
