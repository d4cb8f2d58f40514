//! The leader is killed at random moments, again and again, while every replica takes writes at full speed.
//!
//! `KILLS` says how often (a few by default, 200 in `make kills`), `KILLS_SEED` repeats the moments of another run. Every
//! write has a label that no other has, so what the journal says can be compared one by one.

pub(crate) mod checks;
pub(crate) mod writers;

use std::time::{Duration, Instant};

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::harness::changes::Changes;
use crate::harness::client::Client;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};
use crate::model::create;
use writers::{Acknowledged, Receipts, sync_until, write_until};

/// Kills when nobody says how many.
const KILLS: u64 = 5;
const WRITERS_EACH: u64 = 2;
const TAKEN_OVER: Duration = Duration::from_mins(1);

fn number(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?.into_string().expect("be UTF-8");
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// The leader's id and epoch, as any replica that lives sees it.
async fn leader(clients: &[Client], above: u64) -> (usize, u64) {
    eventually("the department has a leader", TAKEN_OVER, async || {
        for client in clients {
            let seen = client.try_send(Method::GET, "/departments/default", &[], None).await;
            let Some(leader) = seen.ok().map(|seen| seen.json["leader"].clone()) else { continue };
            let index = (0..clients.len()).find(|n| leader["replica"] == format!("r{}", n + 1));
            if let (Some(index), Some(epoch)) = (index, leader["epoch"].as_u64().filter(|epoch| *epoch > above)) {
                return Some((index, epoch));
            }
        }
        None
    })
    .await
}

/// Kills the leader so many times, each after a random number of writes since the one before, and starts it again.
async fn kill_leaders(stack: &mut Stack, clients: &[Client], kills: u64, seed: u64, acknowledged: &Acknowledged) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut epoch = 0;
    for n in 1..=kills {
        let begun = Instant::now();
        let (index, now) = leader(clients, epoch).await;
        let taken_over = begun.elapsed();
        epoch = now;
        let (from, more) = (acknowledged.count(), random.random_range(0..400));
        eventually("users are written", TAKEN_OVER, async || (acknowledged.count() >= from + more).then_some(())).await;
        stack.replicas[index].kill();
        stack.replicas[index].restart();
        eprintln!("kill {n}: r{}, epoch {epoch}, led after {taken_over:.1?}, {more} writes later", index + 1);
    }
    leader(clients, epoch).await;
}

#[tokio::test]
async fn no_synced_change_is_lost_or_doubled_however_often_the_leader_is_killed() {
    let kills = number("KILLS").unwrap_or(KILLS);
    let seed = number("KILLS_SEED").unwrap_or_else(rand::random);
    eprintln!("KILLS={kills} KILLS_SEED={seed}");
    let backup = ", journal_every = \"100ms\"".to_owned();
    let settings = Settings {
        replicas: 3,
        targets: 3,
        backup_every: "10s".to_owned(),
        chunk_records: 64,
        backup,
        ..Settings::default()
    };
    let mut stack = Stack::start(settings).await;
    let changes = Changes::of(&stack.database().await, "default").await;
    let clients: Vec<Client> = stack.replicas.iter().map(|replica| replica.client.clone()).collect();

    let (acknowledged, receipts, stop) = (Acknowledged::default(), Receipts::default(), CancellationToken::new());
    let writers = clients.iter().cycle().zip(0..3 * WRITERS_EACH);
    let writing = join_all(writers.map(|(client, n)| write_until(client, n, seed, &acknowledged, &stop)));
    let killing = async {
        let begun = Instant::now();
        kill_leaders(&mut stack, &clients, kills, seed, &acknowledged).await;
        stop.cancel();
        begun.elapsed()
    };
    let (took, ..) = tokio::join!(killing, writing, sync_until(&clients, &acknowledged, &receipts, &stop));
    for replica in &stack.replicas {
        eventually("it serves", TAKEN_OVER, async || stack.is_ready(&replica.client).await.then_some(())).await;
    }
    create(stack.client(), "default", "the-last").await;
    let count = acknowledged.count();
    let last = eventually("everything is synced", TAKEN_OVER, async || {
        let answer = stack.client().post("/departments/default/sync", Value::Null).await;
        (answer.status == 200).then_some(answer.json)
    })
    .await;
    receipts.add(count, last);
    stack.backup("default").await;

    let changes = changes.up_to("the-last").await;
    checks::stream_is_the_journal(&stack, &changes).await;
    let covered = checks::receipts_hold(&stack, &acknowledged, &receipts);
    let backups = checks::backups_hold(&stack, &changes).await;
    eprintln!(
        "{kills} kills in {took:.0?} ({:.1?} each): {} changes, {count} acknowledged, {covered} receipts, {backups} backups",
        took / u32::try_from(kills.max(1)).expect("fit"),
        changes.len(),
    );
}
