//! A replica set of MongoDB of a test's own: members that die, hang, stop following and come back.
//!
//! Elections come after two seconds instead of ten, so that a change of primary is soon over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use mongodb::Database;
use mongodb::bson::{Document, doc};
use tempfile::TempDir;

use super::eventually;
use super::parts::{Part, admin_of, bare_member, until_primary, until_secondary};

/// The longest that an election, or the start of a member, may take on a busy machine.
const WITHIN: Duration = Duration::from_mins(2);

/// What is the matter with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Down {
    Dead,
    Frozen,
}

/// The members, by number.
#[derive(Debug)]
pub(crate) struct Members {
    parts: Vec<Part>,
    down: BTreeMap<usize, Down>,
    folder: TempDir,
}

impl Members {
    /// Starts a replica set of so many members; all of them follow its primary.
    pub(crate) async fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let parts: Vec<Part> = (0..count).map(|n| bare_member(folder.path(), &format!("mongod-{n}"))).collect();
        let started = Self { parts, down: BTreeMap::new(), folder };
        for n in 0..count {
            let admin = started.admin(n).await;
            eventually("the member serves", WITHIN, async || admin.run_command(doc! { "ping": 1 }).await.ok()).await;
        }
        let member = |(n, part): (i32, &Part)| doc! { "_id": n, "host": part.address() };
        let members: Vec<Document> = (0..).zip(&started.parts).map(member).collect();
        // A new primary waits for word of the one that hangs until this has passed.
        let settings =
            doc! { "electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500, "heartbeatTimeoutSecs": 2 };
        let set = doc! { "_id": "rs0", "members": members, "settings": settings };
        let first = started.admin(0).await;
        first.run_command(doc! { "replSetInitiate": set }).await.expect("initiate the replica set");
        let primary = started.until_primary().await;
        until_primary(&started.admin(primary).await).await;
        for n in (0..count).filter(|n| *n != primary) {
            until_secondary(&started.admin(n).await).await;
        }
        started
    }

    /// Where clients find the set.
    pub(crate) fn uri(&self) -> String {
        let addresses: Vec<String> = self.parts.iter().map(Part::address).collect();
        format!("mongodb://{}/?replicaSet=rs0", addresses.join(","))
    }

    /// How many members there are.
    pub(crate) fn count(&self) -> usize {
        self.parts.len()
    }

    /// The `admin` database of one member, whatever its state.
    pub(crate) async fn admin(&self, n: usize) -> Database {
        admin_of(&self.parts[n]).await
    }

    /// Where a member keeps its data.
    pub(crate) fn data(&self, n: usize) -> PathBuf {
        self.folder.path().join(format!("mongod-{n}"))
    }

    /// Which member says that it is the primary; those that are down are not asked.
    pub(crate) async fn primary(&self) -> Option<usize> {
        for n in (0..self.count()).filter(|n| !self.down.contains_key(n)) {
            let hello = self.admin(n).await.run_command(doc! { "hello": 1 }).await;
            if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
                return Some(n);
            }
        }
        None
    }

    /// Waits until there is a primary.
    pub(crate) async fn until_primary(&self) -> usize {
        eventually("there is a primary", WITHIN, async || self.primary().await).await
    }

    /// Whether any member is down.
    pub(crate) fn any_down(&self) -> bool {
        !self.down.is_empty()
    }

    /// Crashes a member (SIGKILL).
    pub(crate) fn kill(&mut self, n: usize) {
        self.parts[n].process.kill();
        self.down.insert(n, Down::Dead);
    }

    /// Lets a member hang (SIGSTOP).
    pub(crate) fn freeze(&mut self, n: usize) {
        self.parts[n].process.freeze();
        self.down.insert(n, Down::Frozen);
    }

    /// Brings back the members that are down, and waits until they follow; tells which they were.
    pub(crate) async fn bring_back(&mut self) -> Vec<usize> {
        let down = std::mem::take(&mut self.down);
        for (n, how) in &down {
            match how {
                Down::Dead => self.parts[*n].restart(),
                Down::Frozen => self.parts[*n].process.thaw(),
            }
        }
        for n in down.keys() {
            until_secondary(&self.admin(*n).await).await;
        }
        down.into_keys().collect()
    }

    /// Makes the primary give way to another member; asked again until one has caught up.
    pub(crate) async fn step_down(&self) -> usize {
        let primary = self.until_primary().await;
        let admin = self.admin(primary).await;
        eventually("the primary steps down", WITHIN, async || {
            let asked = doc! { "replSetStepDown": 10, "secondaryCatchUpPeriodSecs": 5 };
            admin.run_command(asked).await.ok()
        })
        .await;
        primary
    }

    /// Makes a member the primary.
    pub(crate) async fn step_up(&self, n: usize) {
        super::parts::step_up(&self.parts[n]).await;
    }

    /// Lets members no longer take in what the primary writes, or go on with it; they stay in touch with it.
    pub(crate) async fn follow(&self, members: &[usize], follows: bool) {
        for n in members {
            let mode = if follows { "off" } else { "alwaysOn" };
            let point = doc! { "configureFailPoint": "stopReplProducer", "mode": mode };
            self.admin(*n).await.run_command(point).await.expect("set what the member takes in");
        }
    }
}
