//! Recovery from the targets alone: everything is read, and a database rebuilt, from one directory and the key.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::records::{Records, assert_same_content};
use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;
use crate::harness::{Stack, eventually};

const DEPARTMENTS: [&str; 3] = ["default", "eng", "ops"];

fn settings() -> Settings {
    Settings { targets: 3, chunk_records: 16, ..Settings::default() }
}

/// Waits until a target holds the whole journal of a department, and gives the receipt.
async fn synced(stack: &Stack, department: &str, target: &str) -> Value {
    let path = format!("/departments/{department}/sync");
    eventually("the target holds the journal", Duration::from_mins(1), async || {
        let receipt = stack.client().post(&path, json!({})).await;
        let copies = receipt.json["copies"].as_array().cloned().unwrap_or_default();
        let level = copies.iter().any(|copy| copy["target"] == target && copy["through"] == receipt.json["sequence"]);
        (receipt.status == 200 && level).then_some(receipt.json)
    })
    .await
}

/// What a history was, to compare with what comes of it.
struct Model {
    /// A backup of each department with its records then.
    backups: BTreeMap<String, (Value, Records)>,
    /// The records at the end.
    end: BTreeMap<String, Records>,
}

/// Three departments with backups, and changes after them that only the journal has.
async fn history(stack: &Stack) -> Model {
    let mut model = Model { backups: BTreeMap::new(), end: BTreeMap::new() };
    stack.department("eng").await;
    stack.client().put("/departments/ops", json!({ "policy": { "backup_every": "2h" } })).await.expect(201);
    stack.leader_of("ops").await;
    for (n, department) in DEPARTMENTS.iter().enumerate() {
        stack.create_users(department, 60 + n).await;
        let backup = stack.backup(department).await;
        let backup = present_everywhere(stack, &backup).await;
        model.backups.insert((*department).to_owned(), (backup, stack.records(department).await));
        for user in 0..10 {
            stack.change(&format!("{department}-{user:05}"), json!({ "locked": true })).await;
            stack.delete(&format!("{department}-{:05}", user + 20)).await;
        }
        stack.create(department, &format!("{department}-new"), "Zoë \"Z\" 王").await;
        synced(stack, department, "t2").await;
        model.end.insert((*department).to_owned(), stack.records(department).await);
    }
    model
}

/// Ends every replica and leaves one target as it is; the others are empty, as new disks are.
fn lose_all_but(stack: &mut Stack, target: &str) {
    for mut replica in stack.replicas.drain(..) {
        replica.stop();
    }
    for other in ["t1", "t2", "t3"].into_iter().filter(|other| *other != target) {
        let folder = stack.folder.path().join("targets").join(other);
        std::fs::remove_dir_all(&folder).expect("lose a target");
        std::fs::create_dir(&folder).expect("put a new disk there");
    }
}

/// A record as `cat` prints it, to compare with one of the database.
fn line(user: &rollkeeper::domain::user::User) -> String {
    let mut line = Vec::new();
    rollkeeper::backup::record::write_record(&mut line, user);
    String::from_utf8(line).expect("be UTF-8")
}

fn lines(records: &Records) -> String {
    records.values().map(|user| line(user) + "\n").collect()
}

#[tokio::test]
async fn after_the_loss_of_everything_but_one_directory_the_service_goes_on() {
    let settings = settings();
    let mut stack = Stack::start(settings.clone()).await;
    let model = history(&stack).await;
    lose_all_but(&mut stack, "t2");
    stack.move_on();

    stack.vault_restore(&["t2"], &[]).expect(0);
    for department in DEPARTMENTS {
        assert_eq!(stack.records(department).await, model.end[department], "{department}: exact, rev and times too");
    }
    stack.vault_restore(&["t2"], &[]).expect(1);

    stack.migrate(&settings);
    stack.serve(&settings).await;
    for department in DEPARTMENTS {
        goes_on(&stack, department, &model).await;
    }
    let repository = std::fs::read(stack.folder.path().join("targets/t2/rollkeeper.key")).expect("read the key");
    let other = std::fs::read(stack.folder.path().join("targets/t1/rollkeeper.key")).expect("read the other key");
    assert_eq!(repository, other, "it is the same repository, on every target");
}

/// Waits until each of the three targets has a whole copy of a backup.
async fn on_three_targets(stack: &Stack, backup: &Value) -> Value {
    let path = format!("/backups/{}", backup["id"].as_str().expect("have an id"));
    eventually("the new disks have the backup too", Duration::from_mins(1), async || {
        let backup = stack.client().get(&path).await.expect(200).json;
        let copies = backup["copies"].as_array().expect("have copies").clone();
        (copies.len() == 3 && copies.iter().all(|copy| copy["state"] == "present")).then_some(backup)
    })
    .await
}

/// Users are there, old backups listed, whole on all targets and restorable, new ones made.
async fn goes_on(stack: &Stack, department: &str, model: &Model) {
    let leader = stack.leader_of(department).await;
    let (old, then) = &model.backups[department];
    assert!(leader["epoch"].as_i64() > old["executed_by"]["epoch"].as_i64(), "{leader} {old}");
    let shown = stack.client().get(&format!("/departments/{department}")).await.expect(200).json;
    let (head, gaps) = (&shown["head"], shown["recovery_window"]["gaps"].as_array().cloned().unwrap_or_default());
    let last = model.end[department].values().map(|user| user.updated_at).max().expect("have users").to_string();
    let every = if department == "ops" { "2h" } else { "1h" };
    assert_eq!(shown["policy"]["backup_every"], every, "{shown}");
    let rebuilt = gaps.iter().find(|gap| gap["cause"] == "database_rebuilt").unwrap_or_else(|| panic!("{shown}"));
    assert!(rebuilt["after"]["time"].as_str() >= Some(last.as_str()), "{rebuilt} {last}");
    let before = format!("/users/{department}-00000?at={}", old["taken_at"].as_str().expect("have a time"));
    let user = stack.client().get(&before).await.expect(200).json;
    assert_eq!(user["locked"], false, "what was before the loss can be read: {user}");
    assert!(head["timeline"].as_i64() > old["timeline"].as_i64(), "{head} {old}");

    stack.change(&format!("{department}-00001"), json!({ "name": "After the rebuild" })).await;
    let receipt = synced(stack, department, "t2").await;
    assert!(receipt["sequence"].as_i64() > old["sequence"].as_i64(), "{receipt} {old}");
    let listed = on_three_targets(stack, old).await;
    for field in ["state", "sequence", "timeline", "taken_at", "records", "root", "kind"] {
        assert_eq!(listed[field], old[field], "{field}");
    }
    let path = format!("/backups/{}/verify", old["id"].as_str().expect("have an id"));
    let verified = stack.client().send(Method::POST, &path, &[], None).await.expect(200).json;
    assert_eq!((&verified["whole"], &verified["whole_copies"]), (&json!(true), &json!(3)), "{verified}");

    let new = stack.backup(department).await;
    assert_eq!(new["records"], stack.records(department).await.len(), "{new}");
    let all = json!({ "mode": "exact", "credentials": "restore", "locked": "restore", "on_conflict": "overwrite" });
    stack.restored(old, all).await;
    assert_same_content(then, &stack.records(department).await);
}

#[tokio::test]
async fn one_target_and_the_key_tell_every_state_without_a_server() {
    let mut stack = Stack::start(settings()).await;
    let model = history(&stack).await;
    lose_all_but(&mut stack, "t2");
    let seen = stack.vault_json(&["t2"], &["ls"]);
    let names: Vec<&str> = seen["departments"]
        .as_array()
        .expect("have departments")
        .iter()
        .map(|of| of["department"].as_str().expect("have a name"))
        .collect();
    assert_eq!(names, DEPARTMENTS);
    for of in seen["departments"].as_array().expect("have departments") {
        let department = of["department"].as_str().expect("have a name");
        assert_eq!(of["damage"], json!([]), "{of}");
        assert_eq!(of["ranges"][0]["from"]["sequence"], 0, "{of}");
        assert_eq!(of["ranges"][0]["through"]["sequence"], of["newest"]["sequence"], "{of}");
        let (backup, then) = &model.backups[department];
        let id = backup["id"].as_str().expect("have an id");
        let listed = of["backups"].as_array().expect("have backups").iter().find(|listed| listed["id"] == id);
        let listed = listed.unwrap_or_else(|| panic!("{id} is not listed: {of}"));
        assert_eq!((&listed["state"], &listed["content"]["records"]), (&json!("complete"), &backup["records"]));
        assert_eq!(stack.vault_json(&["t2"], &["show", id]), *listed);

        let cat = |more: &[&str]| stack.vault(&["t2"], &[&["cat", "--department", department], more].concat());
        assert_eq!(cat(&[]).expect(0).out, lines(&model.end[department]), "the newest");
        assert_eq!(cat(&["--backup", id]).expect(0).out, lines(then), "a backup");
        let sequence = backup["sequence"].to_string();
        assert_eq!(cat(&["--sequence", &sequence]).expect(0).out, lines(then), "a sequence");
        let taken_at = backup["taken_at"].as_str().expect("have a time");
        assert_eq!(cat(&["--at", taken_at]).expect(0).out, lines(then), "a moment");
        assert_eq!(cat(&["--sequence", "0"]).expect(0).out, "", "the empty beginning");
        assert_eq!(cat(&["--sequence", "3"]).expect(0).out.lines().count(), 3, "inside a segment");
        let one = format!("{department}-00003");
        assert_eq!(cat(&["--user", &one]).expect(0).out, line(&model.end[department][&one]) + "\n");
        assert!(cat(&["--user", "nobody"]).expect(1).err.contains("nobody"));
        for moment in [["--at", "2999-01-01T00:00:00Z"], ["--at", "1999-01-01T00:00:00Z"], ["--sequence", "99999"]] {
            let refused = cat(&moment).expect(1);
            assert!(refused.err.contains("it can be read from"), "{}", refused.err);
        }
    }
    let whole = stack.vault_json(&["t2"], &["verify"]);
    assert_eq!(whole["whole"], true, "{whole}");
}

#[tokio::test]
async fn what_cat_prints_is_taken_back_by_an_import() {
    let stack = Stack::start(settings()).await;
    stack.create_users("default", 30).await;
    synced(&stack, "default", "t1").await;
    let before = stack.records("default").await;
    let printed = stack.vault(&["t1"], &["cat", "--department", "default"]).expect(0).out;
    for id in before.keys() {
        stack.delete(id).await;
    }
    let answer = stack.import(printed).await.expect(200);
    assert_eq!(answer.text.matches("created").count(), 30, "{}", answer.text);
    assert_same_content(&before, &stack.records("default").await);
}

#[tokio::test]
async fn a_rebuild_that_was_killed_goes_on_and_nothing_starts_on_what_is_half() {
    let settings = settings();
    let mut stack = Stack::start(settings.clone()).await;
    stack.create_users("default", 3000).await;
    stack.department("eng").await;
    stack.create_users("eng", 3000).await;
    synced(&stack, "eng", "t1").await;
    synced(&stack, "default", "t1").await;
    let end = [stack.records("default").await, stack.records("eng").await];
    lose_all_but(&mut stack, "t1");
    let database = stack.move_on();

    let into = ["restore", "--mongodb-uri-file", "mongodb-uri", "--database", &database];
    let mut child = stack.vault_command(&["t1"], &into).spawn().expect("run the program");
    eventually("the first users are there", Duration::from_mins(1), async || {
        (!stack.records("default").await.is_empty()).then_some(())
    })
    .await;
    child.kill().expect("kill it");
    child.wait().expect("wait for it");
    assert!(stack.records("eng").await.len() < 3000, "it was killed in the middle");

    let config = stack.folder.path().join("migrate.toml");
    std::fs::write(&config, settings.toml(&stack.place, stack.folder.path(), 0, 0)).expect("write a file");
    let refused = std::process::Command::new(&settings.binary).arg("migrate").arg("--config").arg(&config).output();
    let refused = refused.expect("run the program");
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("vault restore"), "{text}");

    let again = stack.vault_restore(&["t1"], &[]).expect(0);
    assert!(again.err.contains("goes on"), "{}", again.err);
    assert_eq!([stack.records("default").await, stack.records("eng").await], end);
    stack.migrate(&settings);
    stack.serve(&settings).await;
    assert_eq!(stack.backup("eng").await["records"], 3000);
}

#[tokio::test]
async fn a_database_that_holds_anything_is_not_rebuilt() {
    let mut stack = Stack::start(settings()).await;
    stack.create_users("default", 5).await;
    synced(&stack, "default", "t1").await;
    let before = stack.records("default").await;
    let database = stack.place.database.clone();
    stack.move_on();
    stack.place.database = database;
    let refused = stack.vault_restore(&["t1"], &[]).expect(1);
    assert!(refused.err.contains("not empty") && refused.err.contains("--database"), "{}", refused.err);
    assert_eq!(stack.records("default").await, before);
}

#[tokio::test]
async fn every_department_comes_back_as_of_one_moment() {
    let mut stack = Stack::start(settings()).await;
    stack.create_users("default", 20).await;
    let receipt = synced(&stack, "default", "t1").await;
    let then = stack.records("default").await;
    let at = receipt["time"].as_str().expect("have a time").to_owned();
    stack.department("eng").await;
    stack.create_users("eng", 5).await;
    stack.delete("default-00003").await;
    stack.change("default-00004", json!({ "name": "Later" })).await;
    synced(&stack, "default", "t1").await;
    synced(&stack, "eng", "t1").await;
    lose_all_but(&mut stack, "t1");
    stack.move_on();
    // With the configuration of the service, the copies of the targets that are gone are known to be missing.
    stack.vault_restore(&["t1"], &["--at", &at, "--config", "migrate.toml"]).expect(0);
    assert_eq!(stack.records("default").await, then);
    assert!(stack.records("eng").await.is_empty(), "it had not begun");
    let backups = stack.database().await.collection::<Document>("backups");
    let found: Vec<Document> =
        backups.find(doc! { "state": "complete" }).await.expect("find").try_collect().await.expect("read");
    assert!(!found.is_empty());
    for backup in found {
        let copies = backup.get_array("copies").expect("have copies").iter().filter_map(|copy| copy.as_document());
        let text = |copy: &Document, field: &str| copy.get_str(field).expect("be a text").to_owned();
        let seen: Vec<(String, String)> = copies.map(|copy| (text(copy, "target"), text(copy, "state"))).collect();
        let wanted = [("t1", "present"), ("t2", "missing"), ("t3", "missing")];
        assert_eq!(seen, wanted.map(|(target, state)| (target.to_owned(), state.to_owned())));
    }
}

#[tokio::test]
async fn a_key_that_opens_nothing_is_told_which_one_would() {
    let stack = Stack::start(settings()).await;
    stack.create_users("default", 2).await;
    synced(&stack, "default", "t1").await;
    let identity = age::x25519::Identity::generate();
    let secret = {
        use age::secrecy::ExposeSecret as _;
        identity.to_string().expose_secret().to_owned()
    };
    std::fs::write(stack.folder.path().join("identity"), &secret).expect("write the identity");
    let refused = stack.vault(&["t1"], &["ls"]).expect(2);
    assert!(refused.err.contains(&stack.place.recipient), "{}", refused.err);
    assert!(!refused.err.contains(&secret) && !refused.err.contains("AGE-SECRET"), "{}", refused.err);
    std::fs::create_dir(stack.folder.path().join("targets/empty")).expect("make a directory");
    std::fs::write(stack.folder.path().join("identity"), &secret).expect("write the identity");
    let nothing = stack.vault(&["empty"], &["ls"]).expect(1);
    assert!(nothing.err.contains("rollkeeper.json"), "{}", nothing.err);
    assert!(stack.vault(&["absent"], &["ls"]).expect(2).err.contains("not there"));
    assert!(!stack.folder.path().join("targets/absent").exists(), "reading makes no directory");
}
