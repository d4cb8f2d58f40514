//! What holds after the kills: the journal, the receipts and the backups against what clients and the change stream saw.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use reqwest::Method;
use rollkeeper::domain::history::{Chain, Change, Sequence};
use serde_json::Value;

use super::writers::{Acknowledged, Label, Receipts};
use crate::harness::archived::journal_of;
use crate::harness::changes;
use crate::harness::{Stack, eventually};

/// The target that everything is read from.
const ONE: &str = "t2";

fn label(change: &Change) -> Label {
    match change {
        Change::Put(user) => user.name.to_string(),
        Change::Delete(id) => id.to_string(),
        Change::Patch(..) => panic!("nobody patched anything"),
    }
}

fn journal(stack: &Stack) -> Vec<(Sequence, Change, Chain)> {
    journal_of(stack, ONE, "default")
}

/// The journal on one target is whole, and is what the change stream told, change by change.
pub(crate) async fn stream_is_the_journal(stack: &Stack, stream: &[changes::Change]) {
    let archived = eventually("one target has the whole journal", Duration::from_mins(1), async || {
        let archived = journal(stack);
        (archived.len() >= stream.len()).then_some(archived)
    })
    .await;
    assert_eq!(archived.len(), stream.len(), "the history has as many changes as there were");
    for ((sequence, archived, _), seen) in archived.iter().zip(stream) {
        match archived {
            Change::Put(user) => assert_eq!(Some(user), seen.record.as_ref(), "at {sequence:?}"),
            Change::Delete(id) => {
                assert!(seen.record.is_none() && id.as_str() == seen.user, "at {sequence:?}: {id} {}", seen.user);
            }
            Change::Patch(..) => panic!("nobody patched anything"),
        }
    }
}

/// Every receipt has the chain of the journal, and covers what was acknowledged before it; nothing is there twice, and nothing
/// of which somebody was told that it was not done.
pub(crate) fn receipts_hold(stack: &Stack, acknowledged: &Acknowledged, receipts: &Receipts) -> usize {
    let archived = journal(stack);
    let mut places: HashMap<Label, i64> = HashMap::new();
    for (sequence, change, _) in &archived {
        let before = places.insert(label(change), sequence.0);
        assert_eq!(before, None, "{} is in the history twice", label(change));
    }
    for label in acknowledged.refused() {
        assert_eq!(places.get(&label), None, "{label} was written, and its client was told that nothing was changed");
    }
    let (acknowledged, receipts) = (acknowledged.all(), receipts.all());
    for (covers, receipt) in &receipts {
        let sequence = receipt["sequence"].as_i64().expect("have a sequence");
        assert_eq!(receipt["timeline"], 1, "{receipt}");
        let at = usize::try_from(sequence).expect("fit");
        let chain = at.checked_sub(1).map_or(Chain::GENESIS, |at| archived[at].2);
        assert_eq!(receipt["chain"], chain.to_string(), "{receipt}");
        for label in &acknowledged[..*covers] {
            let place = places.get(label);
            assert!(place.is_some_and(|place| *place <= sequence), "{label} at {place:?} is not in {receipt}");
        }
    }
    receipts.len()
}

/// Every backup of `default` that is listed verifies, and decodes to the state that the change stream gives at its sequence.
pub(crate) async fn backups_hold(stack: &Stack, stream: &[changes::Change]) -> usize {
    let mut listed = stack.pages("/backups", 1000).await;
    listed.retain(|backup| backup["department"] == "default");
    listed.sort_by_key(|backup| backup["sequence"].as_u64());
    let (mut state, mut done) = (BTreeMap::new(), 0);
    for backup in &listed {
        let id = backup["id"].as_str().expect("have an id");
        let answer = stack.client().send(Method::POST, &format!("/backups/{id}/verify"), &[], None).await.expect(200);
        assert_eq!(answer.json["whole"], true, "{}", answer.text);
        let sequence = usize::try_from(backup["sequence"].as_u64().expect("have a sequence")).expect("fit");
        for change in &stream[done..sequence.max(done)] {
            match &change.record {
                Some(user) => state.insert(change.user.clone(), user.name.to_string()),
                None => state.remove(&change.user),
            };
        }
        done = sequence.max(done);
        let text = |value: &Value| value.as_str().expect("be a text").to_owned();
        let users = stack.pages(&format!("/backups/{id}/users"), 1000).await;
        let found: BTreeMap<String, String> =
            users.iter().map(|user| (text(&user["id"]), text(&user["name"]))).collect();
        assert!(found == state, "{id} at {sequence} has {} users, wanted {}", found.len(), state.len());
    }
    let told = stack.vault(&[ONE], &["verify"]);
    assert_eq!(told.code, 0, "{ONE} and the key alone: {}\n{}", told.out, told.err);
    listed.len()
}
