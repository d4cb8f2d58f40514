//! Watches `ZooKeeper` past the service: its nodes, straight from the servers, and whether the ensemble has a quorum.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};
use zookeeper_client::{Client, Error};

use super::history::{Event, LeaderNode, Znodes};
use super::recorder::Recorder;
use crate::harness::parts::mode_of;

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long an answer may take. What asks while there is no connection waits for one.
const WITHIN: Duration = Duration::from_secs(1);

/// Where to look.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The servers, `host:port` each.
    pub(super) servers: Vec<String>,
    pub(super) chroot: String,
    /// `user:password`.
    pub(super) auth: String,
    pub(super) departments: Vec<String>,
    pub(super) replicas: Vec<String>,
}

/// Takes the nodes down whenever they have changed, until dropped.
pub(super) async fn follow_nodes(place: Place, recorder: Recorder) {
    let connect = format!("{}{}", place.servers.join(","), place.chroot);
    let (mut last, mut looks) = (Znodes::default(), ticks());
    loop {
        looks.tick().await;
        let connector = Client::connector().with_session_timeout(Duration::from_secs(10)).with_fail_eagerly();
        let connecting = connector.with_auth("digest", place.auth.as_bytes()).connect(&connect);
        let Ok(Ok(client)) = timeout(Duration::from_secs(5), connecting).await else { continue };
        loop {
            looks.tick().await;
            match timeout(WITHIN, read(&client, &place)).await {
                Ok(Ok(now)) if now != last => {
                    recorder.record(Event::Znodes(now.clone()));
                    last = now;
                }
                Ok(Err(_)) | Err(_) if client.state().is_terminated() => break,
                // Without an answer: it comes back, or its session ends.
                _ => {}
            }
        }
    }
}

async fn read(client: &Client, place: &Place) -> Result<Znodes, Error> {
    let mut nodes = Znodes::default();
    for department in &place.departments {
        let path = format!("/departments/{department}");
        if let Some((bytes, _)) = there(client.get_data(&format!("{path}/epoch")).await)? {
            let counter = String::from_utf8(bytes).expect("be a number").trim().parse().expect("be a number");
            nodes.counters.insert(department.clone(), counter);
        }
        if let Some((bytes, stat)) = there(client.get_data(&format!("{path}/leader")).await)? {
            let node: LeaderNode = serde_json::from_slice(&bytes).expect("be a leader");
            let node = LeaderNode { czxid: stat.czxid, owner: stat.ephemeral_owner, ..node };
            nodes.leaders.insert(department.clone(), node);
        }
    }
    for replica in &place.replicas {
        if let Some(stat) = client.check_stat(&format!("/replicas/{replica}")).await? {
            nodes.sessions.insert(replica.clone(), stat.ephemeral_owner);
        }
    }
    Ok(nodes)
}

fn there<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes down when the ensemble begins and ceases to serve, until dropped.
pub(super) async fn follow_quorum(servers: Vec<String>, recorder: Recorder) {
    let (mut last, mut looks) = (true, ticks());
    recorder.record(Event::Quorum { serves: true });
    loop {
        looks.tick().await;
        let asked = servers.iter().map(|server| timeout(Duration::from_millis(300), mode_of(server)));
        let modes: Vec<String> = futures::future::join_all(asked).await.into_iter().flatten().flatten().collect();
        let count = |mode| modes.iter().filter(|is| *is == mode).count();
        let quorum = count("leader") == 1 && count("follower") >= servers.len() / 2;
        if quorum != last {
            recorder.record(Event::Quorum { serves: quorum });
            last = quorum;
        }
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
