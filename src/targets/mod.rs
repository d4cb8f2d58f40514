//! Targets: places that hold objects. The only module that names `object_store`.
//!
//! Rules: an object is written once and never changed; a write is durable when the store says so after syncing file and
//! folder; `layout` spells every object path.

pub mod aged;
mod bucket;
pub mod doctor;
pub mod error;
pub mod layout;
mod listing;
mod look;
mod meter;
mod place;
mod root;
pub mod target;
mod unfinished;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::targets::TargetsConfig;
use crate::domain::copies::TargetStatus;
use crate::domain::ids::TargetName;

use layout::ObjectPath;

pub use error::TargetError;
pub use target::Target;

/// All configured targets and the write quorum.
#[derive(Debug, Clone)]
pub struct Targets {
    list: Arc<[Arc<Target>]>,
    quorum: usize,
}

impl Targets {
    /// Opens every target of the configuration. A target that is down is still opened.
    ///
    /// # Errors
    /// When a URL is not supported, a name is taken twice, or the quorum is not between 1 and the number of targets.
    pub fn open(config: &TargetsConfig, clock: &crate::domain::clock::Clock) -> Result<Self, TargetError> {
        let mut list: Vec<Arc<Target>> = Vec::new();
        for entry in &config.list {
            let target = Target::open(entry, config.operation_timeout, clock.clone())?;
            if list.iter().any(|other| other.name() == target.name()) {
                return Err(TargetError::Config(format!("the target name `{}` is taken twice", target.name())));
            }
            list.push(Arc::new(target));
        }
        let quorum = config.write_quorum.unwrap_or(list.len() / 2 + 1);
        if quorum == 0 || quorum > list.len() {
            return Err(TargetError::Config(format!(
                "targets.write_quorum is {quorum}; it must be between 1 and the number of targets, {}",
                list.len()
            )));
        }
        Ok(Self { list: list.into(), quorum })
    }

    /// The targets in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.list.iter()
    }

    /// The targets, those that worked last first: a read asks a hanging one only when no other has it.
    pub fn by_health(&self) -> Vec<&Arc<Target>> {
        let mut targets: Vec<&Arc<Target>> = self.list.iter().collect();
        targets.sort_by_key(|target| target.hangs());
        targets
    }

    /// Paths of all objects below a prefix, on any target that works; on any at all, when none does.
    ///
    /// # Errors
    /// The last error, when no target answers.
    pub async fn list(&self, prefix: &str) -> Result<BTreeSet<ObjectPath>, TargetError> {
        let mut asked: Vec<&Arc<Target>> = self.list.iter().filter(|target| !target.hangs()).collect();
        if asked.is_empty() {
            asked = self.list.iter().collect();
        }
        let (mut paths, mut answered, mut failed) = (BTreeSet::new(), false, None);
        for answer in futures::future::join_all(asked.into_iter().map(|target| target.list(prefix))).await {
            match answer {
                Ok(found) => {
                    answered = true;
                    paths.extend(found);
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if !answered => Err(error),
            _ => Ok(paths),
        }
    }

    /// One target by name.
    pub fn get(&self, name: &TargetName) -> Option<&Arc<Target>> {
        self.list.iter().find(|target| target.name() == name)
    }

    /// One of the targets alone, as a set with the write quorum of one.
    #[must_use]
    pub fn only(&self, target: &Arc<Target>) -> Self {
        Self { list: Arc::new([Arc::clone(target)]), quorum: 1 }
    }

    #[cfg(test)]
    pub(crate) fn of(list: Vec<Target>, quorum: usize) -> Self {
        Self { list: list.into_iter().map(Arc::new).collect(), quorum }
    }

    /// Number of targets.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is no target; never true after `open`.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Copies that make a write durable.
    pub fn quorum(&self) -> usize {
        self.quorum
    }

    /// What is known of each target now.
    pub fn statuses(&self) -> Vec<TargetStatus> {
        self.list.iter().map(|target| target.status()).collect()
    }

    /// Reads an object from the first target that has a copy that `accept` takes, trying all in turn.
    ///
    /// # Errors
    /// `NotFound` when no target has it, else the last error or refusal.
    pub async fn read<T, E>(
        &self,
        path: &ObjectPath,
        accept: impl Fn(Bytes) -> Result<T, E>,
    ) -> Result<T, ReadError<E>> {
        let mut refused = None;
        let mut failed: Option<TargetError> = None;
        for target in self.by_health() {
            match target.get(path).await {
                Ok(bytes) => match accept(bytes) {
                    Ok(value) => return Ok(value),
                    Err(refusal) => refused = Some(refusal),
                },
                // A target that is down may hold it, so "not found" never hides that.
                Err(error) if failed.is_none() || !error.is_not_found() => failed = Some(error),
                Err(_) => {}
            }
        }
        match (refused, failed) {
            (Some(refusal), _) => Err(ReadError::Refused(refusal)),
            (None, Some(error)) => Err(ReadError::Target(error)),
            (None, None) => Err(ReadError::Target(TargetError::Config("there is no target".to_owned()))),
        }
    }
}

/// Why an object could not be read from any target.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// No target gave bytes; the last error.
    #[error("no target could be read")]
    Target(#[source] TargetError),
    /// At least one target gave bytes, and none of them were acceptable.
    #[error("every copy was refused")]
    Refused(E),
}
