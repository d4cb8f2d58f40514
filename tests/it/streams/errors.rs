//! Errors of the server that end a change stream, each by name.

use std::time::Duration;

use mongodb::bson::{Binary, Document, Timestamp, doc};

use super::{WITHIN, admin, bridged, causes, gaps, head, head_document, names_in, sync};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

/// Lets the server refuse commands of change streams over the whole database so many times.
pub(super) async fn refuse(stack: &Stack, commands: &[&str], code: i32, times: i32) {
    let namespace = format!("{}.$cmd.aggregate", stack.place.database);
    let data = doc! { "failCommands": commands, "errorCode": code, "appName": "r1", "namespace": namespace };
    admin(stack, doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data }).await;
}

async fn until_log_has(stack: &Stack, text: &str, times: usize) {
    let what = format!("the log has {text:?} {times} times");
    eventually(&what, WITHIN, async || (stack.replicas[0].log().matches(text).count() >= times).then_some(())).await;
}

#[tokio::test]
async fn a_stream_that_breaks_and_can_start_anew_where_it_was_has_lost_nothing() {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    for (n, code) in [136, 280, 286].into_iter().enumerate() {
        sync(&stack, "default").await;
        refuse(&stack, &["getMore"], code, 1).await;
        until_log_has(&stack, "the change stream broke: opened anew", n + 1).await;
        stack.create("default", &format!("user-{n}"), &format!("User {n}")).await;
        assert_eq!(sync(&stack, "default").await["sequence"], n + 1);
    }
    assert_eq!(head(&stack, "default").await["timeline"], 1);
    assert!(gaps(&stack, "default").await.is_empty());
}

#[tokio::test]
async fn a_stream_that_cannot_be_opened_again_at_once_is_opened_when_that_works() {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    sync(&stack, "default").await;
    // The stream is lost, and the next ones cannot be opened, as while MongoDB is away for some seconds.
    refuse(&stack, &["getMore", "aggregate"], 8, 4).await;
    until_log_has(&stack, "open the change stream: tried again", 2).await;
    stack.create("default", "ada", "Ada").await;
    assert_eq!(sync(&stack, "default").await["sequence"], 1);
    assert_eq!(head(&stack, "default").await["timeline"], 1);
    assert!(gaps(&stack, "default").await.is_empty());
}

#[tokio::test]
async fn each_error_that_a_stream_cannot_go_on_from_is_a_gap_with_its_name() {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    let mut wanted = Vec::new();
    let named = [(136, "stream_too_old"), (280, "token_of_another_stream"), (286, "history_lost")];
    for (n, (code, cause)) in (0_i64..).zip(named) {
        stack.create("default", &format!("before-{n}"), &format!("Before {n}")).await;
        assert_eq!(sync(&stack, "default").await["sequence"], 2 * n + 1);
        // The stream, and then the one that is opened after it.
        refuse(&stack, &["getMore", "aggregate"], code, 2).await;
        wanted.push(cause);
        let bridge = bridged(&stack, "default", n + 2).await;
        let users = names_in(&stack, &bridge).await.len();
        assert_eq!(users, wanted.len() * 2 - 1, "{bridge}");
        stack.create("default", &format!("after-{n}"), &format!("After {n}")).await;
        assert_eq!(sync(&stack, "default").await["sequence"], 2 * n + 2);
        assert_eq!(head(&stack, "default").await["timeline"], n + 2);
        assert_eq!(causes(&stack, "default").await, wanted);
    }
}

/// Takes a department's place on every target away, or brings it back.
pub(super) fn hide(stack: &Stack, targets: usize, department: &str, hidden: bool) {
    for n in 1..=targets {
        let departments = stack.folder.path().join(format!("targets/t{n}/departments"));
        let (place, away) = (departments.join(department), departments.join(format!("{department}-away")));
        if hidden {
            std::fs::rename(&place, &away).expect("take the place away");
            std::fs::write(&place, "in the way").expect("put something in the way");
        } else {
            std::fs::remove_file(&place).expect("clear the way");
            std::fs::rename(&away, &place).expect("bring the place back");
        }
    }
}

/// Writes so much elsewhere that the oplog forgets a moment.
async fn until_forgotten(stack: &Stack, at: Timestamp) {
    let client = stack.database().await.client().clone();
    let (noise, oplog) = (
        client.database("noise").collection::<Document>("noise"),
        client.database("local").collection::<Document>("oplog.rs"),
    );
    let bytes = || Binary { subtype: mongodb::bson::spec::BinarySubtype::Generic, bytes: vec![7; 1 << 20] };
    eventually("the oplog has forgotten", Duration::from_mins(2), async || {
        let batch = (0..4).map(|_| doc! { "bytes": bytes() });
        noise.insert_many(batch).await.expect("write noise");
        let first = oplog.find_one(doc! {}).sort(doc! { "$natural": 1 }).await.expect("read the oplog")?;
        (first.get_timestamp("ts").expect("have a time") > at).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_a_department_that_the_oplog_has_forgotten_gets_a_gap() {
    let backup = ", idle_head_every = \"1s\"".to_owned();
    let mut stack = Stack::start(Settings { own_mongod: true, oplog_mb: 4, backup, ..Settings::default() }).await;
    for department in ["slow", "other"] {
        stack.department(department).await;
        stack.create(department, &format!("{department}-a"), "Ada").await;
        sync(&stack, department).await;
        stack.first_slot_done(department).await;
    }
    hide(&stack, 2, "slow", true);
    stack.create("slow", "slow-b", "Bob").await;
    let left_behind = head_document(&stack, "slow").await;
    until_forgotten(&stack, left_behind.get_timestamp("cluster_time").expect("have a time")).await;
    let token = left_behind.get_binary_generic("token").expect("have a token");
    until_forgotten(&stack, time_of(token)).await;
    for department in ["default", "other"] {
        stack.create(department, &format!("{department}-b"), "Bob").await;
        sync(&stack, department).await;
    }
    stack.replicas[0].kill();
    hide(&stack, 2, "slow", false);
    stack.replicas[0].restart();
    eventually("it serves again", WITHIN, async || {
        let answer = stack.client().try_send(reqwest::Method::GET, "/readyz", &[], None).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;

    let bridge = bridged(&stack, "slow", 2).await;
    assert_eq!(names_in(&stack, &bridge).await, ["Ada", "Bob"]);
    assert_eq!(gaps(&stack, "slow").await, [("history_lost".to_owned(), 1)]);
    stack.create("slow", "slow-c", "Cyd").await;
    assert_eq!(sync(&stack, "slow").await["sequence"], 2);
    for (department, sequence) in [("default", 2), ("other", 3)] {
        stack.create(department, &format!("{department}-c"), "Cyd").await;
        assert_eq!(sync(&stack, department).await["sequence"], sequence);
        assert_eq!(head(&stack, department).await["timeline"], 1);
        assert!(gaps(&stack, department).await.is_empty(), "{department}");
    }
}

/// The moment of a stored token, whose `_data` begins with it.
fn time_of(token: &[u8]) -> Timestamp {
    let token = Document::from_reader(token).expect("be BSON");
    let data = token.get_str("_data").expect("have data");
    let number = |from: usize| u32::from_str_radix(&data[from..from + 8], 16).expect("be a number");
    Timestamp { time: number(2), increment: number(10) }
}
