//! Changes of MongoDB's primary: a member that stands, and a primary that is killed or frozen.
//!
//! What was not acknowledged meanwhile may be there or not; what was acknowledged is.

use mongodb::bson::doc;
use rand::Rng as _;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::driver::Driver;
use super::faults::Down;
use super::{MEMBERS, PATIENCE};
use crate::harness::parts::{Part, admin_of, member, until_secondary};
use crate::harness::{Stack, eventually};

/// The members of the replica set, and what is the matter with them.
#[derive(Debug)]
pub(super) struct Members {
    parts: Vec<Part>,
    down: Option<(usize, Down)>,
    standing: Option<JoinHandle<()>>,
}

impl Members {
    /// Adds members to the MongoDB of a stack that has no replica yet; everybody is told of all of them.
    pub(super) async fn join(stack: &mut Stack) -> Self {
        let mut parts = vec![stack.mongod.take().expect("have a mongod of its own")];
        for n in 2..=MEMBERS {
            parts.push(member(stack.folder.path(), &parts[0], &format!("mongod-{n}")).await);
        }
        let addresses: Vec<String> = parts.iter().map(Part::address).collect();
        stack.place.mongodb = format!("mongodb://{}/?replicaSet=rs0", addresses.join(","));
        Self { parts, down: None, standing: None }
    }

    /// Which member says that it is the primary.
    async fn primary(&self) -> Option<usize> {
        for (n, part) in self.parts.iter().enumerate() {
            if self.down.is_some_and(|(down, _)| down == n) {
                continue;
            }
            let hello = admin_of(part).await.run_command(doc! { "hello": 1 }).await;
            if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
                return Some(n);
            }
        }
        None
    }
}

impl Driver {
    /// Lets another member become the primary while things go on, or brings back the one that is down.
    pub(super) async fn change_primary(&mut self) {
        if self.members.down.is_some() || self.members.standing.is_some() {
            return self.mend_primary().await;
        }
        let Some(primary) = self.members.primary().await else { return };
        let how = self.random.random_range(0..4);
        match how {
            0 | 1 => {
                let next = (primary + 1 + self.random.random_range(0..MEMBERS - 1)) % MEMBERS;
                let admin = admin_of(&self.members.parts[next]).await;
                // One that is not caught up is refused, and then nothing happens.
                let stand = async move { drop(admin.run_command(doc! { "replSetStepUp": 1 }).await) };
                self.members.standing = Some(Handle::current().spawn(stand));
                self.told("primary steps down", format_args!("{} for {}", primary + 1, next + 1));
            }
            2 => {
                self.members.parts[primary].process.kill();
                self.members.down = Some((primary, Down::Dead));
                self.told("primary dead", primary + 1);
            }
            _ => {
                self.members.parts[primary].process.freeze();
                self.members.down = Some((primary, Down::Frozen));
                self.told("primary frozen", primary + 1);
            }
        }
        if self.random.random() {
            // Nothing else happens before there is a new one.
            self.until_there_is_a_primary().await;
        }
    }

    async fn until_there_is_a_primary(&self) {
        eventually("there is a primary", PATIENCE, async || self.members.primary().await).await;
    }

    /// Brings back the member that is down, and waits for a primary.
    pub(super) async fn mend_primary(&mut self) {
        if let Some(standing) = self.members.standing.take() {
            standing.await.expect("stand");
        }
        self.until_there_is_a_primary().await;
        if let Some((n, how)) = self.members.down.take() {
            match how {
                Down::Dead => self.members.parts[n].restart(),
                Down::Frozen => self.members.parts[n].process.thaw(),
            }
            until_secondary(&admin_of(&self.members.parts[n]).await).await;
            self.told("member back", n + 1);
        }
        self.until_there_is_a_primary().await;
    }
}
