//! Clients that write, read and sync through all replicas while MongoDB changes, and what must be true of it afterwards.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{BACK_WITHIN, WITHIN};
use crate::harness::archived::live;
use crate::harness::changes::{Change, Changes};
use crate::harness::client::Client;
use crate::harness::records::hash_number;
use crate::harness::{Stack, eventually};
use crate::kills::checks;
use crate::kills::writers::{Acknowledged, Label, Receipts, expect_unavailable, sync_until, write_until};
use crate::model::create;

/// Writers on each replica.
const WRITERS_EACH: u64 = 2;
/// Moments that are read as they were.
const MOMENTS: usize = 8;
/// The user that is written last of all.
const LAST: &str = "the-last";

/// What clients do, and what they were told.
pub(super) struct Load {
    clients: Vec<Client>,
    changes: Changes,
    acknowledged: Acknowledged,
    receipts: Receipts,
    stop: CancellationToken,
}

impl Load {
    /// Makes ready to write; whatever is written after this is in the model.
    pub(super) async fn on(stack: &Stack) -> Self {
        Self {
            clients: stack.replicas.iter().map(|replica| replica.client.clone()).collect(),
            changes: Changes::of(&stack.database().await, "default").await,
            acknowledged: Acknowledged::default(),
            receipts: Receipts::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Writes, reads and syncs for as long as something else takes.
    pub(super) async fn during<T>(&self, something: impl Future<Output = T>) -> T {
        let writers = self.clients.iter().cycle().zip(0..3 * WRITERS_EACH);
        let writing = join_all(writers.map(|(client, n)| write_until(client, n, 17, &self.acknowledged, &self.stop)));
        let reading = join_all(self.clients.iter().map(|client| read_until(client, &self.stop)));
        let until = async {
            let done = something.await;
            self.stop.cancel();
            done
        };
        let syncing = sync_until(&self.clients, &self.acknowledged, &self.receipts, &self.stop);
        tokio::join!(until, writing, reading, syncing).0
    }

    /// Waits until more users were written.
    pub(super) async fn goes_on(&self) {
        let wanted = self.acknowledged.count() + 100;
        eventually("users are written", WITHIN, async || (self.acknowledged.count() >= wanted).then_some(())).await;
    }

    /// Waits until each replica takes writes, and insists that this was soon after a moment.
    pub(super) async fn served_again(&self, what: &str, since: Instant) -> Duration {
        let probe = async |(n, client): (usize, &Client)| {
            let id = format!("probe-{what}-{n}");
            let new = json!({ "id": id, "name": format!("Probe {what} {n}"), "password_hash": hash_number(1) });
            eventually("the replica takes writes again", WITHIN, async || {
                let answer = client.post("/users", new.clone()).await;
                // One whose outcome was not known is there at the second attempt.
                (answer.status == 201 || answer.status == 409).then_some(())
            })
            .await;
        };
        join_all(self.clients.iter().enumerate().map(probe)).await;
        let took = since.elapsed();
        assert!(took < BACK_WITHIN, "users were not written for {took:.1?} after the primary was {what}");
        took
    }

    /// Insists on everything that must be true once nothing is written any more.
    pub(super) async fn holds(&self, stack: &Stack) {
        create(stack.client(), "default", LAST).await;
        let count = self.acknowledged.count();
        let last = eventually("everything is synced", WITHIN, async || {
            let answer = stack.client().post("/departments/default/sync", Value::Null).await;
            (answer.status == 200).then_some(answer.json)
        })
        .await;
        self.receipts.add(count, last);
        stack.backup("default").await;

        let stream = self.changes.up_to(LAST).await;
        checks::stream_is_the_journal(stack, &stream).await;
        let covered = checks::receipts_hold(stack, &self.acknowledged, &self.receipts);
        let backups = checks::backups_hold(stack, &stream).await;
        let moments = past_holds(stack, &stream, &self.acknowledged, &self.receipts).await;
        assert_eq!(live(stack).await, names_after(&stream), "the service lists what its history says");
        let shown = stack.client().get("/departments/default").await.expect(200).json;
        assert_eq!(shown["recovery_window"]["gaps"], json!([]), "nobody made a gap: {shown}");
        assert_eq!((&shown["diverged"], &shown["head"]["timeline"]), (&Value::Null, &json!(1)), "{shown}");
        eprintln!(
            "{} changes: {count} acknowledged, {} refused, {} of unknown outcome; {covered} receipts, {backups} backups, {moments} moments",
            stream.len(),
            self.acknowledged.refused().len(),
            self.acknowledged.unknown().len(),
        );
    }
}

/// Reads users until told to stop.
async fn read_until(client: &Client, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let answer = client.get("/users?department=default&limit=20").await;
        if answer.status != 200 {
            expect_unavailable(&answer);
        }
    }
}

/// The names by id after some changes.
fn names_after(changes: &[Change]) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for change in changes {
        match &change.record {
            Some(user) => names.insert(change.user.clone(), user.name.to_string()),
            None => names.remove(&change.user),
        };
    }
    names
}

/// At the moments of some receipts, the last among them, the users are read as the change stream gives them: with everything that
/// was acknowledged before the receipt was asked for, and nothing after its sequence. How far between the two is what the time
/// says, which several changes may share.
async fn past_holds(stack: &Stack, stream: &[Change], acknowledged: &Acknowledged, receipts: &Receipts) -> usize {
    let places: HashMap<Label, usize> = (1..).zip(stream).map(|(place, change)| (label(change), place)).collect();
    let (acknowledged, receipts) = (acknowledged.all(), receipts.all());
    let some = receipts.iter().rev().step_by(receipts.len().div_ceil(MOMENTS).max(1));
    let mut count = 0;
    for (covers, receipt) in some {
        let sequence = usize::try_from(receipt["sequence"].as_u64().expect("have a sequence")).expect("fit");
        let least = acknowledged[..*covers].iter().map(|label| places[label]).max().unwrap_or_default();
        let time = receipt["time"].as_str().expect("have a time");
        let found = names_at(stack, time).await;
        let is_a_state = (least..=sequence).rev().any(|place| names_after(&stream[..place]) == found);
        assert!(is_a_state, "at {time} there is nothing of {least} to {sequence}: {found:?}");
        count += 1;
    }
    count
}

/// What a client was told of a change.
fn label(change: &Change) -> Label {
    change.record.as_ref().map_or_else(|| change.user.clone(), |user| user.name.to_string())
}

async fn names_at(stack: &Stack, time: &str) -> BTreeMap<String, String> {
    let (mut names, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let path = format!("/users?department=default&at={time}&limit=1000{cursor}");
        let page = stack.client().send(Method::GET, &path, &[], None).await.expect(200).json;
        let text = |user: &Value, field: &str| user[field].as_str().expect("be a text").to_owned();
        let items = page["items"].as_array().expect("have items").iter();
        names.extend(items.map(|user| (text(user, "id"), text(user, "name"))));
        let Some(next) = page["next_cursor"].as_str() else { return names };
        cursor = format!("&cursor={next}");
    }
}
