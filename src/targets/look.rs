//! Looks at a target without listing all of it.

use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore as _;
use object_store::path::Path;

use super::TargetError;
use super::target::{Act, Target};

impl Target {
    /// Whether there is any object below a folder.
    ///
    /// # Errors
    /// `Failed` or `Timeout`.
    pub async fn holds_any(&self, folder: &str) -> Result<bool, TargetError> {
        let (store, at) = (Arc::clone(&self.store), Path::from(folder));
        let first = async move { Ok(store.list(Some(&at)).try_next().await?.is_some()) };
        match self.run(Act::Read, folder, first).await {
            Err(error) if error.is_not_found() => Ok(false),
            outcome => outcome,
        }
    }
}
