//! What is told of the coordination to people and metrics; nothing is decided by it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Cluster, ClusterView};

impl Cluster {
    /// The view, and every change of it.
    pub fn views(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.view.clone()
    }

    /// How long the lease holds without news from ZooKeeper.
    pub fn lease_left(&self) -> Duration {
        self.shared.lease.left()
    }

    /// How many departments have no leader that this replica knows.
    pub fn leaderless(&self) -> usize {
        let departments = Arc::clone(&self.shared.departments.borrow());
        let view = self.view();
        departments.iter().filter(|department| !view.leaders.contains_key(*department)).count()
    }
}
