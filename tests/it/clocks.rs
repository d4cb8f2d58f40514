//! Two mongods whose clocks are 40 s apart change places as primary: the time of a department never goes back.

use std::time::Duration;

use reqwest::Method;
use rollkeeper::domain::clock::Timestamp;
use rollkeeper::domain::history::Change;
use serde_json::json;

use crate::harness::archived::times_of;
use crate::harness::parts::{member_behind, step_up};
use crate::harness::records::hash_number;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

const SOON: Duration = Duration::from_mins(1);
const BEHIND: u32 = 40;

async fn write(stack: &Stack, word: &str) {
    for n in 0..5 {
        let body =
            json!({ "id": format!("{word}-{n}"), "name": format!("{word} {n}"), "password_hash": hash_number(n) });
        eventually("the user is there", SOON, async || {
            // One whose outcome was not known is there at the second attempt.
            let status = stack.client().post("/users", body.clone()).await.status;
            (status == 201 || status == 409).then_some(())
        })
        .await;
    }
    eventually("a receipt", SOON, async || {
        let answer = stack.client().send(Method::POST, "/departments/default/sync", &[], None).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

/// The times of the users whose ids begin with a word.
fn times(all: &[(Change, Timestamp)], word: &str) -> Vec<i64> {
    let of_word = |change: &Change| matches!(change, Change::Put(user) if user.id.as_str().starts_with(word));
    all.iter().filter(|(change, _)| of_word(change)).map(|(_, at)| at.as_millis()).collect()
}

#[tokio::test]
async fn time_does_not_go_back_when_a_primary_is_followed_by_one_whose_clock_is_behind() {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    let first = stack.mongod.as_ref().expect("have a mongod");
    let behind = member_behind(stack.folder.path(), first, BEHIND).await;
    write(&stack, "first").await;
    step_up(&behind).await;
    write(&stack, "behind").await;
    step_up(first).await;
    write(&stack, "again").await;

    let all = times_of(&stack);
    let (first, behind, again) = (times(&all, "first"), times(&all, "behind"), times(&all, "again"));
    assert_eq!((first.len(), behind.len(), again.len()), (5, 5, 5), "{all:?}");
    assert!(all.is_sorted_by_key(|(_, at)| *at), "{first:?} {behind:?} {again:?}");
    // Its own clock says some 40 s less, and counts for nothing: time stood still meanwhile.
    assert!(behind[4] - first[4] < 30_000, "{first:?} {behind:?}");
    let read = async |id: &str, at: i64| {
        let at = Timestamp::from_millis(at).to_string();
        stack.client().get(&format!("/users/{id}?at={at}")).await.status.as_u16()
    };
    assert_eq!(read("first-0", first[0] - 1).await, 404);
    assert_eq!(read("first-4", first[4]).await, 200);
    assert_eq!(read("behind-4", behind[4]).await, 200);
    assert_eq!(read("again-0", again[0] - 1).await, 404);
    assert_eq!(read("again-4", again[4]).await, 200);
}

/// The names of the default department at a moment.
async fn names_at(stack: &Stack, at: &str) -> Vec<String> {
    let path = format!("/users?department=default&at={at}&limit=1000");
    let page = stack.client().get(&path).await.expect(200).json;
    page["items"].as_array().expect("have items").iter().map(|user| user["name"].to_string()).collect()
}

#[tokio::test]
async fn what_was_read_at_a_moment_stays_so_when_more_is_written_in_the_same_millisecond() {
    let stack = Stack::start(Settings { own_mongod: true, ..Settings::default() }).await;
    let first = stack.mongod.as_ref().expect("have a mongod");
    let behind = member_behind(stack.folder.path(), first, BEHIND).await;
    write(&stack, "first").await;
    // From now on the department's time stands still, so that every change has the millisecond of the one before it.
    step_up(&behind).await;
    let mut read: Vec<(String, Vec<String>)> = Vec::new();
    for n in 0..4 {
        let body = json!({ "id": format!("still-{n}"), "name": format!("still {n}"), "password_hash": hash_number(n) });
        eventually("the user is there", SOON, async || {
            let status = stack.client().post("/users", body.clone()).await.status;
            (status == 201 || status == 409).then_some(())
        })
        .await;
        let through = eventually("the change is archived", SOON, async || {
            let shown = stack.client().get("/departments/default").await.expect(200).json;
            let window = &shown["recovery_window"];
            (window["last_sequence"] == 6 + n)
                .then(|| window["restorable_through"].as_str().expect("be a time").to_owned())
        })
        .await;
        let names = names_at(&stack, &through).await;
        read.push((through, names));
    }
    let receipt = stack.client().send(Method::POST, "/departments/default/sync", &[], None).await.expect(200).json;
    let at = receipt["time"].as_str().expect("be a time").to_owned();
    let all = names_at(&stack, &at).await;
    assert_eq!(all.len(), 9, "a receipt covers what was written before it, also by its time: {all:?}");
    read.push((at, all));
    write(&stack, "later").await;
    for (at, names) in &read {
        assert_eq!(names_at(&stack, at).await, *names, "{at}");
    }
    let times: Vec<i64> = times(&times_of(&stack), "still");
    assert!(times[3] - times[0] < 1000, "time did not stand still: {times:?}");
}
