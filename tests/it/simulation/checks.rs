//! Everything that must be true of the history whenever nothing is under way.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::Rng as _;
use reqwest::Method;
use rollkeeper::backup::past::PastPoint;
use rollkeeper::domain::clock::Timestamp;
use rollkeeper::domain::user::User;
use rollkeeper::domain::window::Stretch;
use serde_json::{Value, json};

use super::DEPARTMENTS;
use super::driver::Driver;
use super::history::History;
use super::reader::Reader;
use crate::harness::records::Records;

/// Sequences that are read as a reader of the past does; all of them are folded one by one besides.
const SAMPLES: usize = 6;

impl Driver {
    /// Insists on all of it, reading from one target and comparing with the model.
    pub(super) async fn check_everything(&mut self) {
        for department in DEPARTMENTS {
            let target = format!("t{}", self.random.random_range(1..=3));
            let reader = Reader::open(&self.stack, &target, department).await;
            let history = self.truth.history(department);
            let shown = self.shown(department).await.expect("have the department");
            assert_eq!((&shown["diverged"], &shown["head"]["damage"]), (&Value::Null, &json!([])), "{shown}");
            self.check_gaps(&reader, &history, &shown).await;
            let stretches = reader.window().await.stretches;
            for stretch in &stretches {
                self.check_stretch(&reader, &history, stretch).await;
            }
            self.check_backups(&reader, &history).await;
            self.check_receipts(&reader, &history, &stretches).await;
            let live = self.stack.records(department).await;
            assert!(live == history.state_at(history.events.len()), "the model is what MongoDB has");
            let stretches: Vec<_> = stretches.iter().map(|it| (it.from.sequence.0, it.through.sequence.0)).collect();
            self.told("checked", format_args!("{department} on {target}: {stretches:?}"));
        }
    }

    async fn check_stretch(&mut self, reader: &Reader, history: &History, stretch: &Stretch) {
        let timeline = stretch.from.timeline;
        let (first, last) = (stretch.from.sequence.0, stretch.through.sequence.0);
        let place = |sequence: i64| history.count(timeline.0, sequence);
        let mut points = vec![reader.first_of(stretch).await];
        if last > first {
            let mut samples = BTreeSet::from([last]);
            samples.extend((0..SAMPLES).map(|_| self.random.random_range(first + 1..=last)));
            for sequence in samples {
                points.push(reader.point(sequence).await);
                let at = points.last().expect("have one");
                assert_eq!((at.point.sequence.0, at.timeline), (sequence, timeline), "{at:?}");
            }
        }
        let wanted = history.states_at(points.iter().map(|at| place(at.point.sequence.0)));
        for at in &points {
            let found = reader.records(at).await;
            same(&wanted[&place(at.point.sequence.0)], &found, &format!("{} at {:?}", reader.department, at.place()));
        }
        let ends = (points[0].point, points[points.len() - 1].point);
        let begun = wanted[&place(first)].clone();
        let times = reader.fold(timeline, ends, begun, &history.events[place(first)..]).await;
        assert_eq!(times.len(), place(last) - place(first), "every sequence of the stretch was read");
        for _ in 0..SAMPLES.min(times.len()) {
            let time = times[self.random.random_range(0..times.len())];
            let count = place(first) + times.iter().take_while(|other| **other <= time).count();
            let wanted = history.state_at(count);
            self.check_read_at(reader.department, time, &wanted).await;
            let some = &history.events[self.random.random_range(place(first)..place(last))].user;
            self.check_user_at(reader.department, some, time, wanted.get(some)).await;
        }
    }

    /// Reads a department at a time over HTTP.
    async fn check_read_at(&self, department: &str, time: Timestamp, wanted: &Records) {
        let (mut found, mut cursor) = (BTreeMap::new(), String::new());
        loop {
            let path = format!("/users?department={department}&at={time}&limit=1000{cursor}");
            let page = self.call(Method::GET, &path, None).await.expect("answer").expect(200).json;
            found.extend(page["items"].as_array().expect("have items").iter().map(shown_user));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let wanted: BTreeMap<_, _> = wanted.values().map(wanted_user).collect();
        assert!(found == wanted, "{department} at {time}: {} users, not {}", found.len(), wanted.len());
    }

    /// Reads one user at a time over HTTP, which goes by an index and not by the whole state.
    async fn check_user_at(&self, department: &str, user: &str, time: Timestamp, wanted: Option<&User>) {
        let path = format!("/users/{user}?department={department}&at={time}");
        let answer = self.call(Method::GET, &path, None).await.expect("answer");
        let found = (answer.status == 200).then(|| shown_user(&answer.json));
        assert!([200, 404].contains(&answer.status.as_u16()), "{path}: {}", answer.text);
        assert_eq!(found, wanted.map(wanted_user), "{path}");
    }

    async fn check_backups(&mut self, reader: &Reader, history: &History) {
        let listed = self.complete(reader.department).await;
        assert!(!listed.is_empty(), "two backups are always kept");
        let number = |backup: &Value, field: &str| backup[field].as_i64().expect("be a number");
        let count = |backup: &Value| history.count(number(backup, "timeline"), number(backup, "sequence"));
        let wanted = history.states_at(listed.iter().map(count));
        for backup in &listed {
            let id = backup["id"].as_str().expect("have an id");
            let kept = reader.store.backups.get(&id.parse().expect("be an id")).await.expect("look").expect("have it");
            let content = kept.content.expect("have content");
            let at = PastPoint::of_backup(&kept.department, &content);
            assert_eq!((at.point.sequence.0, at.timeline.0), (number(backup, "sequence"), number(backup, "timeline")));
            let wanted = &wanted[&count(backup)];
            same(wanted, &reader.records(&at).await, &format!("backup {id} of {}", reader.department));
            assert_eq!(backup["records"].as_u64(), Some(wanted.len() as u64), "{backup}");
            let verified = self.call(Method::POST, &format!("/backups/{id}/verify"), None).await.expect("answer");
            assert_eq!(verified.json["whole"], true, "{}", verified.text);
        }
        self.told("backups checked", listed.len());
    }

    /// Every receipt covers what was acknowledged before it, and every acknowledged write is in the history.
    async fn check_receipts(&self, reader: &Reader, history: &History, stretches: &[Stretch]) {
        let mut places: HashMap<(&str, String, bool), usize> = HashMap::new();
        for (place, event) in (1..).zip(&history.events).filter(|(_, event)| !event.cleared) {
            let rev = event.record.as_ref().map(|record| record.rev.to_string());
            let deleted = rev.is_none();
            // Of a foreign write, which keeps the rev, the first that had it.
            let rev = rev.or_else(|| event.rev_before.clone()).expect("have a rev");
            places.entry((&event.user, rev, deleted)).or_insert(place);
        }
        let refused = self.acks.refused();
        let hashes =
            history.events.iter().filter_map(|event| event.record.as_ref()).map(|it| it.password_hash.expose());
        for hash in hashes {
            assert!(!refused.contains(hash), "written, and its client was told that nothing was changed: {hash}");
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
            let (timeline, sequence) = receipt.place();
            let Some((place, n)) = receipt.acknowledged.checked_sub(1).map(|last| reach[last]) else { continue };
            assert!(history.count(timeline, sequence) >= place, "{:?} is at {place}, after {}", acks[n], receipt.json);
        }
        let readable = receipts.rev().filter(|receipt| {
            let (timeline, sequence) = receipt.place();
            let holds = |it: &&Stretch| it.from.timeline.0 == timeline && it.from.sequence.0 < sequence;
            stretches.iter().any(|stretch| holds(&stretch))
        });
        for receipt in readable.take(SAMPLES) {
            let at = reader.point(receipt.place().1).await;
            assert_eq!(receipt.json["chain"], at.point.chain.to_string(), "{}", receipt.json);
        }
    }
}

/// What the API shows of a user, by id.
type Shown = (String, (String, bool, String, Option<i64>));

fn shown_user(user: &Value) -> Shown {
    let text = |field: &str| user[field].as_str().expect("be a text").to_owned();
    (text("id"), (text("name"), user["locked"] == true, text("rev"), user["version"].as_i64()))
}

fn wanted_user(user: &User) -> Shown {
    let text = user.name.as_str().to_owned();
    (user.id.to_string(), (text, user.locked, user.rev.to_string(), Some(user.version)))
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
