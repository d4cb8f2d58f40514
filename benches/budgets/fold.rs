//! Folds many changes into a state, beside what `mongorestore --oplogReplay` does with them: one `applyOps` a change.

use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, Timestamp as Stamp, doc};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rollkeeper::backup::state::State;
use rollkeeper::domain::clock::Timestamp;
use rollkeeper::domain::history::{Change, Source};

use crate::bare::Bare;
use crate::harness::Stack;
use crate::people::{DEPARTMENT, Person};
use crate::written::Written;

/// Changes that are applied one command each, as a measure.
const APPLIED: usize = 5000;
/// Where applied changes go to.
const APPLIED_TO: &str = "bare_applied";

/// Writes a journal of so many changes of random people, and folds it; the time of the fold, to its last record.
pub(crate) async fn fold(stack: &Stack, people: &[Person], changes: usize) -> Duration {
    let folder = tempfile::tempdir().expect("make a folder");
    std::fs::create_dir_all(folder.path().join("targets/t1")).expect("make a target");
    let source = Source { replica_set_id: "r".to_owned(), users_uuid: "u".to_owned() };
    let mut journal = Written::begin(folder.path(), stack.repository(), source);
    let mut chance = StdRng::seed_from_u64(7);
    let mut touched = std::collections::HashSet::new();
    for n in 0..changes {
        let at = chance.random_range(0..people.len());
        touched.insert(at);
        let put = Change::Put(people[at].renamed(&mut chance).user());
        journal.change(&put, Timestamp::from_millis(i64::try_from(n).unwrap_or_default())).await;
    }
    journal.flush().await;
    let begun = Instant::now();
    let state = State::at(journal.place.clone(), None, journal.at).await.expect("fold the journal");
    let users = state.users(None).try_fold(0, async |count, users| Ok(count + users.len()));
    assert_eq!(users.await.expect("read the state"), touched.len(), "the state has every user that was touched");
    begun.elapsed()
}

/// Changes a second by `applyOps`, one change a command.
pub(crate) async fn applied(bare: &Bare, people: &[Person]) -> (usize, Duration) {
    let collection = bare.collection(APPLIED_TO);
    let people = &people[..people.len().min(APPLIED)];
    let documents: Vec<Document> = people.iter().map(document).collect();
    collection.insert_many(&documents).await.expect("insert users");
    let namespace = collection.namespace().to_string();
    let mut chance = StdRng::seed_from_u64(8);
    let entries: Vec<Document> = people.iter().map(|person| entry(&namespace, person, &mut chance)).collect();
    let begun = Instant::now();
    for entry in &entries {
        let reply = bare.admin(doc! { "applyOps": [entry] }).await;
        assert_eq!(reply.get_i32("applied").ok(), Some(1), "{reply}");
    }
    let took = begun.elapsed();
    collection.drop().await.expect("drop a collection");
    (entries.len(), took)
}

/// The same changes by `mongorestore --oplogReplay`; absent when it is not installed.
pub(crate) async fn replayed(bare: &Bare, people: &[Person], changes: usize) -> Option<Duration> {
    if !Bare::has("mongorestore") {
        return None;
    }
    let collection = bare.collection(APPLIED_TO);
    let documents: Vec<Document> = people.iter().map(document).collect();
    for batch in documents.chunks(1000) {
        collection.insert_many(batch).await.expect("insert users");
    }
    let folder = tempfile::tempdir().expect("make a folder");
    let namespace = collection.namespace().to_string();
    let mut chance = StdRng::seed_from_u64(7);
    let mut log =
        std::io::BufWriter::new(std::fs::File::create(folder.path().join("oplog.bson")).expect("make a file"));
    for n in 0..changes {
        let person = &people[chance.random_range(0..people.len())];
        let mut entry = entry(&namespace, person, &mut chance);
        let second = u32::try_from(n / 1000).unwrap_or_default() + 1;
        let increment = u32::try_from(n % 1000).unwrap_or_default() + 1;
        entry.insert("ts", Stamp { time: second, increment });
        entry.to_writer(&mut log).expect("write an oplog");
    }
    drop(log);
    let took = bare.tool("mongorestore", &["--oplogReplay", &folder.path().display().to_string()]);
    collection.drop().await.expect("drop a collection");
    took
}

/// The oplog entry of a whole-document replace.
fn entry(namespace: &str, person: &Person, chance: &mut StdRng) -> Document {
    let (after, key) = (document(&person.renamed(chance)), doc! { "department": DEPARTMENT, "id": &person.id });
    doc! { "op": "u", "ns": namespace, "v": Bson::Int32(2), "o2": { "_id": key }, "o": after }
}

fn document(person: &Person) -> Document {
    Document::try_from(person.document().as_ref()).expect("be valid BSON")
}
