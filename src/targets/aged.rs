//! What pruning needs of a target: objects with their age, and their deletion.

use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use super::layout::ObjectPath;
use super::target::Act;
use super::{Target, TargetError};
use crate::domain::clock::Timestamp;

/// An object, and when it was written by the target's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aged {
    /// Its path.
    pub path: ObjectPath,
    /// When it was written.
    pub written_at: Timestamp,
    /// Its size.
    pub bytes: u64,
}

impl Target {
    /// Objects below a prefix that `pleases`, in no particular order. The others are never held together.
    ///
    /// # Errors
    /// `Failed` or `Timeout`.
    pub async fn aged(
        &self,
        prefix: &str,
        pleases: impl Fn(&ObjectPath) -> bool + Send + Sync + 'static,
    ) -> Result<Vec<Aged>, TargetError> {
        let (store, at) = (Arc::clone(&self.store), Path::from(prefix));
        let listing = async move {
            let each = store.list(Some(&at)).try_filter_map(|meta| {
                let path = ObjectPath::from_stored(meta.location.as_ref().to_owned());
                let written_at = Timestamp::from_millis(meta.last_modified.timestamp_millis());
                let found = pleases(&path).then_some(Aged { path, written_at, bytes: meta.size });
                async move { Ok(found) }
            });
            each.try_collect::<Vec<Aged>>().await
        };
        match self.run(Act::Read, prefix, listing).await {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            outcome => outcome,
        }
    }

    /// Deletes an object. One that is not there is deleted already.
    ///
    /// # Errors
    /// `Failed` or `Timeout`.
    pub async fn delete(&self, path: &ObjectPath) -> Result<(), TargetError> {
        let (store, at) = (Arc::clone(&self.store), Path::from(path.as_str()));
        match self.run(Act::Write, path.as_str(), async move { store.delete(&at).await }).await {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome,
        }
    }
}
