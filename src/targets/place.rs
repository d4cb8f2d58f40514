//! What a target is: memory, a directory or a bucket; and whether what is there now is what was admitted.
//!
//! Rule: one for both. What lies there in place of the admitted directory or bucket is written to only after it was admitted,
//! and may be read. A directory is compared before and after a write, since a write may go to what lies below a disk that is
//! unmounted; a bucket by its mark, now and then (`bucket::mark`).

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore};
use url::Url;

use super::bucket::{self, Marked};
use super::root::Root;
use super::target::Act;
use super::{Target, TargetError};
use crate::config::targets::TargetConfig;
use crate::domain::copies::TargetState;

/// Why nothing must be done in a place now, and what that says of the target.
pub(super) type Refusal = (TargetState, String);

/// What a target is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Memory,
    Directory(Arc<Root>),
    Bucket(Arc<Marked>),
}

impl Place {
    /// Opens what a URL names; makes its directory where only that is missing.
    pub(super) fn open(
        config: &TargetConfig,
        url: &Url,
        timeout: Duration,
    ) -> Result<(Arc<dyn ObjectStore>, Self), String> {
        match url.scheme() {
            "memory" => Ok((Arc::new(InMemory::new()), Self::Memory)),
            "file" => directory(url),
            other => {
                let Some(place) = config.bucket() else {
                    let text = "URLs are not supported; use file:///absolute/directory or s3://bucket/prefix";
                    return Err(format!("`{other}` {text}"));
                };
                let bucket = bucket::open(config, &place, timeout)?;
                Ok((bucket.store(), Self::Bucket(bucket)))
            }
        }
    }

    /// Says why an operation must not be done in what is there now.
    pub(super) async fn check(&self, act: Act, object: &str) -> Result<(), Refusal> {
        match self {
            Self::Memory => Ok(()),
            Self::Directory(root) => root.check(act, object).await.map_err(down),
            Self::Bucket(bucket) => bucket.check(act, object).await,
        }
    }

    /// Says why an operation that was done does not count.
    pub(super) async fn check_after(&self, act: Act, object: &str, done: Result<(), &Error>) -> Result<(), Refusal> {
        match (self, done) {
            (Self::Directory(root), Ok(())) if act == Act::Write => root.check(act, object).await.map_err(down),
            (Self::Bucket(bucket), Err(error @ Error::NotFound { .. })) => bucket.means_object(error).await,
            _ => Ok(()),
        }
    }
}

impl Target {
    /// Takes what lies at its place now for the target: called before its mark is looked at. What was said of the target
    /// until now may be said of another directory or bucket.
    ///
    /// # Errors
    /// `Failed` or `Timeout`: nothing is there, or the directory that a disk was mounted on.
    pub async fn admit(&self) -> Result<(), TargetError> {
        let place = self.place.clone();
        let admitting = async move {
            match &place {
                Place::Memory => Ok(()),
                Place::Directory(root) => root.admit_there().await.map_err(down),
                Place::Bucket(bucket) => bucket.admit().await,
            }
            .map(Ok)
        };
        self.guarded(Act::Read, "", admitting.boxed()).await
    }

    /// Its mark was read and found right: from now on a directory or a bucket without one is not the target.
    pub fn set_marked(&self) {
        match &self.place {
            Place::Memory => {}
            Place::Directory(root) => root.set_marked(),
            Place::Bucket(bucket) => bucket.set_marked(),
        }
    }

    /// Whether the right mark was seen so lately that it need not be read again. A directory is looked at each time, which
    /// costs nothing.
    pub fn is_marked_for_sure(&self) -> bool {
        match &self.place {
            Place::Memory | Place::Directory(_) => false,
            Place::Bucket(bucket) => bucket.seen_lately() && self.status().state == TargetState::Ok,
        }
    }

    /// How often something else than before was admitted as this target; what it is said to hold has to be looked at then.
    pub fn exchanged(&self) -> u64 {
        match &self.place {
            Place::Memory => 0,
            Place::Directory(root) => root.exchanged(),
            Place::Bucket(bucket) => bucket.exchanged(),
        }
    }
}

fn directory(url: &Url) -> Result<(Arc<dyn ObjectStore>, Place), String> {
    let root = url.to_file_path().map_err(|()| "a file URL is file:///absolute/directory".to_owned())?;
    // Only the last folder is made, so that a missing mount is not papered over. Failing is no error here: the target is
    // down, and says so at its first operation.
    let _ = std::fs::create_dir(&root);
    let prefix =
        Path::from_absolute_path(&root).map_err(|_| "the directory has a name that cannot be used".to_owned())?;
    let store = PrefixStore::new(LocalFileSystem::new().with_fsync(true), prefix);
    Ok((Arc::new(store), Place::Directory(Arc::new(Root::open(root)))))
}

/// A refusal of a place that does not work.
pub(super) fn down(reason: impl Into<String>) -> Refusal {
    (TargetState::Down, reason.into())
}
