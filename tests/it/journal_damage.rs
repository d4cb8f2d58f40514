//! Damage to the journal on targets: a leader finds it by itself, mends it from another target, and shows what it cannot mend.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::archived::{fold, journal_of, live, names_in};
use crate::harness::records::hash_number;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

const SOON: Duration = Duration::from_mins(1);

fn segment(stack: &Stack, target: usize, name: &str) -> PathBuf {
    stack.folder.path().join(format!("targets/t{target}/departments/default/1/journal")).join(name)
}

async fn damage(stack: &Stack) -> Value {
    stack.client().get("/departments/default").await.expect(200).json["head"]["damage"].clone()
}

/// A department with five segments on three targets, and their names in order.
async fn journal() -> (Stack, Vec<String>) {
    let backup = ", look_every = \"500ms\", scrub_every = \"1s\"".to_owned();
    let stack = Stack::start(Settings { targets: 3, backup, ..Settings::default() }).await;
    for n in 0..5 {
        let body = json!({ "id": format!("u-{n}"), "name": format!("user {n}"), "password_hash": hash_number(n) });
        stack.client().post("/users", body).await.expect(201);
        stack.client().send(Method::POST, "/departments/default/sync", &[], None).await.expect(200);
    }
    stack.first_slot_done("default").await;
    eventually("every target holds the whole journal", SOON, async || {
        let head = stack.client().get("/departments/default").await.expect(200).json["head"].clone();
        let journal = head["journal"].as_array()?;
        (journal.len() == 3 && journal.iter().all(|copy| copy["through"] == head["sequence"])).then_some(())
    })
    .await;
    let mut names = names_in(&stack.folder.path().join("targets/t1/departments/default/1/journal"));
    names.sort();
    assert_eq!(names.len(), 5, "{names:?}");
    (stack, names)
}

#[tokio::test]
async fn a_leader_finds_damaged_segments_by_itself_and_mends_them_from_another_target() {
    let (stack, names) = journal().await;
    let bytes = |name: &str| std::fs::read(segment(&stack, 1, name)).expect("read a segment");
    let whole: Vec<Vec<u8>> = names.iter().map(|name| bytes(name)).collect();
    std::fs::write(segment(&stack, 1, &names[1]), &whole[1][..whole[1].len() / 2]).expect("truncate one");
    std::fs::remove_file(segment(&stack, 2, &names[2])).expect("lose one");
    std::fs::write(segment(&stack, 3, &names[3]), &whole[4]).expect("swap one");
    std::fs::write(segment(&stack, 1, &names[4]), b"nothing of ours").expect("spoil one");
    for target in 1..=3 {
        for (name, whole) in names.iter().zip(&whole) {
            eventually(&format!("{name} is whole on t{target}"), SOON, async || {
                (std::fs::read(segment(&stack, target, name)).ok()? == *whole).then_some(())
            })
            .await;
        }
        assert_eq!(fold(&journal_of(&stack, &format!("t{target}"), "default")), live(&stack).await);
    }
    assert_eq!(damage(&stack).await, json!([]));
}

#[tokio::test]
async fn what_no_target_has_any_more_is_shown_until_it_is_back() {
    let (stack, names) = journal().await;
    let whole = std::fs::read(segment(&stack, 1, &names[2])).expect("read a segment");
    std::fs::remove_file(segment(&stack, 1, &names[2])).expect("lose it");
    std::fs::write(segment(&stack, 2, &names[2]), &whole[..whole.len() / 2]).expect("truncate it");
    std::fs::write(segment(&stack, 3, &names[2]), b"nothing of ours").expect("spoil it");
    let shown = eventually("the damage is shown for each target", SOON, async || {
        let damage = damage(&stack).await;
        (damage.as_array()?.len() == 3).then_some(damage)
    })
    .await;
    for target in ["t1", "t2", "t3"] {
        let of_it = shown.as_array().expect("have three").iter().find(|damage| damage["target"] == target);
        let damage = of_it.unwrap_or_else(|| panic!("nothing of {target}: {shown}"));
        assert_eq!(
            (&damage["timeline"], &damage["after"], &damage["until"]),
            (&json!(1), &json!(2), &json!(4)),
            "{shown}"
        );
    }
    assert!(stack.replicas[0].log().contains("no other target has the changes"));
    // Users and new changes are not held up by it.
    stack
        .client()
        .post("/users", json!({ "id": "new", "name": "new", "password_hash": hash_number(9) }))
        .await
        .expect(201);
    stack.client().send(Method::POST, "/departments/default/sync", &[], None).await.expect(200);

    std::fs::write(segment(&stack, 2, &names[2]), &whole).expect("bring it back to one target");
    eventually("nothing is damaged any more", SOON, async || (damage(&stack).await == json!([])).then_some(())).await;
    assert_eq!(std::fs::read(segment(&stack, 1, &names[2])).expect("be there again"), whole);
    assert_eq!(std::fs::read(segment(&stack, 3, &names[2])).expect("be there again"), whole);
}

#[tokio::test]
async fn a_target_that_lacks_a_segment_gets_nothing_after_it_until_somebody_has_the_segment_again() {
    let stack = Stack::start(Settings { targets: 3, ..Settings::default() }).await;
    let write = async |n: i64| {
        let body = json!({ "id": format!("u-{n}"), "name": format!("user {n}"), "password_hash": hash_number(9) });
        stack.client().post("/users", body).await.expect(201);
        let receipt = stack.client().send(Method::POST, "/departments/default/sync", &[], None).await.expect(200).json;
        assert_eq!(receipt["sequence"], n, "{receipt}");
    };
    let through = async |target: &str| {
        let head = stack.client().get("/departments/default").await.expect(200).json["head"].clone();
        let copies = head["journal"].as_array().expect("have copies").clone();
        copies.into_iter().find(|copy| copy["target"] == target).map(|copy| copy["through"].clone())
    };
    write(1).await;
    stack.first_slot_done("default").await;
    eventually("the third target is level", SOON, async || (through("t3").await == Some(json!(1))).then_some(())).await;
    let folder = |target: usize| stack.folder.path().join(format!("targets/t{target}/departments/default/1/journal"));
    let aside = stack.folder.path().join("aside");
    std::fs::rename(folder(3), &aside).expect("take the journal away");
    std::fs::write(folder(3), "in the way").expect("put something in the way");
    write(2).await;
    // Nobody can bring it: the others lose it before the target is back.
    let names = names_in(&folder(1));
    let lost = names.iter().find(|name| name.contains("00000002-")).expect("have the segment");
    let whole = std::fs::read(folder(1).join(lost)).expect("read the segment");
    for target in [1, 2] {
        std::fs::remove_file(folder(target).join(lost)).expect("lose the segment");
    }
    std::fs::remove_file(folder(3)).expect("clear the way");
    std::fs::rename(&aside, folder(3)).expect("bring the journal back");
    for n in 3..6 {
        write(n).await;
    }
    assert_eq!(names_in(&folder(3)).len(), 1, "nothing lies behind a hole");
    assert_eq!(through("t3").await, Some(json!(1)));

    std::fs::write(folder(2).join(lost), whole).expect("bring it back to one target");
    eventually("the third target is level", SOON, async || (through("t3").await == Some(json!(5))).then_some(())).await;
    assert_eq!(fold(&journal_of(&stack, "t3", "default")), live(&stack).await);
}
