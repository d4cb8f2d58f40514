//! A MongoDB and a ZooKeeper of a test's own, for faults that the shared ones must not have.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mongodb::bson::doc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::process::Process;
use super::{eventually, variable};

const START: Duration = Duration::from_mins(1);

/// A server of a part, which keeps its data when it is started anew.
#[derive(Debug)]
pub(crate) struct Part {
    /// The running server.
    pub(crate) process: Process,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    host: String,
    port: u16,
}

impl Part {
    /// Its `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The same, on another address than that of the loopback device.
    pub(super) fn at(self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self }
    }

    /// Starts it again after it was killed or stopped; it may not serve yet.
    pub(crate) fn restart(&mut self) {
        self.process = Process::start(Command::new(&self.program).args(&self.arguments), &self.log);
    }

    pub(super) fn start(program: PathBuf, arguments: Vec<String>, log: PathBuf, port: u16) -> Self {
        let process = Process::start(Command::new(&program).args(&arguments), &log);
        Self { process, program, arguments, log, host: "127.0.0.1".to_owned(), port }
    }
}

/// Starts a replica set of one member.
pub(crate) async fn mongod(folder: &Path, oplog_mb: u32) -> Part {
    initiated(bare_mongod(folder, oplog_mb)).await
}

/// Starts a replica set of one member that listens on another address than that of the loopback device.
pub(crate) async fn mongod_at(folder: &Path, host: &str) -> Part {
    let (port, mut arguments) = bare_command(&folder.join("mongod"), 128);
    arguments.iter_mut().filter(|argument| *argument == "127.0.0.1").for_each(|argument| host.clone_into(argument));
    let log = folder.join("mongod.log");
    initiated(Part::start(variable("ROLLKEEPER_TEST_MONGOD").into(), arguments, log, port).at(host)).await
}

async fn initiated(started: Part) -> Part {
    let admin = admin_of(&started).await;
    let set = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": started.address() }] };
    eventually("mongod serves", START, async || admin.run_command(doc! { "ping": 1 }).await.ok()).await;
    admin.run_command(doc! { "replSetInitiate": set }).await.expect("initiate the replica set");
    until_primary(&admin).await;
    started
}

/// Starts a mongod on a copy of the data of another one, as a replica set of its own with the same identity.
pub(crate) async fn cloned_mongod(folder: &Path) -> Part {
    let started = bare_mongod(folder, 128);
    let admin = admin_of(&started).await;
    let config = eventually("mongod serves", START, async || {
        admin.run_command(doc! { "replSetGetConfig": 1 }).await.ok()?.get_document("config").cloned().ok()
    })
    .await;
    let mut config = config;
    config.insert("members", vec![doc! { "_id": 0, "host": started.address() }]);
    config.insert("version", config.get_i32("version").expect("have a version") + 1);
    let reconfigure = doc! { "replSetReconfig": config, "force": true };
    eventually("it takes its new address", START, async || admin.run_command(reconfigure.clone()).await.ok()).await;
    until_primary(&admin).await;
    started
}

/// Adds a member whose clock is that many seconds behind to the replica set of another mongod; returns when it can be primary.
pub(crate) async fn member_behind(folder: &Path, of: &Part, seconds: u32) -> Part {
    let plain = bare_command(&folder.join("mongod-behind"), 128);
    let mut arguments = vec![
        format!("LD_PRELOAD={}", variable("ROLLKEEPER_TEST_FAKETIME")),
        format!("FAKETIME=-{seconds}s"),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        variable("ROLLKEEPER_TEST_MONGOD"),
    ];
    arguments.extend(plain.1);
    let started = Part::start("/usr/bin/env".into(), arguments, folder.join("mongod-behind.log"), plain.0);
    take_in(of, &started).await;
    started
}

/// Starts a mongod that is to be a member of a set; it may not serve yet.
pub(super) fn bare_member(folder: &Path, name: &str) -> Part {
    let (port, arguments) = bare_command(&folder.join(name), 128);
    Part::start(variable("ROLLKEEPER_TEST_MONGOD").into(), arguments, folder.join(format!("{name}.log")), port)
}

async fn take_in(of: &Part, started: &Part) {
    let admin = admin_of(started).await;
    eventually("the member serves", START, async || admin.run_command(doc! { "ping": 1 }).await.ok()).await;
    let primary = admin_of(of).await;
    // Refused while the member before it is still coming in.
    eventually("the member is added", START, async || {
        let config = primary.run_command(doc! { "replSetGetConfig": 1 }).await.expect("read the configuration");
        let mut config = config.get_document("config").expect("have one").clone();
        let members = config.get_array_mut("members").expect("have members");
        let id = i32::try_from(members.len()).expect("be few");
        members.push(doc! { "_id": id, "host": started.address() }.into());
        config.insert("version", config.get_i32("version").expect("have a version") + 1);
        config.get_document_mut("settings").expect("have settings").insert("electionTimeoutMillis", 2000);
        primary.run_command(doc! { "replSetReconfig": config }).await.ok()
    })
    .await;
    until_secondary(&admin).await;
    // One that is new has no vote before the primary has seen that it is level.
    eventually("every member has a vote", START, async || {
        let config = primary.run_command(doc! { "replSetGetConfig": 1 }).await.ok()?;
        let members = config.get_document("config").ok()?.get_array("members").ok()?.len();
        let status = primary.run_command(doc! { "replSetGetStatus": 1 }).await.ok()?;
        (usize::try_from(status.get_i32("votingMembersCount").ok()?).ok()? == members).then_some(())
    })
    .await;
}

/// Waits until a mongod follows another one.
pub(crate) async fn until_secondary(admin: &mongodb::Database) {
    eventually("the member is secondary", START, async || {
        let hello = admin.run_command(doc! { "hello": 1 }).await.ok()?;
        hello.get_bool("secondary").unwrap_or(false).then_some(())
    })
    .await;
}

/// Makes a member the primary: it stands until it has won.
pub(crate) async fn step_up(member: &Part) {
    let admin = admin_of(member).await;
    eventually("the member is primary", START, async || {
        // Whoever is primary already, or not caught up yet, refuses.
        let _ = admin.run_command(doc! { "replSetStepUp": 1 }).await;
        let hello = admin.run_command(doc! { "hello": 1 }).await.ok()?;
        hello.get_bool("isWritablePrimary").unwrap_or(false).then_some(())
    })
    .await;
}

fn bare_mongod(folder: &Path, oplog_mb: u32) -> Part {
    let (port, arguments) = bare_command(&folder.join("mongod"), oplog_mb);
    Part::start(variable("ROLLKEEPER_TEST_MONGOD").into(), arguments, folder.join("mongod.log"), port)
}

/// A free port, and the arguments of a mongod of a set that listens there.
fn bare_command(data: &Path, oplog_mb: u32) -> (u16, Vec<String>) {
    let port = free_port();
    std::fs::create_dir_all(data).expect("make the data folder");
    // Nothing is forgotten that no checkpoint has, so a short memory needs checkpoints often.
    let checkpoint_every = if oplog_mb < 128 { 1 } else { 60 };
    let line = format!(
        "--replSet rs0 --port {port} --bind_ip 127.0.0.1 --nounixsocket --wiredTigerCacheSizeGB 0.25 \
         --oplogSize {oplog_mb} --syncdelay {checkpoint_every} --setParameter transactionLifetimeLimitSeconds=5 \
         --setParameter enableTestCommands=1 --dbpath"
    );
    let mut arguments: Vec<String> = line.split(' ').map(ToOwned::to_owned).collect();
    arguments.push(data.display().to_string());
    (port, arguments)
}

/// The `admin` database of one mongod, whatever its state in its set.
pub(crate) async fn admin_of(mongod: &Part) -> mongodb::Database {
    let uri = format!("mongodb://{}/?directConnection=true&serverSelectionTimeoutMS=500", mongod.address());
    mongodb::Client::with_uri_str(uri).await.expect("make a client").database("admin")
}

/// Waits until a mongod takes writes.
pub(crate) async fn until_primary(admin: &mongodb::Database) {
    eventually("mongod is primary", START, async || {
        let hello = admin.run_command(doc! { "hello": 1 }).await.ok()?;
        hello.get_bool("isWritablePrimary").unwrap_or(false).then_some(())
    })
    .await;
}

/// Starts a ZooKeeper of one server.
pub(crate) async fn zookeeper(folder: &Path) -> Part {
    let started = zookeeper_with(folder, |port| {
        format!("clientPort={port}\nclientPortAddress=127.0.0.1\nminSessionTimeout=1000\n")
    });
    zookeeper_serves(&started).await;
    started
}

/// Starts a ZooKeeper of one server with the ports and settings of the caller; it may not serve yet.
pub(crate) fn zookeeper_with(folder: &Path, settings: impl Fn(u16) -> String) -> Part {
    let (port, file) = (free_port(), folder.join("zookeeper.cfg"));
    let settings = format!(
        "tickTime=500\ndataDir={}\nadmin.enableServer=false\n4lw.commands.whitelist=*\nmaxClientCnxns=0\n{}",
        folder.join("zookeeper").display(),
        settings(port)
    );
    std::fs::write(&file, settings).expect("write the settings of ZooKeeper");
    let arguments = [
        "-Xmx128m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        &variable("ROLLKEEPER_TEST_ZK_CLASS_PATH"),
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        &file.display().to_string(),
    ]
    .map(ToOwned::to_owned);
    Part::start("java".into(), arguments.into(), folder.join("zookeeper.log"), port)
}

/// Waits until a ZooKeeper server serves.
pub(crate) async fn zookeeper_serves(server: &Part) {
    eventually("ZooKeeper serves", START, async || zookeeper_mode(server).await.map(drop)).await;
}

/// What a ZooKeeper server is (`leader`, `follower`, `standalone`); none while it does not serve.
pub(crate) async fn zookeeper_mode(server: &Part) -> Option<String> {
    mode_of(&server.address()).await
}

/// The same, of the server at an address.
pub(crate) async fn mode_of(address: &str) -> Option<String> {
    let asking = async {
        let mut connection = TcpStream::connect(address).await.ok()?;
        connection.write_all(b"srvr").await.ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.ok()?;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(ToOwned::to_owned)
    };
    // One that comes while the server still starts is taken and never answered.
    tokio::time::timeout(Duration::from_secs(1), asking).await.ok()?
}

/// A port that nobody listens on now, below those that the system gives to outgoing connections: one of these could take
/// the port before the server does, and a client that waits for the server could even be connected with itself.
pub(crate) fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| rand::random_range(20_000..32_000)).find(free).expect("find a free port")
}
