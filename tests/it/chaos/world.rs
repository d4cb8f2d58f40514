//! What breaks: three replicas, each behind proxies to three `ZooKeeper` servers, and a `MongoDB` of its own.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::history::{Event, History, Znodes, now_us, us, wall_us};
use super::recorder::Recorder;
use super::{clients, commits, recorder, views, znodes};
use crate::harness::client::Client;
use crate::harness::ensemble::Ensemble;
use crate::harness::network::Home;
use crate::harness::parts::Part;
use crate::harness::proxy::{Mode, Proxy};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};

/// Longest time until everything is led again.
const PATIENCE: Duration = Duration::from_mins(2);
pub(super) const REPLICAS: usize = 3;
const DEPARTMENTS: [&str; 6] = ["default", "eng", "ops", "law", "art", "hr"];
/// The tick of the ensemble's servers (`harness::ensemble`).
pub(super) const TICK: Duration = Duration::from_millis(500);
/// What is in the logs: every step of a leader.
const LOGS: &str = "[telemetry]\nlevel = \"warn,rollkeeper=info,rollkeeper::tasks::leader=trace\"\n";

/// Everything that runs. Dropping it ends all of it.
#[derive(Debug)]
pub(super) struct World {
    /// Followers of what happens, and clients. First, so that they end before what they look at.
    tasks: JoinSet<()>,
    pub(super) stack: Stack,
    pub(super) ensemble: Ensemble,
    /// For each replica, one proxy before each server.
    proxies: Vec<Vec<Proxy>>,
    pub(super) recorder: Recorder,
    pub(super) session: Duration,
    _folder: TempDir,
}

impl World {
    /// Starts everything; all departments are led, and everything is recorded from then on.
    pub(super) async fn start(session: Duration, seed: u64, binary: Option<PathBuf>) -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let ensemble = Ensemble::start(folder.path(), &[Home::default(), Home::default(), Home::default()]).await;
        let mut proxies = Vec::new();
        for _ in 0..REPLICAS {
            proxies.push(
                join_all(ensemble.servers.iter().map(async |server| Proxy::before(&server.address()).await)).await,
            );
        }
        let through = |index: usize| proxies[index].iter().map(Proxy::address).collect::<Vec<_>>().join(",");
        let settings = Settings {
            replicas: REPLICAS,
            session_timeout: format!("{}ms", session.as_millis()),
            backup_every: "10s".to_owned(),
            chunk_records: 64,
            own_mongod: true,
            zookeeper: Some(ensemble.connect()),
            zookeeper_of: (0..REPLICAS).map(|index| (index, through(index))).collect(),
            extra: LOGS.to_owned(),
            ..Settings::default()
        };
        let settings = Settings { binary: binary.unwrap_or(settings.binary.clone()), ..settings };
        let mut stack = Stack::prepare(&settings).await;
        commits::keep_images(&stack.database().await).await;
        let recorder = Recorder::default();
        let departments: Vec<String> = DEPARTMENTS.map(ToOwned::to_owned).to_vec();
        let (session_us, tick_us) = (us(session), us(TICK));
        recorder.record(Event::Run { seed, session_us, tick_us, departments: departments.clone() });
        let mut tasks = JoinSet::new();
        let (opened, open) = oneshot::channel();
        tasks.spawn(commits::follow(stack.database().await, recorder.clone(), opened));
        open.await.expect("open the change stream");
        stack.serve(&settings).await;
        let mut world = Self { tasks, stack, ensemble, proxies, recorder, session, _folder: folder };
        world.follow(&departments).await;
        for department in &departments[1..] {
            world.stack.client().put(&format!("/departments/{department}"), json!({})).await.expect(201);
        }
        world.until_led().await;
        world.go_on(seed, &departments);
        world
    }

    /// Begins to look at the nodes and at what replicas show.
    async fn follow(&mut self, departments: &[String]) {
        let servers: Vec<String> = self.ensemble.servers.iter().map(Part::address).collect();
        let auth = std::fs::read_to_string(self.stack.folder.path().join("zookeeper-auth")).expect("read the identity");
        let place = znodes::Place {
            servers: servers.clone(),
            chroot: self.stack.place.chroot.clone(),
            auth: auth.trim().to_owned(),
            departments: departments.to_vec(),
            replicas: self.stack.replicas.iter().map(|replica| replica.id.clone()).collect(),
        };
        self.tasks.spawn(znodes::follow_nodes(place, self.recorder.clone()));
        self.tasks.spawn(znodes::follow_quorum(servers, self.recorder.clone()));
        self.tasks.spawn(recorder::follow_lateness(self.recorder.clone()));
        // With no right to see departments, a replica need not read their histories for it.
        let (looker, _) = self.stack.issued(&["cluster:read"], None).await;
        for replica in &self.stack.replicas {
            let client = looker.of(&replica.url);
            self.tasks.spawn(views::follow(client, replica.id.clone(), self.recorder.clone()));
        }
    }

    /// Lets clients write and ask.
    fn go_on(&mut self, seed: u64, departments: &[String]) {
        for (n, replica) in self.stack.replicas.iter().enumerate() {
            self.tasks.spawn(clients::write(replica.client.clone(), n, seed, departments.to_vec()));
        }
        let all: Vec<(String, Client)> =
            self.stack.replicas.iter().map(|replica| (replica.id.clone(), replica.client.clone())).collect();
        self.tasks.spawn(clients::ask_once(all, departments.to_vec(), self.recorder.clone()));
    }

    /// The nodes as they were read last.
    pub(super) fn nodes(&self) -> Znodes {
        let nodes = |event: &Event| if let Event::Znodes(nodes) = event { Some(nodes.clone()) } else { None };
        self.recorder.last(nodes).unwrap_or_default()
    }

    /// Waits until every department is led, and every replica shows who leads it.
    pub(super) async fn until_led(&self) {
        eventually("every replica shows the leader of every department", PATIENCE, async || {
            let nodes = self.nodes();
            let leaders: Vec<(&String, (String, i64))> =
                nodes.leaders.iter().map(|(name, node)| (name, (node.replica.clone(), node.epoch))).collect();
            let shows = |replica: &str| {
                let shown = self.recorder.last(|event| match event {
                    Event::View { replica: of, leaders, session } if of == replica => {
                        Some((leaders.clone(), session.clone()))
                    }
                    _ => None,
                });
                shown.is_some_and(|(shown, session)| {
                    session == "connected" && leaders.iter().all(|(name, leader)| shown.get(*name) == Some(leader))
                })
            };
            let all = leaders.len() == DEPARTMENTS.len() && nodes.sessions.len() == REPLICAS;
            (all && self.stack.replicas.iter().all(|replica| shows(&replica.id))).then_some(())
        })
        .await;
    }

    /// Waits until every department that a replica led is led by another one, but no longer than so.
    pub(super) async fn until_taken_over(&self, from: &str, at_most: Duration) {
        let begun = now_us();
        eventually("others lead", PATIENCE, async || {
            let nodes = self.nodes();
            let others =
                nodes.leaders.len() == DEPARTMENTS.len() && nodes.leaders.values().all(|node| node.replica != from);
            (others || now_us() > begun + us(at_most)).then_some(())
        })
        .await;
    }

    /// Breaks or mends the way of a replica to all servers of the ensemble.
    pub(super) fn zookeeper_of(&self, replica: usize, mode: Mode) {
        self.proxies[replica].iter().for_each(|proxy| proxy.set(mode));
    }

    /// Ends everything and returns all that was recorded, that of the logs included.
    pub(super) async fn end(mut self) -> History {
        self.tasks.shutdown().await;
        let boot_us = now_us() - wall_us();
        let mut history = self.recorder.history();
        for replica in &self.stack.replicas {
            history.lines.extend(views::told(&replica.id, &replica.log(), boot_us));
        }
        History::of(history.lines)
    }
}
