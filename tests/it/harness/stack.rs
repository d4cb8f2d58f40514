//! A stack of a test's own: database, chroot, targets, replicas. Dropping it ends and removes all of it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use age::secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Answer, Client};
use super::parts::{self, Part};
use super::records::hash_number;
use super::replica::Replica;
use super::settings::{Place, Settings};
use super::{eventually, unique, variable};

const READY: Duration = Duration::from_mins(1);

/// A running stack.
#[derive(Debug)]
pub(crate) struct Stack {
    /// The replicas, `r1` first.
    pub(crate) replicas: Vec<Replica>,
    /// The MongoDB of its own, if asked for.
    pub(crate) mongod: Option<Part>,
    /// The ZooKeeper of its own, if asked for.
    pub(crate) zookeeper: Option<Part>,
    /// The bootstrap token.
    pub(crate) token: String,
    /// Where its parts are.
    pub(crate) place: Place,
    /// Its files: `targets/t1`, …, `identity`, `r1.toml`, `r1.log`, ….
    pub(crate) folder: TempDir,
}

impl Stack {
    /// Starts a stack as the settings say; all replicas are ready, know each other, and `default` has a leader.
    pub(crate) async fn start(settings: Settings) -> Self {
        let mut stack = Self::prepare(&settings).await;
        stack.serve(&settings).await;
        stack
    }

    /// Starts the replicas; when it returns they are ready, know each other, and `default` has a leader.
    pub(crate) async fn serve(&mut self, settings: &Settings) {
        for index in 0..settings.replicas {
            self.add_replica(settings, index);
        }
        for replica in &self.replicas {
            let what = format!("{} is ready", replica.id);
            eventually(&what, READY, async || self.is_ready(&replica.client).await.then_some(())).await;
        }
        for replica in &self.replicas {
            // Readiness is about /users: the cluster may still be unknown.
            let what = format!("{} knows all replicas", replica.id);
            eventually(&what, READY, async || {
                (members_seen_by(&replica.client).await >= settings.replicas).then_some(())
            })
            .await;
        }
        self.leader_of("default").await;
    }

    /// A stack whose database is migrated, and that has no replica yet.
    pub(crate) async fn prepare(settings: &Settings) -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let path = folder.path();
        for n in 1..=settings.targets {
            std::fs::create_dir_all(path.join(format!("targets/t{n}"))).expect("make a target");
        }
        let identity = age::x25519::Identity::generate();
        let token = unique("bootstrap");
        write(path, "identity", identity.to_string().expose_secret());
        write(path, "token", &token);
        write(path, "zookeeper-auth", &format!("rollkeeper:{}", unique("digest")));
        let mongod = if settings.own_mongod { Some(parts::mongod(path, settings.oplog_mb).await) } else { None };
        let zookeeper = if settings.own_zookeeper { Some(parts::zookeeper(path).await) } else { None };
        let mongodb = mongod.as_ref().map(|part| format!("mongodb://{}/?replicaSet=rs0", part.address()));
        let place = Place {
            mongodb: mongodb
                .or_else(|| settings.mongodb.clone())
                .unwrap_or_else(|| variable("ROLLKEEPER_TEST_MONGODB_URI")),
            database: unique("it"),
            zookeeper: (zookeeper.as_ref().map(Part::address))
                .or_else(|| settings.zookeeper.clone())
                .unwrap_or_else(|| variable("ROLLKEEPER_TEST_ZOOKEEPER")),
            chroot: format!("/{}", unique("it")),
            recipient: identity.to_public().to_string(),
        };
        let stack = Self { replicas: Vec::new(), mongod, zookeeper, token, place, folder };
        stack.migrate(settings);
        stack
    }

    /// Runs `rollkeeper migrate` for the database and the chroot of its place.
    pub(crate) fn migrate(&self, settings: &Settings) {
        let config = self.folder.path().join("migrate.toml");
        std::fs::write(&config, settings.toml(&self.place, self.folder.path(), 0, 0)).expect("write a file");
        let done = Command::new(&settings.binary).arg("migrate").arg("--config").arg(config).output();
        let done = done.expect("run `rollkeeper migrate`");
        assert!(done.status.success(), "migrate: {}", String::from_utf8_lossy(&done.stderr));
    }

    pub(crate) fn add_replica(&mut self, settings: &Settings, index: usize) {
        let (id, port) = (format!("r{}", index + 1), parts::free_port());
        let config = self.folder.path().join(format!("{id}.toml"));
        std::fs::write(&config, settings.toml(&self.place, self.folder.path(), index, port)).expect("write a file");
        let home = settings.home(index);
        let url = format!("http://{}:{port}", home.host);
        self.replicas.push(Replica::start(id, url, &self.token, home.command(&settings.binary), config));
    }

    pub(crate) async fn is_ready(&self, client: &Client) -> bool {
        let answer = client.try_send(reqwest::Method::GET, "/readyz", &[], None).await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// The repository as one target and the identity file give it.
    pub(crate) fn repository(&self) -> rollkeeper::backup::Repository {
        let path = self.folder.path();
        let identity = std::fs::read_to_string(path.join("identity")).expect("read the identity");
        let target = path.join("targets/t1");
        let key = std::fs::read(target.join("rollkeeper.key")).expect("read the repository key");
        let marker = std::fs::read(target.join("rollkeeper.json")).expect("read the marker");
        let marker: serde_json::Value = serde_json::from_slice(&marker).expect("be JSON");
        let id = marker["repository_id"].as_str().expect("have an id");
        let recipients = std::slice::from_ref(&self.place.recipient);
        rollkeeper::backup::Repository::from_sealed(id, &key, recipients, &identity.into())
            .expect("open the repository")
    }

    /// A client of the first replica.
    pub(crate) fn client(&self) -> &Client {
        &self.replicas[0].client
    }

    /// The replica with that id.
    pub(crate) fn replica(&mut self, id: &str) -> &mut Replica {
        self.replicas.iter_mut().find(|replica| replica.id == id).expect("know the replica")
    }

    /// Crashes a replica for good (SIGKILL); the harness asks the first of the others from now on.
    pub(crate) fn crash(&mut self, id: &str) {
        self.replica(id).kill();
        self.replicas.retain(|replica| replica.id != id);
    }

    /// Waits until a department has a leader, as the first replica sees it.
    pub(crate) async fn leader_of(&self, department: &str) -> Value {
        leader_seen_by(self.client(), department, |_| true).await
    }

    /// Makes a department with the default policy.
    pub(crate) async fn department(&self, name: &str) {
        let answer = self.client().put(&format!("/departments/{name}"), json!({})).await;
        assert!(answer.status.is_success(), "{}", answer.text);
        self.leader_of(name).await;
    }

    /// Imports `count` users, `<department>-00000` first, each with a ready hash of its own.
    pub(crate) async fn create_users(&self, department: &str, count: usize) {
        let line = |n| {
            let hash = hash_number(n as u64);
            let name = format!("User {n:05} ü");
            json!({ "id": format!("{department}-{n:05}"), "department": department, "name": name, "password_hash": hash })
        };
        let body: String = (0..count).map(|n| line(n).to_string() + "\n").collect();
        self.import(body).await.expect(200);
    }

    /// Imports lines of NDJSON.
    pub(crate) async fn import(&self, body: String) -> Answer {
        let headers = [("content-type", "application/x-ndjson")];
        self.client().send(reqwest::Method::POST, "/users/import", &headers, Some(body)).await
    }

    /// Takes a backup and waits until it is complete.
    pub(crate) async fn backup(&self, department: &str) -> Value {
        let job = self.client().post("/backups", json!({ "department": department })).await.expect(202);
        self.ended(job.header("location"), "complete").await
    }

    /// Waits until every target holds the backup of the first slot: after it, nothing is written by itself until the next
    /// slot.
    pub(crate) async fn first_slot_done(&self, department: &str) {
        eventually("the backup of the first slot is everywhere", READY, async || {
            let listed = self.client().get(&format!("/backups?department={department}")).await.expect(200).json;
            let first = listed["items"].as_array()?.iter().find(|backup| backup["kind"] == "scheduled")?;
            first["copies"].as_array()?.iter().all(|copy| copy["state"] == "present").then_some(())
        })
        .await;
    }

    /// Starts a restore, and returns the job as it was accepted.
    pub(crate) async fn restore(&self, body: Value) -> Answer {
        self.client().post("/restores", body).await.expect(202)
    }

    /// Waits until a job has ended, and insists on how.
    pub(crate) async fn ended(&self, location: &str, state: &str) -> Value {
        let job = eventually(&format!("{location} has ended"), READY, async || {
            let job = self.client().get(location).await.expect(200).json;
            matches!(job["state"].as_str(), Some("complete" | "failed" | "cancelled")).then_some(job)
        })
        .await;
        assert_eq!(job["state"], state, "{job}");
        job
    }

    /// All users of a department, page by page, in the order of the API.
    pub(crate) async fn all_users(&self, department: &str) -> Vec<Value> {
        let (mut users, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/users?department={department}&limit=1000{cursor}");
            let page = self.client().get(&path).await.expect(200).json;
            users.extend(page["items"].as_array().expect("have items").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return users,
            }
        }
    }
}

/// How many live replicas one of them sees.
async fn members_seen_by(client: &Client) -> usize {
    client.get("/cluster").await.json["replicas"].as_array().map_or(0, Vec::len)
}

/// Waits until a department has a leader that pleases the caller, as one replica sees it.
pub(crate) async fn leader_seen_by(client: &Client, department: &str, pleases: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{department} has a leader"), READY, async || {
        let seen = client.get(&format!("/departments/{department}")).await;
        let leader = seen.json.get("leader").filter(|leader| leader.is_object() && pleases(leader));
        leader.cloned()
    })
    .await
}

/// Waits until every target has a whole copy of a backup.
pub(crate) async fn present_everywhere(stack: &Stack, backup: &Value) -> Value {
    let path = format!("/backups/{}", backup["id"].as_str().expect("have an id"));
    let whole = "the backup lies on every target";
    eventually(whole, READY, async || {
        let backup = stack.client().get(&path).await.expect(200).json;
        let copies = backup["copies"].as_array().expect("have copies").clone();
        copies.iter().all(|copy| copy["state"] == "present").then_some(backup)
    })
    .await
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), format!("{text}\n")).expect("write a file");
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for replica in &self.replicas {
                let log = replica.log();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("--- the end of the log of {}", replica.id);
                eprintln!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
            }
        }
        self.replicas.clear();
        if self.mongod.is_none() {
            let (uri, database) = (self.place.mongodb.clone(), self.place.database.clone());
            // A thread of its own, since a runtime cannot be blocked from inside.
            let _ = std::thread::spawn(move || drop_database(&uri, &database)).join();
        }
    }
}

fn drop_database(uri: &str, database: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("build a runtime");
    runtime.block_on(async {
        if let Ok(client) = mongodb::Client::with_uri_str(uri).await {
            // What stays behind goes with the parts at the end of the run, so the open transaction of a killed replica
            // is not waited for.
            let _ = tokio::time::timeout(Duration::from_secs(1), client.database(database).drop()).await;
        }
    });
}
