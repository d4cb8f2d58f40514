//! Breaks of the history that a person or the server makes, and what must be said of each.

use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use rand::Rng as _;
use reqwest::Method;
use rollkeeper::domain::window::{OutsideReason, RecoveryWindow};
use serde_json::{Value, json};

use super::driver::Driver;
use super::history::History;
use super::reader::Reader;
use super::{DEPARTMENTS, PATIENCE};
use crate::harness::eventually;
use crate::harness::records::hash_number;

/// How a change stream breaks for good, and what the history says of it.
const ERRORS: [(i32, &str); 3] = [(136, "stream_too_old"), (280, "token_of_another_stream"), (286, "history_lost")];
const DROPPED: &str = "collection_dropped";
/// How long a leader may take to see that its stream broke; one that has stepped down in this moment never does.
const SEEN_WITHIN: Duration = Duration::from_secs(3);
/// The gap may also be one of `default`, which nobody writes here, where that is the one that is behind the others.
const ATTEMPTS: usize = 3;

impl Driver {
    /// Breaks the history of some departments, and waits until that is told and bridged.
    pub(super) async fn make_gap(&mut self) {
        self.mend_primary().await;
        // A backup that comes now comes because of the gap.
        self.keep("24h", "5s").await;
        let before: Vec<i64> = DEPARTMENTS.iter().map(|department| self.timeline_of(department)).collect();
        if self.random.random_range(0..4) == 0 {
            self.drop_users().await;
        } else {
            self.lose_the_stream(&before).await;
        }
        for (department, before) in DEPARTMENTS.into_iter().zip(before) {
            if self.timeline_of(department) > before {
                // A receipt that comes before its line can be read would be for what no target has.
                self.sync(department).await;
                self.until_bridged(department).await;
            }
        }
        self.keep("10s", "5s").await;
    }

    /// The line that a department's head is on, as MongoDB has it.
    fn timeline_of(&self, department: &str) -> i64 {
        self.truth.history(department).lines.last().map_or(0, |line| line.timeline)
    }

    async fn lose_the_stream(&mut self, before: &[i64]) {
        let department = self.department();
        let (code, cause) = ERRORS[self.random.random_range(0..ERRORS.len())];
        let Some(leader) = self.leader(department).await else { return };
        let client = self.stack.database().await.client().clone();
        let admin = client.database("admin");
        let namespace = format!("{}.$cmd.aggregate", self.stack.place.database);
        // The stream, and then the one that is opened after it; once more, and who comes next to begin there loses it too.
        let times = self.random.random_range(2..=3);
        let data = doc! { "failCommands": ["getMore", "aggregate"], "errorCode": code, "appName": &leader, "namespace": namespace };
        let refuse = doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data };
        let mut found = false;
        for _ in 0..ATTEMPTS {
            if found {
                break;
            }
            admin.run_command(refuse.clone()).await.expect("refuse to go on");
            let begun = Instant::now();
            found = eventually("a gap is recorded, or it is another's", PATIENCE, async || {
                let now = DEPARTMENTS.map(|department| self.timeline_of(department));
                let found = now.iter().zip(before).any(|(now, before)| now > before);
                (found || begun.elapsed() > SEEN_WITHIN).then_some(found)
            })
            .await;
        }
        admin.run_command(doc! { "configureFailPoint": "failCommand", "mode": "off" }).await.expect("let it go on");
        self.causes.insert(cause);
        self.told(if found { "gap" } else { "no gap" }, format_args!("{cause} at {leader}, leader of {department}"));
    }

    /// A person drops the users; somebody writes one, and so makes the collection again.
    async fn drop_users(&mut self) {
        self.mend_replica().await;
        let gate = self.gate.clone();
        let _nobody_writes = gate.write().await;
        let before = DEPARTMENTS.map(|department| self.timeline_of(department));
        self.stack.database().await.collection::<Document>("users").drop().await.expect("drop the users");
        self.causes.insert(DROPPED);
        eventually("the gap of the drop is recorded everywhere", PATIENCE, async || {
            let now = DEPARTMENTS.map(|department| self.timeline_of(department));
            now.iter().zip(&before).all(|(now, before)| now > before).then_some(())
        })
        .await;
        let first =
            json!({ "id": "east-0000", "department": "east", "name": "First", "password_hash": hash_number(1) });
        eventually("users are written again", PATIENCE, async || {
            let answer = self.call(Method::POST, "/users", Some(first.clone())).await?;
            [201, 409].contains(&answer.status.as_u16()).then_some(())
        })
        .await;
        // Until then the indexes that make ids and names unique may be missing.
        for department in DEPARTMENTS {
            self.until_bridged(department).await;
        }
        self.told("gap", "the users were dropped");
    }

    /// Waits until the newest line of a department has a backup to read from.
    async fn until_bridged(&self, department: &str) {
        eventually("a backup comes at once after the gap", PATIENCE, async || {
            let shown = self.shown(department).await?;
            let gaps = shown["recovery_window"]["gaps"].as_array()?;
            let all = shown["head"]["timeline"] == self.timeline_of(department);
            (all && gaps.iter().all(|gap| !gap["until"].is_null())).then_some(())
        })
        .await;
    }

    /// Every break is told, with a cause that somebody made, and nothing was lost but in a gap that is told.
    pub(super) async fn check_gaps(&mut self, reader: &Reader, history: &History, shown: &Value) {
        let gaps = reader.gaps().await;
        assert_eq!(gaps.len() + 1, history.lines.len(), "{gaps:?} {:?}", history.lines);
        for (gap, lines) in gaps.iter().zip(history.lines.windows(2)) {
            assert_eq!((gap.0, gap.1), (lines[0].timeline, lines[1].after), "{gaps:?} {:?}", history.lines);
            assert!(self.causes.contains(gap.2.as_str()), "nobody made this gap: {gap:?}");
        }
        let lost: usize = history.lines.iter().map(|line| history.lost(line)).sum();
        self.told("gaps checked", format_args!("{} with {lost} changes in them", gaps.len()));
        assert_eq!(shown["recovery_window"]["last_sequence"], history.last_sequence(), "{shown}");
        let window = reader.window().await;
        let (told, from) = (&shown["recovery_window"]["gaps"], window.from().expect("have a beginning").timeline.0);
        let wanted = gaps.iter().filter(|gap| gap.0 >= from).map(|gap| json!([gap.1, gap.2]));
        let told =
            told.as_array().expect("have gaps").iter().map(|gap| json!([gap["after"]["sequence"], gap["cause"]]));
        assert_eq!(told.collect::<Vec<_>>(), wanted.collect::<Vec<_>>(), "{shown}");
        self.check_refusals(reader, &window).await;
    }

    /// What lies in a gap is refused with the nearest moments around it, by number and by time.
    async fn check_refusals(&mut self, reader: &Reader, window: &RecoveryWindow) {
        for pair in window.stretches.windows(2) {
            let (before, after) = (pair[0].through, pair[1].from);
            let sequences = before.sequence.0 + 1..after.sequence.0;
            if !sequences.is_empty() {
                let outside = reader.refusal(self.random.random_range(sequences)).await;
                let wanted = (OutsideReason::InGap, Some(before), Some(after));
                assert_eq!((outside.reason, outside.before, outside.after), wanted);
            }
            let times = before.time.as_millis() + 1..after.time.as_millis();
            if times.is_empty() {
                continue;
            }
            let millis = self.random.random_range(times);
            let time = rollkeeper::domain::clock::Timestamp::from_millis(millis);
            let department = reader.department;
            let path = format!("/users?department={department}&at={time}");
            let body = json!({ "from": { "department": department, "at": time.to_string() } });
            for (method, path, body) in [(Method::GET, &*path, None), (Method::POST, "/restores", Some(body))] {
                let answer = self.call(method, path, body).await.expect("answer");
                answer.expect_problem(422, "outside_recovery_window");
                assert_eq!(answer.json["errors"][0]["code"], "in_gap", "{}", answer.text);
                let nearest = &answer.json["nearest"];
                for (side, place) in [("before", before), ("after", after)] {
                    let wanted = json!({ "sequence": place.sequence.0, "time": place.time.to_string() });
                    assert_eq!(nearest[side], wanted, "{}", answer.text);
                }
            }
            self.told("refused in a gap", format_args!("{department} {time}"));
        }
    }
}
