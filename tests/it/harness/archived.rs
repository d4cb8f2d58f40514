//! The journal as one target and the identity file give it, and what its changes amount to.

use std::collections::BTreeMap;
use std::path::Path;

use rollkeeper::domain::clock::Timestamp;
use rollkeeper::domain::history::{Chain, Change, Sequence, Timeline};
use serde_json::Value;

use super::Stack;

/// Every change of a department as one target holds it, checked from the beginning.
pub(crate) fn journal_of(stack: &Stack, target: &str, department: &str) -> Vec<(Sequence, Change, Chain)> {
    let place = stack.folder.path().join("targets").join(target);
    let repository = stack.repository();
    let folder = format!("departments/{department}/1/journal");
    let mut names: Vec<String> = names_in(&place.join(&folder));
    // What a killed leader was writing lies beside them under another ending.
    names.retain(|name| Path::new(name).extension().is_some_and(|ending| ending == "seg"));
    names.sort();
    let (mut changes, mut chain): (Vec<(Sequence, Change, Chain)>, _) = (Vec::new(), Chain::GENESIS);
    for name in names {
        let sealed = std::fs::read(place.join(&folder).join(&name)).expect("read a segment");
        let path = rollkeeper::targets::layout::ObjectPath::from_stored(format!("{folder}/{name}"));
        let department = department.parse().expect("be a name");
        let opened = repository.open_segment(&department, Timeline(1), &path, &sealed).expect("open a segment");
        let next = Sequence(changes.last().map_or(0, |(sequence, ..)| sequence.0) + 1);
        let mut before = opened.before;
        for (change, after) in opened.changes {
            if change.sequence == next || changes.last().is_some_and(|(last, ..)| change.sequence > *last) {
                assert_eq!(before, chain, "the chain breaks at {:?} in {name}", change.sequence);
                changes.push((change.sequence, change.change, after));
                chain = after;
            }
            before = after;
        }
    }
    let numbered = (1..).zip(&changes).all(|(n, (sequence, ..))| sequence.0 == n);
    assert!(numbered, "the journal on {target} has a hole");
    changes
}

/// The time of every change of `default` as the first target has it, in the order of the changes.
pub(crate) fn times_of(stack: &Stack) -> Vec<(Change, Timestamp)> {
    let (repository, folder) = (stack.repository(), "departments/default/1/journal");
    let place = stack.folder.path().join("targets/t1");
    let mut names = names_in(&place.join(folder));
    names.retain(|name| Path::new(name).extension().is_some_and(|ending| ending == "seg"));
    names.sort();
    let department = "default".parse().expect("be a name");
    let mut times = Vec::new();
    for name in names {
        let sealed = std::fs::read(place.join(folder).join(&name)).expect("read a segment");
        let path = rollkeeper::targets::layout::ObjectPath::from_stored(format!("{folder}/{name}"));
        let opened = repository.open_segment(&department, Timeline(1), &path, &sealed).expect("open a segment");
        let known = i64::try_from(times.len()).expect("fit");
        let new = opened.changes.into_iter().filter(|(change, _)| change.sequence.0 > known);
        times.extend(new.map(|(change, _)| (change.change, change.time)));
    }
    times
}

/// The names in a folder; none where there is no folder.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.expect("read an entry").file_name().into_string().expect("be UTF-8")).collect()
}

/// What the journal's changes amount to: id to name.
pub(crate) fn fold(changes: &[(Sequence, Change, Chain)]) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    for (_, change, _) in changes {
        match change {
            Change::Put(user) => {
                state.insert(user.id.to_string(), user.name.as_str().to_owned());
            }
            Change::Delete(id) => {
                state.remove(id.as_str());
            }
            Change::Patch(..) => panic!("nobody patched anything"),
        }
    }
    state
}

/// The users of `default` as the service lists them: id to name.
pub(crate) async fn live(stack: &Stack) -> BTreeMap<String, String> {
    let text = |user: &Value, field: &str| user[field].as_str().expect("be a text").to_owned();
    stack.all_users("default").await.iter().map(|user| (text(user, "id"), text(user, "name"))).collect()
}
