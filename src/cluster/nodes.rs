//! The znodes: their paths, what stands in them, and who may touch them.
//!
//! Rule: nobody, ourselves included, gets the right to change an ACL.

use serde::{Deserialize, Serialize};
use zookeeper_client::{Acl, Acls, AuthId, CreateMode, CreateOptions, Permission};

use crate::domain::clock::Timestamp;
use crate::domain::epoch::Epoch;
use crate::domain::ids::{DepartmentName, ReplicaId};

use super::{Leader, Member};

/// Parent of the replicas.
pub(super) const REPLICAS: &str = "/replicas";
/// Parent of the departments.
pub(super) const DEPARTMENTS: &str = "/departments";

/// Node of one replica.
pub(super) fn replica(id: &ReplicaId) -> String {
    format!("{REPLICAS}/{id}")
}

/// The paths of one department.
#[derive(Debug)]
pub(super) struct DepartmentPaths {
    /// The department itself.
    pub(super) department: String,
    /// Its counter.
    pub(super) epoch: String,
    /// Its leader.
    pub(super) leader: String,
}

impl DepartmentPaths {
    /// The paths of `name`.
    pub(super) fn new(name: &DepartmentName) -> Self {
        let department = format!("{DEPARTMENTS}/{name}");
        Self { epoch: format!("{department}/epoch"), leader: format!("{department}/leader"), department }
    }
}

/// What stands in a replica's node.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReplicaNode {
    instance: String,
    url: Option<String>,
    version: String,
    draining: bool,
}

impl ReplicaNode {
    /// The bytes for a member.
    pub(super) fn encode(member: &Member, draining: bool) -> Vec<u8> {
        encode(&Self {
            instance: member.instance.clone(),
            url: member.url.clone(),
            version: member.version.clone(),
            draining,
        })
    }

    /// The member that a node names; none if it is not one of ours.
    pub(super) fn decode(name: &str, bytes: &[u8]) -> Option<Member> {
        let Self { instance, url, version, draining } = serde_json::from_slice(bytes).ok()?;
        Some(Member { replica: name.parse().ok()?, instance, url, version, draining })
    }
}

/// What stands in a leader's node.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LeaderNode {
    /// The replica that leads.
    pub(super) replica: String,
    /// Run of its process.
    pub(super) instance: String,
    /// Random name of the claim.
    pub(super) claim: String,
    /// Where clients reach it.
    pub(super) url: Option<String>,
    /// Its epoch.
    pub(super) epoch: i64,
    /// Since when, in milliseconds since the Unix epoch.
    pub(super) since: i64,
}

impl LeaderNode {
    /// Its bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a leader's node; none if it is not one of ours.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The leader as the view shows it.
    pub(super) fn leader(&self) -> Option<Leader> {
        Some(Leader {
            replica: self.replica.parse().ok()?,
            epoch: Epoch(self.epoch),
            since: Timestamp::from_millis(self.since),
        })
    }
}

fn encode(node: &impl Serialize) -> Vec<u8> {
    // Cannot fail: strings, numbers and booleans only.
    serde_json::to_vec(node).unwrap_or_default()
}

/// Everything but the right to change an ACL.
fn rights() -> Permission {
    Permission::READ | Permission::WRITE | Permission::CREATE | Permission::DELETE
}

/// The ACL of all our nodes.
#[derive(Debug, Clone)]
pub(super) struct Access([Acl; 1]);

impl Access {
    /// For the digest identity of the session if there is one, else for everybody; never the right to change ACLs.
    pub(super) fn new(authenticated: bool) -> Self {
        // The server replaces `auth` by the identity that the session has shown.
        let who = if authenticated { AuthId::authed() } else { AuthId::anyone() };
        Self([Acl::new(rights(), who)])
    }

    /// For one certificate, and no other identity that the session may have shown besides.
    pub(super) fn x509(id: &str) -> Self {
        Self([Acl::new(rights(), AuthId::new("x509", id))])
    }

    /// Whether nobody is kept out.
    pub(super) fn is_for_everybody(&self) -> bool {
        self.0.iter().any(|acl| acl.scheme() == "world")
    }

    /// Options for a node that stays.
    pub(super) fn persistent(&self) -> CreateOptions<'_> {
        CreateMode::Persistent.with_acls(Acls::new(&self.0))
    }

    /// Options for a node that goes with the session.
    pub(super) fn ephemeral(&self) -> CreateOptions<'_> {
        CreateMode::Ephemeral.with_acls(Acls::new(&self.0))
    }
}
