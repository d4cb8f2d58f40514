//! The composition root: everything a replica is made of, built once.

use crate::api::auth::Tokens;
use crate::api::passwords::Hasher;
use crate::backup::Repository;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::ids::ReplicaId;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::targets::Targets;
use std::sync::Arc;

/// What handlers and tasks work with. Clones share everything.
#[derive(Debug, Clone)]
pub struct App {
    /// The configuration.
    pub config: Arc<Config>,
    /// Who we are.
    pub replica: ReplicaId,
    /// MongoDB.
    pub store: Store,
    /// ZooKeeper's view.
    pub cluster: Cluster,
    /// The targets.
    pub targets: Targets,
    /// The repository; absent until it could be opened (MongoDB or all targets down at the start).
    pub repository: Arc<tokio::sync::OnceCell<Repository>>,
    /// The time.
    pub clock: Clock,
    /// Who may call.
    pub auth: Arc<Tokens>,
    /// Hashes passwords, a few at a time.
    pub hasher: Arc<Hasher>,
    /// When this process started.
    pub started_at: Timestamp,
    /// The end.
    pub shutdown: Shutdown,
}
