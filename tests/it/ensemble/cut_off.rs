//! A replica is cut off together with its ZooKeeper server, which is a follower: its client may go on to believe that it
//! is connected, and reads its own leader node after the others have deleted it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Writing, epochs, leaders, led_above, session_is};
use crate::harness::client::Client;
use crate::harness::effects::Effects;
use crate::harness::ensemble::Ensemble;
use crate::harness::network::Network;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually, parts};

const SESSION_TIMEOUT: Duration = Duration::from_secs(2);
const DEPARTMENTS: usize = 6;

/// The epoch by which a replica says of itself that it leads a department.
async fn claims_to_lead(client: &Client, replica: &str, department: &str) -> Option<i64> {
    let seen = client.get(&format!("/departments/{department}")).await.expect(200).json;
    (seen["leader"]["replica"] == replica).then(|| seen["leader"]["epoch"].as_i64().expect("have an epoch"))
}

#[tokio::test]
async fn two_replicas_never_lead_at_a_time_when_one_is_cut_off_together_with_its_zookeeper_server() {
    let network = Network::make();
    let folder = tempfile::tempdir().expect("make a folder");
    let homes = network.homes();
    let (ensemble, mongod) =
        (Ensemble::start(folder.path(), &homes).await, parts::mongod_at(folder.path(), &network.host()).await);
    let address = |index: usize| ensemble.servers[index].address();
    let settings = Settings {
        replicas: 3,
        mongodb: Some(format!("mongodb://{}/?replicaSet=rs0", mongod.address())),
        zookeeper: Some(ensemble.connect()),
        zookeeper_of: (0..3).map(|index| (index, address(index))).collect::<HashMap<_, _>>(),
        homes: homes.into_iter().enumerate().collect(),
        ..Settings::default()
    };
    let stack = Stack::start(settings).await;
    for n in 1..DEPARTMENTS {
        stack.department(&format!("dept-{n}")).await;
    }
    let effects = Effects::of(&stack.database().await).await;
    let follower = (ensemble.leader().await + 1) % 3;
    let (old, others): (Vec<_>, Vec<_>) =
        stack.replicas.iter().partition(|replica| replica.id == format!("r{}", follower + 1));
    let old = old[0];
    let before = leaders(&old.client).await;
    let lost: Vec<&String> = before.iter().filter(|(_, (id, _))| *id == old.id).map(|(name, _)| name).collect();
    assert!(!lost.is_empty(), "{} leads nothing: {before:?}", old.id);
    let writing = Writing::on(&stack);
    writing.goes_on().await;

    network.cut_off(follower);
    let cut = Instant::now();
    let mut taken_over: HashMap<&str, Duration> = HashMap::new();
    eventually("all that it led is led by others", Duration::from_secs(30), async || {
        for department in &lost {
            // In this order: who leads by the old epoch when another one has the next has not stepped down in time.
            let mut new = None;
            for other in &others {
                new = new.or(claims_to_lead(&other.client, &other.id, department).await);
            }
            let still = claims_to_lead(&old.client, &old.id, department).await;
            assert!(
                new.is_none() || still.is_none(),
                "{department} is led by {still:?} and {new:?} after {:?}",
                cut.elapsed()
            );
            if new.is_some() {
                taken_over.entry(department).or_insert_with(|| cut.elapsed());
            }
        }
        (taken_over.len() == lost.len()).then_some(())
    })
    .await;
    eprintln!("led by others after {taken_over:.1?}");
    session_is(&old.client, "lost").await;
    writing.goes_on().await;
    for department in &lost {
        stack_backup(&others[0].client, department).await;
    }

    network.mend(follower);
    session_is(&old.client, "connected").await;
    let wanted =
        before.iter().map(|(name, (id, epoch))| (name.clone(), if *id == old.id { *epoch } else { epoch - 1 }));
    let after = led_above(&stack, &wanted.collect()).await;
    for (name, (id, epoch)) in before.iter().filter(|(_, (id, _))| *id != old.id) {
        assert_eq!(after.get(name), Some(&(id.clone(), *epoch)), "who was not cut off goes on to lead {name}");
    }
    writing.goes_on().await;
    writing.end().await;
    assert!(cut.elapsed() > SESSION_TIMEOUT);
    assert!(effects.check(&epochs(&after)).await >= lost.len());
}

/// Takes a backup through a replica that was not cut off.
async fn stack_backup(client: &Client, department: &str) {
    let job = client.post("/backups", serde_json::json!({ "department": department })).await.expect(202);
    eventually("the backup is complete", Duration::from_mins(1), async || {
        (client.get(job.header("location")).await.expect(200).json["state"] == "complete").then_some(())
    })
    .await;
}
