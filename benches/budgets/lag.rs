//! How long after a client's acknowledgement a write is durable in the history, and how long a sync takes, under load.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use rollkeeper::backup::journal_read::{JournalPlace, JournalReader, Point};
use rollkeeper::domain::history::{Chain, Sequence, Timeline};
use rollkeeper::domain::ids::UserId;
use serde_json::json;

use crate::bare::Bare;
use crate::harness::Stack;
use crate::load;
use crate::people::people;
use crate::written::target;

/// Writes a second.
pub(crate) const RATE: u32 = 2000;
/// How long writes go on.
const SECONDS: u32 = 10;
/// How often the head is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What was measured.
#[derive(Debug)]
pub(crate) struct Lag {
    /// Of each write, from its acknowledgement until the head covered it.
    pub(crate) durable: Vec<Duration>,
    /// Writes a second that the service took.
    pub(crate) rate: f64,
}

/// Creates users at the rate, and sees when the head covers each.
pub(crate) async fn durable(stack: &Stack, bare: &Bare) -> Lag {
    const PACED: &str = "paced";
    stack.department(PACED).await;
    let people = Arc::new(people(PACED, (RATE * SECONDS) as usize, 11));
    let replica = &stack.replicas[0];
    let begun = Instant::now();
    let writing = async {
        let acknowledged = load::paced(&replica.url, &stack.token, Arc::clone(&people), RATE).await;
        let took = begun.elapsed();
        sync(stack, PACED).await;
        (acknowledged, took)
    };
    let mut moves: Vec<(Instant, Sequence)> = Vec::new();
    let mut writing = Box::pin(writing);
    let (acknowledged, took) = loop {
        let looked = tokio::time::timeout(LOOK_EVERY, &mut writing).await;
        let head = head(bare, PACED).await.sequence;
        if moves.last().is_none_or(|(_, last)| *last < head) {
            moves.push((Instant::now(), head));
        }
        if let Ok(done) = looked {
            break done;
        }
    };
    let numbers = numbers(stack, bare, PACED).await;
    let durable = acknowledged.iter().map(|(person, at)| {
        let number = numbers[&people[*person].id.parse().expect("be an id")];
        let covered = moves.iter().find(|(_, head)| *head >= number).expect("be covered").0;
        covered.saturating_duration_since(*at)
    });
    Lag { durable: durable.collect(), rate: crate::table::per_second(people.len(), took) }
}

/// How long each sync takes while users are created at the rate.
pub(crate) async fn syncs(stack: &Stack) -> (Vec<Duration>, f64) {
    const SYNCED: &str = "synced";
    stack.department(SYNCED).await;
    let people = Arc::new(people(SYNCED, (RATE * SECONDS) as usize, 12));
    let replica = &stack.replicas[0];
    let begun = Instant::now();
    let writing = async {
        load::paced(&replica.url, &stack.token, Arc::clone(&people), RATE).await;
        begun.elapsed()
    };
    let (mut took, mut writing) = (Vec::new(), Box::pin(writing));
    loop {
        let one = sync(stack, SYNCED);
        tokio::pin!(one);
        tokio::select! {
            written = &mut writing => return (took, crate::table::per_second(people.len(), written)),
            sync = &mut one => took.push(sync),
        }
    }
}

async fn sync(stack: &Stack, department: &str) -> Duration {
    let begun = Instant::now();
    stack.client().post(&format!("/departments/{department}/sync"), json!({})).await.expect(200);
    begun.elapsed()
}

/// Where the head of a department is.
pub(crate) async fn head(bare: &Bare, department: &str) -> Point {
    let found = bare.collection("heads").find_one(doc! { "_id": department }).await.expect("read a head");
    let head: Document = found.expect("have a head");
    let chain = head.get_binary_generic("chain").expect("have a chain");
    let chain: [u8; 32] = chain.as_slice().try_into().expect("be a chain");
    Point { sequence: Sequence(head.get_i64("sequence").expect("have a sequence")), chain: Chain(chain) }
}

/// The numbers that the journal gave to the users' writes.
async fn numbers(stack: &Stack, bare: &Bare, department: &str) -> HashMap<UserId, Sequence> {
    let place = JournalPlace {
        repository: stack.repository(),
        targets: target(stack.folder.path()),
        department: department.parse().expect("be a name"),
        timeline: Timeline(1),
    };
    let through = head(bare, department).await;
    let mut reader = JournalReader::open(place, Point::BEGINNING, through).await.expect("open the journal");
    let mut numbers = HashMap::new();
    while let Some(changes) = reader.next().await.expect("read the journal") {
        numbers.extend(changes.iter().map(|change| (change.change.user_id().clone(), change.sequence)));
    }
    numbers
}
