//! One target: an object store with a name, a time limit for each operation, and a status.
//!
//! Rule: an operation that hangs keeps its permit until it really ends, so a dead disk costs at most
//! `IN_FLIGHT_MAX` threads, and the callers still hear `Timeout` in time.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use tokio::sync::Semaphore;

use super::bucket;
use super::error::{TargetError, io_error, state_name, state_of};
use super::layout::ObjectPath;
use super::place::{Place, Refusal, down};
use crate::config::targets::TargetConfig;
use crate::domain::cause::Cause;
use crate::domain::clock::Clock;
use crate::domain::copies::{TargetState, TargetStatus};
use crate::domain::ids::TargetName;
use crate::telemetry::Metrics;

/// Operations that may be under way on one target.
const IN_FLIGHT_MAX: usize = 16;
/// How many of them may be reads: whoever reads far ahead leaves room for those who write.
const READS_MAX: usize = 12;
/// How often an object is put that somebody else seems to put at the same time.
const PUTS_MAX: usize = 3;

/// One target.
#[derive(Debug)]
pub struct Target {
    name: TargetName,
    pub(super) store: Arc<dyn ObjectStore>,
    /// It must be the admitted one before anything is written.
    pub(super) place: Place,
    timeout: Duration,
    permits: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    clock: Clock,
    status: Mutex<TargetStatus>,
    /// Where its operations are counted; absent in commands.
    pub(super) meter: OnceLock<Arc<Metrics>>,
}

/// What an operation does to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Read,
    Write,
}

impl Target {
    /// Opens a target of the configuration; makes its directory where only that is missing.
    pub(crate) fn open(config: &TargetConfig, timeout: Duration, clock: Clock) -> Result<Self, TargetError> {
        let refuse = |reason: String| TargetError::Config(format!("target `{}`: {reason}", config.name));
        let name: TargetName = config.name.parse().map_err(|invalid| refuse(format!("{invalid}")))?;
        let url = url::Url::parse(&config.url).map_err(|_| refuse("the URL cannot be parsed".to_owned()))?;
        let (store, place) = Place::open(config, &url, timeout).map_err(refuse)?;
        let status = TargetStatus { name: name.clone(), state: TargetState::Ok, cause: None, since: clock.now() };
        let permits = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let reads = Arc::new(Semaphore::new(READS_MAX));
        Ok(Self {
            name,
            store,
            place,
            timeout,
            permits,
            reads,
            clock,
            status: Mutex::new(status),
            meter: OnceLock::new(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &TargetName {
        &self.name
    }

    /// Whether it works, as of the last operation.
    pub fn status(&self) -> TargetStatus {
        self.locked().clone()
    }

    /// Whether the last operation got no answer.
    pub fn hangs(&self) -> bool {
        matches!(self.locked().state, TargetState::Down | TargetState::Slow)
    }

    /// Sets a state that outlives operations: `Foreign` when it holds another repository, `Ok` to lift that.
    pub fn set_state(&self, state: TargetState, cause: Option<Cause>) {
        let now = self.clock.now();
        let mut status = self.locked();
        if status.state != state {
            status.since = now;
        }
        status.state = state;
        status.cause = cause;
    }

    /// Writes an object once, durably. Writing the same bytes again is no error.
    ///
    /// # Errors
    /// `Differs` when other bytes are there; `Failed` or `Timeout` when it did not work (the outcome may be unknown).
    pub async fn put(&self, path: &ObjectPath, bytes: Bytes) -> Result<(), TargetError> {
        let mut last = Ok(());
        for _ in 0..PUTS_MAX {
            last = self.write(path, bytes.clone(), PutMode::Create).await;
            // It may be there, by this put or by another one: read before it is written again.
            let maybe_there = matches!(last, Err(TargetError::Differs { .. } | TargetError::Unknown { .. }));
            if !maybe_there {
                return last;
            }
            match self.compare(path, &bytes).await {
                Err(error) if error.is_not_found() => {}
                outcome => return outcome,
            }
        }
        // The reads worked, and the puts did not.
        self.note(Act::Write, last.as_ref().err());
        last
    }

    /// Whether what is there already are the same bytes. A read that stands for a write, so the place has to be the right one.
    async fn compare(&self, path: &ObjectPath, bytes: &Bytes) -> Result<(), TargetError> {
        let (store, at) = (Arc::clone(&self.store), Path::from(path.as_str()));
        let reading = async move { store.get(&at).await?.bytes().await };
        if self.run(Act::Write, path.as_str(), reading).await? == bytes {
            return Ok(());
        }
        Err(TargetError::Differs { target: self.name.to_string(), path: path.to_string() })
    }

    /// Writes an object over a damaged copy of itself. The caller has checked that these are the right bytes.
    ///
    /// # Errors
    /// `Failed` or `Timeout`.
    pub async fn repair(&self, path: &ObjectPath, bytes: Bytes) -> Result<(), TargetError> {
        self.write(path, bytes, PutMode::Overwrite).await
    }

    async fn write(&self, path: &ObjectPath, bytes: Bytes, mode: PutMode) -> Result<(), TargetError> {
        let (store, at) = (Arc::clone(&self.store), Path::from(path.as_str()));
        let size = bytes.len();
        let writing = async move { store.put_opts(&at, bytes.into(), mode.into()).await.map(drop) };
        match self.run(Act::Write, path.as_str(), writing).await {
            Err(TargetError::NotFound { .. }) => {
                Err(self.failed(TargetState::Down, "the place of the object is not there".to_owned()))
            }
            outcome => {
                if outcome.is_ok() {
                    self.count_bytes(Act::Write, size);
                }
                outcome
            }
        }
    }

    /// Reads a whole object.
    ///
    /// # Errors
    /// `NotFound`, `Failed` or `Timeout`.
    pub async fn get(&self, path: &ObjectPath) -> Result<Bytes, TargetError> {
        let (store, at) = (Arc::clone(&self.store), Path::from(path.as_str()));
        let bytes = self.run(Act::Read, path.as_str(), async move { store.get(&at).await?.bytes().await }).await?;
        self.count_bytes(Act::Read, bytes.len());
        Ok(bytes)
    }

    /// Size of an object in bytes, if it is there.
    ///
    /// # Errors
    /// `Failed` or `Timeout`.
    pub async fn size(&self, path: &ObjectPath) -> Result<Option<u64>, TargetError> {
        let (store, at) = (Arc::clone(&self.store), Path::from(path.as_str()));
        let in_bucket = matches!(self.place, Place::Bucket(_));
        let asking = async move {
            if in_bucket { bucket::size(&*store, &at).await } else { store.head(&at).await.map(|meta| meta.size) }
        };
        match self.run(Act::Read, path.as_str(), asking).await {
            Ok(size) => Ok(Some(size)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Paths of all objects below a prefix, in no particular order.
    ///
    /// # Errors
    /// `Failed` or `Timeout`.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectPath>, TargetError> {
        let (store, at) = (Arc::clone(&self.store), Path::from(prefix));
        let listing = async move {
            let found = store.list(Some(&at)).map_ok(|meta| meta.location.as_ref().to_owned());
            found.try_collect::<Vec<String>>().await
        };
        match self.run(Act::Read, prefix, listing).await {
            Ok(names) => Ok(names.into_iter().map(ObjectPath::from_stored).collect()),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Runs one operation with permit and time limit in the admitted place, and notes what it says about the target.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        act: Act,
        path: &str,
        operation: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, TargetError> {
        let (place, object) = (self.place.clone(), path.to_owned());
        let checked = async move {
            place.check(act, &object).await?;
            let done = operation.await;
            place.check_after(act, &object, done.as_ref().map(drop)).await?;
            Ok(done)
        };
        self.guarded(act, path, checked.boxed()).await
    }

    /// Runs something with permit and time limit, and notes what it says about the target.
    #[expect(clippy::disallowed_methods, reason = "a hung operation must keep its permit after its caller has left")]
    pub(super) async fn guarded<T: Send + 'static>(
        &self,
        act: Act,
        path: &str,
        operation: BoxFuture<'static, Result<object_store::Result<T>, Refusal>>,
    ) -> Result<T, TargetError> {
        if self.locked().state == TargetState::Foreign {
            return Err(self.failed(TargetState::Foreign, "it holds another repository".to_owned()));
        }
        let permits = Arc::clone(&self.permits);
        let reads = (act == Act::Read).then(|| Arc::clone(&self.reads));
        let waiting = async move {
            let closed = |_| down("the target is closed");
            let read = match reads {
                Some(reads) => Some(reads.acquire_owned().await.map_err(closed)?),
                None => None,
            };
            let permit = permits.acquire_owned().await.map_err(closed)?;
            let task = tokio::spawn(async move {
                let _held_until_it_ends = (permit, read);
                operation.await
            });
            task.await.unwrap_or_else(|_| Err(down("the operation was broken off")))
        };
        let began = Instant::now();
        let result = match tokio::time::timeout(self.timeout, waiting).await {
            Err(_) => Err(TargetError::Timeout { target: self.name.to_string(), seconds: self.timeout.as_secs() }),
            Ok(Err((state, reason))) => Err(self.failed(state, reason)),
            Ok(Ok(done)) => done.map_err(|error| self.translate(act, path, &error)),
        };
        self.count(act, began, result.as_ref().err());
        self.note(act, result.as_ref().err());
        result
    }

    fn translate(&self, act: Act, path: &str, error: &object_store::Error) -> TargetError {
        let (target, path) = (self.name.to_string(), path.to_owned());
        match error {
            object_store::Error::NotFound { .. } => TargetError::NotFound { target, path },
            object_store::Error::AlreadyExists { .. } => TargetError::Differs { target, path },
            other => {
                let (state, reason) = match (&self.place, io_error(other)) {
                    (Place::Bucket(bucket), _) => bucket.explain(act, &path, other),
                    (_, Some(io)) => (state_of(act, io), io.to_string()),
                    (_, None) => down(other.to_string()),
                };
                if act == Act::Write && bucket::outcome_unknown(other) {
                    return TargetError::Unknown { target, reason };
                }
                self.failed(state, reason)
            }
        }
    }

    fn failed(&self, state: TargetState, reason: String) -> TargetError {
        TargetError::Failed { target: self.name.to_string(), state, reason }
    }

    /// A read that works does not show that a full or read-only target takes writes again.
    fn note(&self, act: Act, error: Option<&TargetError>) {
        let (state, cause) = match error {
            Some(TargetError::Failed { state, .. }) => (*state, error),
            Some(TargetError::Timeout { .. }) => (TargetState::Slow, error),
            Some(TargetError::Unknown { .. }) => (TargetState::Down, error),
            _ => (TargetState::Ok, None),
        };
        let now = self.status().state;
        let keeps = act == Act::Read && matches!(now, TargetState::Full | TargetState::ReadOnly);
        if now == TargetState::Foreign || (state == TargetState::Ok && keeps) {
            return;
        }
        let cause = cause.map(|error| Cause::new(&format!("target_{}", state_name(state)), error.to_string()));
        self.set_state(state, cause);
    }

    fn locked(&self) -> MutexGuard<'_, TargetStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Target {
    /// The same target with a pause before each read.
    pub(crate) fn slowed(mut self, wait_get_per_call: Duration) -> Self {
        use object_store::throttle::{ThrottleConfig, ThrottledStore};
        let config = ThrottleConfig { wait_get_per_call, ..ThrottleConfig::default() };
        self.store = Arc::new(ThrottledStore::new(self.store, config));
        self
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
