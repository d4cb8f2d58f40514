//! The mark of a bucket: what stands for "the directory that was admitted".
//!
//! A bucket cannot be unmounted, and a request never comes to a place below it. What happens is that somebody empties it,
//! deletes it and makes it again, or points the endpoint at another store. Then its `rollkeeper.json` is gone or is another one:
//! it has another tag or another time. So a write counts only while the mark is the admitted one, seen at most `SEEN_FOR` ago;
//! what lies there otherwise is used after it was admitted again, and looked at like an exchanged disk (`tasks::exchanged`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt as _};
use tokio::time::Instant;

use super::failure;
use crate::targets::layout::ObjectPath;
use crate::targets::place::{Refusal, down};
use crate::targets::target::Act;

/// How long a look at the mark counts; to look before each write would double what they cost.
const SEEN_FOR: Duration = Duration::from_secs(5);

/// A bucket and its mark.
#[derive(Debug)]
pub(in crate::targets) struct Marked {
    store: Arc<dyn ObjectStore>,
    /// What it is called in sentences.
    place: String,
    seen: Mutex<Seen>,
    /// How often another mark than before was admitted.
    exchanged: AtomicU64,
}

#[derive(Debug, Default)]
struct Seen {
    /// Whether it says whose it is.
    marked: bool,
    /// Whether what it says was read and found right.
    right: bool,
    mark: Option<Mark>,
    at: Option<Instant>,
}

/// What one copy of `rollkeeper.json` is known by: its bytes are the same in each bucket of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    tag: Option<String>,
    written_at: i64,
}

impl Mark {
    fn of(meta: &ObjectMeta) -> Self {
        Self { tag: meta.e_tag.clone(), written_at: meta.last_modified.timestamp_millis() }
    }
}

impl Marked {
    pub(super) fn new(store: Arc<dyn ObjectStore>, place: String) -> Self {
        Self { store, place, seen: Mutex::default(), exchanged: AtomicU64::new(0) }
    }

    pub(in crate::targets) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// What a failure says about the target, and a sentence for people.
    pub(in crate::targets) fn explain(&self, act: Act, object: &str, error: &Error) -> Refusal {
        failure::explain(&self.place, act, object, error)
    }

    /// Says why an operation must not be done in what is there now. Asked before it.
    pub(in crate::targets) async fn check(&self, act: Act, object: &str) -> Result<(), Refusal> {
        let is_mark = object == ObjectPath::repository().as_str() || object == ObjectPath::repository_key().as_str();
        if act == Act::Read || is_mark || !self.locked().marked || self.seen_lately() {
            return Ok(());
        }
        let found = self.look().await?;
        let mut seen = self.locked();
        match (&found, &seen.mark) {
            (None, _) => Err(down("its rollkeeper.json is gone; it has to be admitted again")),
            (Some(now), Some(before)) if now != before => {
                Err(down("its rollkeeper.json is another one than before; it has to be admitted again"))
            }
            _ => {
                seen.mark = found;
                seen.at = Some(Instant::now());
                Ok(())
            }
        }
    }

    /// Takes what is there now for the bucket to use.
    pub(in crate::targets) async fn admit(&self) -> Result<(), Refusal> {
        let found = self.look().await?;
        let mut seen = self.locked();
        if seen.marked && found.is_none() || seen.mark.is_some() && seen.mark != found {
            self.exchanged.fetch_add(1, Ordering::SeqCst);
        }
        let (marked, right) = (found.is_some(), seen.right && found.is_some() && seen.mark == found);
        *seen = Seen { marked, right, at: marked.then(Instant::now), mark: found };
        Ok(())
    }

    /// Its mark was read and found right: from now on a bucket without one is not the target.
    pub(in crate::targets) fn set_marked(&self) {
        let mut seen = self.locked();
        seen.marked = true;
        seen.right = true;
    }

    /// Whether the right mark was seen so lately that there is no need to look again.
    pub(in crate::targets) fn seen_lately(&self) -> bool {
        let seen = self.locked();
        seen.right && seen.mark.is_some() && seen.at.is_some_and(|at| at.elapsed() < SEEN_FOR)
    }

    pub(in crate::targets) fn exchanged(&self) -> u64 {
        self.exchanged.load(Ordering::SeqCst)
    }

    /// Whether an answer that an object is not there means the object, and not the whole bucket.
    pub(in crate::targets) async fn means_object(&self, error: &Error) -> Result<(), Refusal> {
        if failure::lacks_bucket(error) {
            return Err(self.explain(Act::Read, "", error));
        }
        if failure::lacks_object(error) {
            return Ok(());
        }
        self.look().await.map(drop)
    }

    /// The mark that is there; none when there is none in a bucket that is.
    async fn look(&self) -> Result<Option<Mark>, Refusal> {
        let path = ObjectPath::repository();
        let asked = async {
            let found = self.store.get(&Path::from(path.as_str())).await?;
            let mark = Mark::of(&found.meta);
            // Read to its end, so that the connection serves again.
            found.bytes().await.map(|_| mark)
        };
        match asked.await {
            Ok(mark) => Ok(Some(mark)),
            Err(error) if matches!(error, Error::NotFound { .. }) && !failure::lacks_bucket(&error) => Ok(None),
            Err(error) => Err(self.explain(Act::Read, path.as_str(), &error)),
        }
    }

    fn locked(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::domain::copies::TargetState;

    const SEGMENT: &str = "departments/eng/1/journal/a.seg";

    async fn bucket() -> Marked {
        let marked = Marked::new(Arc::new(InMemory::new()), "bucket `rolls`".to_owned());
        mark(&marked).await;
        marked
    }

    async fn mark(marked: &Marked) {
        marked.admit().await.unwrap();
        let path = ObjectPath::repository();
        marked.store.put(&Path::from(path.as_str()), "{}".into()).await.unwrap();
        marked.set_marked();
    }

    /// As when the last look was long ago.
    fn later(marked: &Marked) {
        marked.locked().at = Instant::now().checked_sub(SEEN_FOR);
    }

    async fn unmark(marked: &Marked) {
        marked.store.delete(&Path::from(ObjectPath::repository().as_str())).await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_written_to_an_emptied_bucket_until_it_is_admitted() {
        let bucket = bucket().await;
        bucket.check(Act::Write, SEGMENT).await.unwrap();
        unmark(&bucket).await;
        later(&bucket);
        let (state, reason) = bucket.check(Act::Write, SEGMENT).await.unwrap_err();
        assert_eq!((state, reason.contains("is gone")), (TargetState::Down, true), "{reason}");
        bucket.check(Act::Read, SEGMENT).await.unwrap();
        mark(&bucket).await;
        assert_eq!(bucket.exchanged(), 1);
        bucket.check(Act::Write, SEGMENT).await.unwrap();
    }

    #[tokio::test]
    async fn a_bucket_that_was_made_again_and_marked_by_another_replica_is_admitted_first() {
        let bucket = bucket().await;
        bucket.check(Act::Write, SEGMENT).await.unwrap();
        unmark(&bucket).await;
        bucket.store.put(&Path::from(ObjectPath::repository().as_str()), "{}".into()).await.unwrap();
        later(&bucket);
        let (_, reason) = bucket.check(Act::Write, SEGMENT).await.unwrap_err();
        assert!(reason.contains("another one"), "{reason}");
        bucket.admit().await.unwrap();
        bucket.set_marked();
        assert_eq!(bucket.exchanged(), 1);
        bucket.check(Act::Write, SEGMENT).await.unwrap();
    }

    #[tokio::test]
    async fn the_mark_is_looked_at_now_and_then_and_not_before_each_write() {
        let bucket = bucket().await;
        bucket.check(Act::Write, SEGMENT).await.unwrap();
        unmark(&bucket).await;
        bucket.check(Act::Write, SEGMENT).await.unwrap();
        assert!(bucket.seen_lately());
        later(&bucket);
        assert!(!bucket.seen_lately());
    }

    #[tokio::test]
    async fn a_mark_that_was_seen_and_not_read_is_read_first() {
        let bucket = bucket().await;
        bucket.check(Act::Write, SEGMENT).await.unwrap();
        bucket.admit().await.unwrap();
        assert!(bucket.seen_lately(), "it is the one that was read");
        unmark(&bucket).await;
        bucket.store.put(&Path::from(ObjectPath::repository().as_str()), "{ }".into()).await.unwrap();
        bucket.admit().await.unwrap();
        assert!(!bucket.seen_lately());
        bucket.set_marked();
        assert!(bucket.seen_lately());
    }

    #[tokio::test]
    async fn what_was_never_marked_is_written_without_a_look() {
        let bare = Marked::new(Arc::new(InMemory::new()), "bucket `rolls`".to_owned());
        bare.check(Act::Write, SEGMENT).await.unwrap();
        bare.check(Act::Write, ObjectPath::repository().as_str()).await.unwrap();
        assert_eq!(bare.exchanged(), 0);
    }
}
