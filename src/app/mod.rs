//! The composition root: everything a replica is made of, built once.
//!
//! Rule: building needs no server to answer. What does is in `prepare`, which keeps trying in the background, so that a
//! replica comes up, says that it lives, and refuses with a cause while MongoDB or the targets are down.

mod identity;
pub mod prepare;
mod scrape;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use anyhow::Context;
use secrecy::ExposeSecret;
use tokio::sync::{OnceCell, mpsc, watch};

use crate::api::auth::Tokens;
use crate::api::passwords::Hasher;
use crate::backup::Repository;
use crate::backup::past::Past;
use crate::cluster::{Claim, Cluster, Member};
use crate::config::Config;
use crate::domain::cause::Cause;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::ids::{DepartmentName, ReplicaId};
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::targets::Targets;
use crate::tasks;
use crate::telemetry::Metrics;

/// What handlers and tasks work with. A clone costs one count, since every request makes several.
#[derive(Debug, Clone)]
pub struct App(Arc<Shared>);

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// What all clones of an [`App`] share.
#[derive(Debug)]
pub struct Shared {
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
    pub repository: Arc<OnceCell<Repository>>,
    /// Reads the past.
    pub past: Past,
    /// Why the repository is not open yet.
    pub repository_cause: Arc<watch::Sender<Option<Cause>>>,
    /// The time.
    pub clock: Clock,
    /// The end.
    pub shutdown: Shutdown,
    /// Who may call.
    pub auth: Arc<Tokens>,
    /// Hashes passwords, a few at a time.
    pub hasher: Arc<Hasher>,
    /// What Prometheus is told.
    pub metrics: Arc<Metrics>,
    /// What it was told last of the departments.
    scrapes: scrape::Scrapes,
    /// When this process started.
    pub started_at: Timestamp,
}

/// A replica that is built and not yet running.
#[derive(Debug)]
pub struct Built {
    /// What handlers and tasks work with.
    pub app: App,
    /// Elections that this replica wins.
    pub claims: mpsc::Receiver<Claim>,
    /// Where the set of departments is told to the elections.
    pub departments: watch::Sender<Arc<BTreeSet<DepartmentName>>>,
}

impl App {
    /// Builds a replica out of its configuration. Works while MongoDB, ZooKeeper and all targets are down.
    ///
    /// # Errors
    /// When a secret cannot be read, or the connection string or a target is not valid.
    pub async fn build(config: Config) -> anyhow::Result<Built> {
        let clock = Clock::System;
        let replica = identity::replica_id(&config.replica)?;
        let uri = config.mongodb.uri()?;
        let store =
            Store::connect(&config.mongodb, uri.expose_secret(), &replica).await.context("connect to MongoDB")?;
        let targets = Targets::open(&config.targets, &clock).context("open the targets")?;
        let me = Member {
            replica: replica.clone(),
            instance: identity::instance(),
            url: config.replica.url.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            draining: false,
        };
        let (departments, watched) = watch::channel(Arc::new(BTreeSet::new()));
        let auth = config.zookeeper.auth()?;
        let (cluster, claims) = Cluster::start(&config.zookeeper, auth, me, watched, clock.clone());
        let token = config.auth.bootstrap_token()?;
        let auth = Tokens::from_bootstrap(token.expose_secret()).context("read the bootstrap token")?;
        let hasher = Hasher::new(&config.http).context("prepare the hashing of passwords")?;
        let metrics = Arc::new(Metrics::new(replica.as_str(), &Store::metrics()));
        targets.count_into(&metrics);
        let repository = Arc::new(OnceCell::new());
        let past = Past::new(store.clone(), targets.clone(), Arc::clone(&repository));
        let app = Self(Arc::new(Shared {
            config: Arc::new(config),
            replica,
            store,
            cluster,
            targets,
            repository,
            past,
            repository_cause: Arc::new(watch::Sender::new(None)),
            started_at: clock.now(),
            clock,
            auth: Arc::new(auth),
            hasher: Arc::new(hasher),
            metrics,
            scrapes: scrape::Scrapes::default(),
            shutdown: Shutdown::default(),
        }));
        Ok(Built { app, claims, departments })
    }

    /// What the tasks of a leader need of it.
    pub fn task_parts(&self) -> tasks::Parts {
        tasks::Parts {
            config: Arc::clone(&self.config),
            store: self.store.clone(),
            cluster: self.cluster.clone(),
            targets: self.targets.clone(),
            repository: Arc::clone(&self.repository),
            past: self.past.clone(),
            clock: self.clock.clone(),
            metrics: Arc::clone(&self.metrics),
            tracker: self.shutdown.tracker.clone(),
        }
    }
}
