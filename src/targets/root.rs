//! The directory of a file target: the one that was admitted, or another one that lies under its name now.
//!
//! Rules: a write counts only when the directory was the admitted one, with its mark, before and after it; what lies there
//! in its place is used only after it was admitted. For a disk that is unmounted leaves an empty directory behind, one that is
//! renamed leaves none, and `object_store` makes every folder that it misses.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::layout::ObjectPath;
use super::target::Act;

/// The directory of a file target.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    admitted: Mutex<Option<Admitted>>,
    /// How often another directory than before was admitted.
    exchanged: AtomicU64,
}

/// What a directory is known by: its name says nothing, and numbers are given again to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

#[derive(Debug, Clone, Copy)]
struct Admitted {
    identity: Identity,
    /// Whether a file system of its own is mounted there.
    mounted: bool,
    /// Whether it says whose it is.
    marked: bool,
}

impl Root {
    /// Whatever directory is there now is the one to use; where there is none, the one that is admitted later.
    pub(super) fn open(path: PathBuf) -> Self {
        let admitted = identity(&path).ok().map(|identity| Admitted {
            identity,
            mounted: is_mounted(&path),
            marked: is_marked(&path),
        });
        Self { path, admitted: Mutex::new(admitted), exchanged: AtomicU64::new(0) }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Says why an operation must not be done in what is there now. Asked before an operation, and again after a write.
    pub(super) async fn check(self: &Arc<Self>, act: Act, object: &str) -> Result<(), String> {
        // The mark itself is written where there is none.
        let needs_mark = object != ObjectPath::repository().as_str() && object != ObjectPath::repository_key().as_str();
        self.on_a_thread(move |root| root.refusal(act, needs_mark)).await
    }

    fn refusal(&self, act: Act, needs_mark: bool) -> Result<(), String> {
        let now = identity(&self.path)?;
        let admitted = *self.locked();
        let same = admitted.filter(|admitted| admitted.identity == now);
        self.refuse_unmounted(same.is_some())?;
        match same {
            _ if act == Act::Read => Ok(()),
            None => Err("its directory is another one than before, and has to be admitted again".to_owned()),
            Some(same) if needs_mark && same.marked && !is_marked(&self.path) => {
                Err("its rollkeeper.json is gone; it has to be admitted again".to_owned())
            }
            Some(_) => Ok(()),
        }
    }

    /// What is there may be the directory that a disk is mounted on: nothing of the target, and no place for it.
    fn refuse_unmounted(&self, same: bool) -> Result<(), String> {
        let was_mounted = self.locked().is_some_and(|admitted| admitted.mounted);
        if !same && was_mounted && !is_mounted(&self.path) {
            return Err("its disk is not mounted any more; mount it, or restart the replicas if the directory below \
                        it is meant"
                .to_owned());
        }
        Ok(())
    }

    /// Takes the directory that is there now for the one to use.
    fn admit(&self) -> Result<(), String> {
        let now = identity(&self.path)?;
        let before = *self.locked();
        let same = before.is_some_and(|before| before.identity == now);
        self.refuse_unmounted(same)?;
        let marked = is_marked(&self.path);
        *self.locked() = Some(Admitted { identity: now, mounted: is_mounted(&self.path), marked });
        if !same || before.is_some_and(|before| before.marked && !marked) {
            self.exchanged.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// As `admit`, on a thread that may wait for a disk.
    pub(super) async fn admit_there(self: &Arc<Self>) -> Result<(), String> {
        self.on_a_thread(Self::admit).await
    }

    pub(super) fn set_marked(&self) {
        if let Some(admitted) = self.locked().as_mut() {
            admitted.marked = true;
        }
    }

    pub(super) fn exchanged(&self) -> u64 {
        self.exchanged.load(Ordering::SeqCst)
    }

    async fn on_a_thread<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&Self) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let root = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || look(&root)).await;
        looked.unwrap_or_else(|_| Err("the look at its directory was broken off".to_owned()))
    }

    fn locked(&self) -> MutexGuard<'_, Option<Admitted>> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(path: &Path) -> Result<Identity, String> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(Identity { device: meta.dev(), inode: meta.ino(), born: meta.created().ok() }),
        _ => Err("its directory is not there".to_owned()),
    }
}

/// Whether another file system begins there than the one of the folder above.
fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    let Ok(real) = path.canonicalize() else { return false };
    real.parent().is_some_and(|above| device(above) != device(&real))
}

fn is_marked(path: &Path) -> bool {
    path.join(ObjectPath::repository().as_str()).is_file()
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;
