//! What lies on a target, for readers that have no catalogue: sizes, and folders without what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore as _;
use object_store::path::Path;

use super::layout::ObjectPath;
use super::target::Act;
use super::{Target, TargetError, Targets};

impl Target {
    /// All objects below a prefix with their sizes in bytes.
    ///
    /// # Errors
    /// `Failed` or `Timeout`.
    pub async fn sizes(&self, prefix: &str) -> Result<BTreeMap<ObjectPath, u64>, TargetError> {
        let (store, at) = (Arc::clone(&self.store), Path::from(prefix));
        let listing = async move {
            let found = store.list(Some(&at)).map_ok(|meta| (meta.location.as_ref().to_owned(), meta.size));
            found.try_collect::<Vec<(String, u64)>>().await
        };
        match self.run(Act::Read, prefix, listing).await {
            Ok(found) => Ok(found.into_iter().map(|(path, size)| (ObjectPath::from_stored(path), size)).collect()),
            Err(error) if error.is_not_found() => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// Names of the folders directly below a prefix.
    ///
    /// # Errors
    /// `Failed` or `Timeout`.
    pub async fn folders(&self, prefix: &str) -> Result<BTreeSet<String>, TargetError> {
        let (store, at) = (Arc::clone(&self.store), Path::from(prefix));
        let listing = async move { store.list_with_delimiter(Some(&at)).await };
        match self.run(Act::Read, prefix, listing).await {
            Ok(found) => {
                let last = |path: &Path| path.as_ref().rsplit('/').next().map(ToOwned::to_owned);
                Ok(found.common_prefixes.iter().filter_map(last).collect())
            }
            Err(error) if error.is_not_found() => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }
}

impl Targets {
    /// Objects below a prefix on all targets that answer; where sizes differ, every one of them.
    ///
    /// # Errors
    /// The last error, when no target answers.
    pub async fn sizes(&self, prefix: &str) -> Result<BTreeMap<ObjectPath, BTreeSet<u64>>, TargetError> {
        let answers = futures::future::join_all(self.iter().map(|target| target.sizes(prefix))).await;
        let mut all: BTreeMap<ObjectPath, BTreeSet<u64>> = BTreeMap::new();
        for (path, size) in answered(answers)?.into_iter().flatten() {
            all.entry(path).or_default().insert(size);
        }
        Ok(all)
    }

    /// Names of the folders directly below a prefix, on all targets that answer.
    ///
    /// # Errors
    /// The last error, when no target answers.
    pub async fn folders(&self, prefix: &str) -> Result<BTreeSet<String>, TargetError> {
        let answers = futures::future::join_all(self.iter().map(|target| target.folders(prefix))).await;
        Ok(answered(answers)?.into_iter().flatten().collect())
    }
}

/// The good answers; the last error where there are none.
fn answered<T>(answers: Vec<Result<T, TargetError>>) -> Result<Vec<T>, TargetError> {
    let (mut good, mut failed) = (Vec::new(), None);
    for answer in answers {
        match answer {
            Ok(answer) => good.push(answer),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if good.is_empty() => Err(error),
        _ => Ok(good),
    }
}
