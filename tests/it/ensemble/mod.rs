//! Faults of an ensemble of three ZooKeeper servers, and of a single one that was away: who leads meanwhile, and after.

mod cut_off;
mod killed;
mod quorum;
mod restarted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::client::Client;
use crate::harness::records::hash_number;
use crate::harness::{Stack, eventually};

/// Longest wait for a state that comes by itself.
const WAIT: Duration = Duration::from_mins(1);

/// Who leads each department, as one replica sees it: the replica and its epoch.
async fn leaders(client: &Client) -> BTreeMap<String, (String, i64)> {
    let cluster = client.get("/cluster").await.expect(200).json;
    let text = |value: &Value| value.as_str().expect("be a text").to_owned();
    let leaders = cluster["leaders"].as_array().expect("have leaders").iter();
    let leader = |leader: &Value| {
        let epoch = leader["epoch"].as_i64().expect("have an epoch");
        (text(&leader["department"]), (text(&leader["replica"]), epoch))
    };
    leaders.map(leader).collect()
}

/// The epoch of each department.
fn epochs(leaders: &BTreeMap<String, (String, i64)>) -> BTreeMap<String, i64> {
    leaders.iter().map(|(department, (_, epoch))| (department.clone(), *epoch)).collect()
}

/// Waits until every department is led by an epoch above the one before, as every replica sees it.
async fn led_above(stack: &Stack, before: &BTreeMap<String, i64>) -> BTreeMap<String, (String, i64)> {
    eventually("every department is led by a higher epoch", WAIT, async || {
        let seen = join_all(stack.replicas.iter().map(|replica| leaders(&replica.client))).await;
        let above = |(department, epoch): (&String, &i64)| {
            let now = seen[0].get(department);
            now.is_some_and(|(_, now)| now > epoch) && seen.iter().all(|other| other.get(department) == now)
        };
        before.iter().all(above).then(|| seen[0].clone())
    })
    .await
}

/// Waits until the replica says this of its session with ZooKeeper.
async fn session_is(client: &Client, state: &str) {
    eventually(&format!("its session is {state}"), WAIT, async || {
        (client.get("/cluster").await.expect(200).json["zookeeper"] == state).then_some(())
    })
    .await;
}

/// Users of one writer.
const USERS_EACH: usize = 50;

/// Writers of `default` on every replica; a write that is refused, or not answered in time, fails the test.
struct Writing {
    count: Arc<AtomicUsize>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Writing {
    fn on(stack: &Stack) -> Self {
        let (count, stop, mut tasks) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new(), JoinSet::new());
        for replica in &stack.replicas {
            let (client, id, count, stop) =
                (replica.client.clone(), replica.id.clone(), Arc::clone(&count), stop.clone());
            tasks.spawn(async move {
                for n in 0.. {
                    if stop.is_cancelled() {
                        return;
                    }
                    write(&client, &id, n).await;
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Self { count, stop, tasks }
    }

    /// Waits until more users were written.
    async fn goes_on(&self) {
        let begun = self.count.load(Ordering::SeqCst);
        let more = async || (self.count.load(Ordering::SeqCst) > begun + 30).then_some(());
        eventually("users are written", WAIT, more).await;
    }

    /// Tells how many writes there were.
    async fn end(mut self) -> usize {
        self.stop.cancel();
        while let Some(writer) = self.tasks.join_next().await {
            writer.expect("write until the end");
        }
        self.count.load(Ordering::SeqCst)
    }
}

/// Creates a user, or gives one of those a new name.
async fn write(client: &Client, writer: &str, n: usize) {
    let (id, name) = (format!("{writer}-{}", n % USERS_EACH), format!("{writer} {n}"));
    if n < USERS_EACH {
        let new = json!({ "id": id, "name": name, "password_hash": hash_number(1) });
        client.post("/users", new).await.expect(201);
    } else {
        client.patch(&format!("/users/{id}"), json!({ "name": name })).await.expect(200);
    }
}
