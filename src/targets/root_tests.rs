//! Directories that are exchanged under a target, before a write and in the middle of one.

use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path as At;
use object_store::{ObjectStoreExt as _, PutMode};

use super::*;
use crate::config::targets::TargetConfig;
use crate::domain::clock::Clock;
use crate::domain::copies::TargetState;
use crate::targets::{Target, TargetError};

const SEGMENT: &str = "departments/eng/1/journal/a.seg";

struct Disk {
    folder: tempfile::TempDir,
    target: Target,
}

/// A target with its mark, admitted.
async fn disk() -> Disk {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().join("disk").display());
    let config = TargetConfig::at("one", url);
    let target = Target::open(&config, Duration::from_secs(5), Clock::System).unwrap();
    let disk = Disk { folder, target };
    disk.mark().await;
    disk
}

impl Disk {
    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    async fn mark(&self) {
        self.target.admit().await.unwrap();
        self.target.put(&ObjectPath::repository(), Bytes::from_static(b"{}")).await.unwrap();
        self.target.set_marked();
    }

    async fn put(&self, text: &str) -> Result<(), TargetError> {
        self.target.put(&ObjectPath::from_stored(text.to_owned()), Bytes::from_static(b"x")).await
    }

    /// A write in the middle of which something happens to the directory.
    async fn put_while(&self, happens: impl FnOnce() + Send + 'static) -> Result<(), TargetError> {
        let store = Arc::clone(&self.target.store);
        let writing = async move {
            happens();
            store.put(&At::from(SEGMENT), Bytes::from_static(b"x").into()).await.map(drop)
        };
        self.target.run(Act::Write, SEGMENT, writing).await
    }
}

#[tokio::test]
async fn a_write_does_not_count_that_went_into_a_directory_made_again_under_the_name() {
    let disk = disk().await;
    let (from, away) = (disk.path(), disk.folder.path().join("away"));
    let written = disk.put_while(move || std::fs::rename(from, away).unwrap()).await;
    assert!(disk.path().join(SEGMENT).exists(), "the store has made it again");
    assert!(matches!(written, Err(TargetError::Failed { state: TargetState::Down, .. })), "{written:?}");
    assert_eq!(disk.target.status().state, TargetState::Down);
    disk.put("departments/eng/1/journal/b.seg").await.unwrap_err();

    // The right one is back: what is written to it counts again.
    std::fs::remove_dir_all(disk.path()).unwrap();
    std::fs::rename(disk.folder.path().join("away"), disk.path()).unwrap();
    disk.put("departments/eng/1/journal/b.seg").await.unwrap();
    assert_eq!(disk.target.exchanged(), 0);
}

#[tokio::test]
async fn nothing_is_written_to_an_empty_directory_that_stays_behind_until_it_is_admitted() {
    let disk = disk().await;
    std::fs::rename(disk.path(), disk.folder.path().join("away")).unwrap();
    std::fs::create_dir(disk.path()).unwrap();
    disk.put(SEGMENT).await.unwrap_err();
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
    let gone = ObjectPath::from_stored(SEGMENT.to_owned());
    disk.target.delete(&gone).await.unwrap_err();
    assert_eq!(disk.target.size(&gone).await.unwrap(), None, "it can be read");

    disk.mark().await;
    assert_eq!(disk.target.exchanged(), 1);
    disk.put(SEGMENT).await.unwrap();
}

#[tokio::test]
async fn nothing_is_written_to_a_directory_that_was_emptied_until_it_is_admitted() {
    let disk = disk().await;
    let (root, mark) = (disk.path(), disk.path().join(ObjectPath::repository().as_str()));
    let written = disk.put_while(move || std::fs::remove_file(mark).unwrap()).await;
    assert!(matches!(written, Err(TargetError::Failed { .. })), "{written:?}");
    disk.put("departments/eng/1/journal/b.seg").await.unwrap_err();
    disk.mark().await;
    assert_eq!(disk.target.exchanged(), 1);
    disk.put("departments/eng/1/journal/b.seg").await.unwrap();
    assert!(root.join("departments/eng/1/journal/b.seg").exists());
}

#[tokio::test]
async fn a_write_of_what_is_there_already_does_not_count_either_in_another_directory() {
    let disk = disk().await;
    disk.put(SEGMENT).await.unwrap();
    disk.put(SEGMENT).await.unwrap();
    let store = Arc::clone(&disk.target.store);
    let (from, away) = (disk.path(), disk.folder.path().join("away"));
    let reading = async move {
        std::fs::rename(from, away).unwrap();
        store.put_opts(&At::from(SEGMENT), Bytes::from_static(b"x").into(), PutMode::Create.into()).await.map(drop)
    };
    disk.target.run(Act::Write, SEGMENT, reading).await.unwrap_err();
    disk.put(SEGMENT).await.unwrap_err();
}

#[tokio::test]
async fn the_directory_that_a_disk_was_mounted_on_is_never_admitted() {
    let folder = tempfile::tempdir().unwrap();
    let (link, below) = (folder.path().join("disk"), folder.path().join("below"));
    // A file system of its own that is there on every machine; nothing is written to it.
    std::os::unix::fs::symlink("/proc", &link).unwrap();
    let config = TargetConfig::at("one", format!("file://{}", link.display()));
    let target = Target::open(&config, Duration::from_secs(5), Clock::System).unwrap();
    target.admit().await.unwrap();
    std::fs::remove_file(&link).unwrap();
    std::fs::create_dir(&below).unwrap();
    std::os::unix::fs::symlink(&below, &link).unwrap();
    for refused in [target.admit().await, target.size(&ObjectPath::repository()).await.map(drop)] {
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("not mounted any more"), "{text}");
    }
}
