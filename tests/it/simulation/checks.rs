//! Everything that must be true of the history whenever nothing is under way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use rand::Rng as _;
use reqwest::Method;
use rollkeeper::backup::journal_read::{JournalPlace, JournalReader, Point};
use rollkeeper::backup::past::{Past, PastPoint};
use rollkeeper::backup::patch;
use rollkeeper::config::mongodb::MongodbConfig;
use rollkeeper::config::targets::{TargetConfig, TargetsConfig};
use rollkeeper::domain::clock::{Clock, Timestamp};
use rollkeeper::domain::history::{Change, Sequence, Timeline};
use rollkeeper::domain::user::User;
use rollkeeper::domain::window::Moment;
use rollkeeper::store::Store;
use rollkeeper::targets::Targets;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::DEPARTMENTS;
use super::driver::Driver;
use super::truth::{Event, states_at};
use crate::harness::Stack;
use crate::harness::records::Records;

/// Sequences that are read as a reader of the past does; all of them are folded one by one besides.
const SAMPLES: usize = 6;

/// Reads the history from one target, as `GET ...?at=` does.
struct Reader {
    past: Past,
    store: Store,
    targets: Targets,
    repository: rollkeeper::backup::Repository,
    department: &'static str,
}

impl Reader {
    async fn open(stack: &Stack, target: &str, department: &'static str) -> Self {
        let config = MongodbConfig { uri: None, uri_file: None, database: stack.place.database.clone() };
        let id = "simulation".parse().expect("be an id");
        let store = Store::connect(&config, &stack.place.mongodb, &id).await.expect("connect");
        let folder = stack.folder.path().join("targets").join(target);
        let one = TargetConfig { name: target.to_owned(), url: format!("file://{}", folder.display()) };
        let config = TargetsConfig { write_quorum: None, operation_timeout: Duration::from_secs(30), list: vec![one] };
        let targets = Targets::open(&config, &Clock::System).expect("open the target");
        let repository = stack.repository();
        let opened = Arc::new(OnceCell::new_with(Some(repository.clone())));
        let past = Past::new(store.clone(), targets.clone(), opened);
        Self { past, store, targets, repository, department }
    }

    async fn point(&self, sequence: i64) -> PastPoint {
        let department = self.department.parse().expect("be a name");
        let found = self.past.locate(&department, Moment::Sequence(Sequence(sequence))).await;
        found.unwrap_or_else(|error| panic!("{}: sequence {sequence}: {error:?}", self.department))
    }

    async fn records(&self, at: &PastPoint) -> Records {
        let state = self.past.state(at).await.unwrap_or_else(|error| panic!("{at:?}: {error:?}"));
        let found: Vec<Vec<User>> = state.users(None).try_collect().await.expect("read the state");
        found.into_iter().flatten().map(|user| (user.id.to_string(), user)).collect()
    }

    /// Folds every change after a point, insists that each leaves what the model says, and gives the time of each.
    async fn fold(&self, from: Point, through: Point, mut state: Records, events: &[Event]) -> Vec<Timestamp> {
        let department = self.department.parse().expect("be a name");
        let (repository, targets) = (self.repository.clone(), self.targets.clone());
        let place = JournalPlace { repository, targets, department, timeline: Timeline(1) };
        let mut reader = JournalReader::open(place, from, through).await.expect("list the journal");
        let mut times = Vec::new();
        while let Some(changes) = reader.next().await.expect("read the journal") {
            for change in changes {
                let event = &events[usize::try_from(change.sequence.0).expect("fit") - 1];
                let id = change.change.user_id().to_string();
                let after = match change.change {
                    Change::Put(user) => Some(user),
                    Change::Delete(_) => None,
                    Change::Patch(_, update) => patch::apply(state.get(&id), &update),
                };
                let at = format!("{} {}", self.department, change.sequence.0);
                assert_eq!((&id, &after), (&event.user, &event.record), "change {at}");
                match after {
                    Some(user) => state.insert(id, user),
                    None => state.remove(&id),
                };
                assert!(times.last().is_none_or(|last| *last <= change.time), "time goes back at {at}");
                times.push(change.time);
            }
        }
        times
    }
}

impl Driver {
    /// Insists on all of it, reading from one target and comparing with the model.
    pub(super) async fn check_everything(&mut self) {
        for department in DEPARTMENTS {
            let target = format!("t{}", self.random.random_range(1..=3));
            let reader = Reader::open(&self.stack, &target, department).await;
            let events = self.truth.events(department);
            let shown = self.shown(department).await.expect("have the department");
            let window = &shown["recovery_window"];
            assert_eq!((&window["gaps"], &shown["diverged"]), (&json!([]), &Value::Null), "{shown}");
            assert_eq!(window["last_sequence"], events.len(), "{shown}");
            assert_eq!((&shown["head"]["timeline"], &shown["head"]["damage"]), (&json!(1), &json!([])), "{shown}");
            let first = window["first_sequence"].as_i64().expect("have a beginning");
            self.check_window(&reader, &events, first).await;
            self.check_backups(&reader, &events).await;
            self.check_receipts(&reader, &events, first).await;
            let live = self.stack.records(department).await;
            assert!(live == states_at(&events, [events.len()])[&events.len()], "the model is what MongoDB has");
            self.told("checked", format_args!("{department} on {target}: {first}..={}", events.len()));
        }
    }

    async fn check_window(&mut self, reader: &Reader, events: &[Event], first: i64) {
        let last = i64::try_from(events.len()).expect("fit");
        let mut samples = BTreeSet::from([first, last]);
        samples.extend((0..SAMPLES).map(|_| self.random.random_range(first..=last)));
        let place = |sequence: i64| usize::try_from(sequence).expect("fit");
        let wanted = states_at(events, samples.iter().map(|sequence| place(*sequence)));
        for sequence in &samples {
            let at = reader.point(*sequence).await;
            assert_eq!((at.point.sequence.0, at.timeline.0), (*sequence, 1), "{at:?}");
            let found = reader.records(&at).await;
            same(&wanted[&place(*sequence)], &found, &format!("{} at {sequence}", reader.department));
        }
        let (from, through) = (reader.point(first).await.point, reader.point(last).await.point);
        let times = reader.fold(from, through, wanted[&place(first)].clone(), events).await;
        assert_eq!(times.len(), place(last - first), "every sequence of the window was read");
        for _ in 0..SAMPLES.min(times.len()) {
            let time = times[self.random.random_range(0..times.len())];
            let count = place(first) + times.iter().take_while(|other| **other <= time).count();
            self.check_read_at(reader.department, time, &states_at(events, [count])[&count]).await;
        }
    }

    /// Reads a department at a time over HTTP.
    async fn check_read_at(&self, department: &str, time: Timestamp, wanted: &Records) {
        let text = |value: &Value| value.as_str().expect("be a text").to_owned();
        let (mut found, mut cursor) = (BTreeMap::new(), String::new());
        loop {
            let path = format!("/users?department={department}&at={time}&limit=1000{cursor}");
            let page = self.call(Method::GET, &path, None).await.expect("answer").expect(200).json;
            for user in page["items"].as_array().expect("have items") {
                let shown = (text(&user["name"]), user["locked"] == true, text(&user["rev"]), user["version"].as_i64());
                found.insert(text(&user["id"]), shown);
            }
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let shown =
            |user: &User| (user.name.as_str().to_owned(), user.locked, user.rev.to_string(), Some(user.version));
        let wanted: BTreeMap<_, _> = wanted.iter().map(|(id, user)| (id.clone(), shown(user))).collect();
        assert!(found == wanted, "{department} at {time}: {} users, not {}", found.len(), wanted.len());
    }

    async fn check_backups(&mut self, reader: &Reader, events: &[Event]) {
        let listed = self.complete(reader.department).await;
        assert!(!listed.is_empty(), "two backups are always kept");
        let count = |backup: &Value| backup["sequence"].as_u64().and_then(|n| usize::try_from(n).ok()).expect("fit");
        let wanted = states_at(events, listed.iter().map(count));
        for backup in &listed {
            let id = backup["id"].as_str().expect("have an id");
            let kept = reader.store.backups.get(&id.parse().expect("be an id")).await.expect("look").expect("have it");
            let content = kept.content.expect("have content");
            let at = PastPoint::of_backup(&kept.department, &content);
            assert_eq!((at.point.sequence.0, at.timeline.0), (backup["sequence"].as_i64().expect("fit"), 1));
            let wanted = &wanted[&count(backup)];
            same(wanted, &reader.records(&at).await, &format!("backup {id} of {}", reader.department));
            assert_eq!(backup["records"].as_u64(), Some(wanted.len() as u64), "{backup}");
            let verified = self.call(Method::POST, &format!("/backups/{id}/verify"), None).await.expect("answer");
            assert_eq!(verified.json["whole"], true, "{}", verified.text);
        }
        self.told("backups checked", listed.len());
    }

    /// Every receipt covers what was acknowledged before it, and every acknowledged write is in the history.
    async fn check_receipts(&self, reader: &Reader, events: &[Event], first: i64) {
        let mut places: HashMap<(&str, String, bool), i64> = HashMap::new();
        for (sequence, event) in (1..).zip(events) {
            let rev = event.record.as_ref().map(|record| record.rev.to_string());
            let deleted = rev.is_none();
            // Of a foreign write, which keeps the rev, the first that had it.
            let rev = rev.or_else(|| event.rev_before.clone()).expect("have a rev");
            places.entry((&event.user, rev, deleted)).or_insert(sequence);
        }
        let acks = self.acks.lock().clone();
        let mut reach = Vec::with_capacity(acks.len());
        let mut highest = (0, 0);
        for (n, ack) in acks.iter().enumerate() {
            if ack.department == reader.department {
                let place = places.get(&(ack.user.as_str(), ack.rev.clone(), ack.deleted));
                let place = place.unwrap_or_else(|| panic!("lost although it was acknowledged: {ack:?}"));
                highest = highest.max((*place, n));
            }
            reach.push(highest);
        }
        let receipts = self.receipts.iter().filter(|receipt| receipt.department == reader.department);
        for receipt in receipts.clone() {
            let sequence = receipt.json["sequence"].as_i64().expect("have a sequence");
            let Some((place, n)) = receipt.acknowledged.checked_sub(1).map(|last| reach[last]) else { continue };
            assert!(sequence >= place, "{:?} is at {place}, after {}", acks[n], receipt.json);
        }
        for receipt in receipts.rev().filter(|receipt| receipt.json["sequence"].as_i64() >= Some(first)).take(SAMPLES) {
            let at = reader.point(receipt.json["sequence"].as_i64().expect("have a sequence")).await;
            assert_eq!(receipt.json["chain"], at.point.chain.to_string(), "{}", receipt.json);
        }
    }
}

/// Insists that two sets of records are the same in everything, hashes and revs included.
fn same(wanted: &Records, found: &Records, what: &str) {
    let ids: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    let other = ids.into_iter().find(|id| wanted.get(*id) != found.get(*id));
    assert!(
        other.is_none(),
        "{what}: wanted {:?}, found {:?}",
        other.map(|id| wanted.get(id)),
        other.map(|id| found.get(id))
    );
}
