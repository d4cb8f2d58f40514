//! Three ZooKeeper servers of a test's own.

use std::path::Path;

use super::network::Home;
use super::parts::{self, Part, free_port, zookeeper_mode};
use super::{eventually, variable};
use std::time::Duration;

/// Longest time that an election of the servers takes, and their start.
const START: Duration = Duration::from_mins(1);

/// The servers; each keeps its data when it is started anew.
#[derive(Debug)]
pub(crate) struct Ensemble {
    pub(crate) servers: Vec<Part>,
}

impl Ensemble {
    /// Starts one server in each home, and waits until all serve.
    pub(crate) async fn start(folder: &Path, homes: &[Home]) -> Self {
        let ports: Vec<[u16; 3]> = homes.iter().map(|_| [free_port(), free_port(), free_port()]).collect();
        let line = |(index, home): (usize, &Home)| {
            format!("server.{}={}:{}:{}\n", index + 1, home.host, ports[index][1], ports[index][2])
        };
        let peers: String = homes.iter().enumerate().map(line).collect();
        let server = |(index, home): (usize, &Home)| serve(folder, index, home, ports[index][0], &peers);
        let started = Self { servers: homes.iter().enumerate().map(server).collect() };
        started.serves().await;
        started
    }

    /// All its servers, for clients.
    pub(crate) fn connect(&self) -> String {
        self.servers.iter().map(Part::address).collect::<Vec<_>>().join(",")
    }

    /// Waits until every server serves.
    pub(crate) async fn serves(&self) {
        for server in &self.servers {
            parts::zookeeper_serves(server).await;
        }
    }

    /// The server that leads the others.
    pub(crate) async fn leader(&self) -> usize {
        eventually("the ensemble has a leader", START, async || {
            for (index, server) in self.servers.iter().enumerate() {
                if zookeeper_mode(server).await.as_deref() == Some("leader") {
                    return Some(index);
                }
            }
            None
        })
        .await
    }
}

fn serve(folder: &Path, index: usize, home: &Home, port: u16, peers: &str) -> Part {
    let data = folder.join(format!("zookeeper-{}", index + 1));
    std::fs::create_dir_all(&data).expect("make the data folder");
    std::fs::write(data.join("myid"), format!("{}\n", index + 1)).expect("write a file");
    let file = data.with_extension("cfg");
    // A follower that is cut off knows it after `syncLimit` ticks, which have to be half a session timeout at most.
    let settings = format!(
        "tickTime=500\ninitLimit=20\nsyncLimit=2\nminSessionTimeout=1000\nmaxSessionTimeout=30000\ndataDir={}\nclientPort={port}\n\
         clientPortAddress={}\nadmin.enableServer=false\n4lw.commands.whitelist=*\nmaxClientCnxns=0\n{peers}",
        data.display(),
        home.host,
    );
    std::fs::write(&file, settings).expect("write the settings of ZooKeeper");
    let mut words = home.command("java").into_iter();
    let program = words.next().expect("have a program");
    let mut arguments: Vec<String> = words.map(|word| word.into_string().expect("be UTF-8")).collect();
    let class_path = variable("ROLLKEEPER_TEST_ZK_CLASS_PATH");
    let main = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
    let java = "-Xmx96m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true -cp";
    arguments.extend(java.split(' ').chain([class_path.as_str(), main]).map(ToOwned::to_owned));
    arguments.push(file.display().to_string());
    Part::start(program.into(), arguments, data.with_extension("log"), port).at(&home.host)
}
