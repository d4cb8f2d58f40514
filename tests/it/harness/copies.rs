//! Copies of a MongoDB's data, taken while it stands still: put back later, or started as a clone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::settings::{Place, Settings};
use super::{Stack, eventually, parts, unique};

impl Stack {
    /// Copies the data of its own mongod, which is stopped for that and serves again afterwards.
    pub(crate) async fn copy_of_mongod(&mut self) -> PathBuf {
        let copy = self.folder.path().join(unique("copy"));
        let data = self.folder.path().join("mongod");
        let part = self.mongod.as_mut().expect("have a mongod of its own");
        part.process.stop();
        copy_folder(&data, &copy);
        part.restart();
        self.until_mongod_serves().await;
        copy
    }

    /// Replaces the data of its own mongod by a copy, as a restored disk does.
    pub(crate) async fn roll_mongod_back(&mut self, copy: &Path) {
        let data = self.folder.path().join("mongod");
        let part = self.mongod.as_mut().expect("have a mongod of its own");
        part.process.stop();
        std::fs::remove_dir_all(&data).expect("remove the data");
        copy_folder(copy, &data);
        part.restart();
        self.until_mongod_serves().await;
    }

    async fn until_mongod_serves(&self) {
        let part = self.mongod.as_ref().expect("have a mongod of its own");
        parts::until_primary(&parts::admin_of(part).await).await;
    }

    /// A stack beside the same targets, with a copy of this one's database and a ZooKeeper chroot of its own. It has no
    /// replica yet.
    pub(crate) async fn clone_from_copy(&self, copy: &Path) -> Self {
        let mut stack = self.emptied();
        copy_folder(copy, &stack.folder.path().join("mongod"));
        let mongod = parts::cloned_mongod(stack.folder.path()).await;
        stack.place.mongodb = format!("mongodb://{}/?replicaSet=rs0", mongod.address());
        stack.place.database.clone_from(&self.place.database);
        stack.mongod = Some(mongod);
        stack
    }

    /// A stack beside the same targets, on the same servers, with an empty database and a chroot of its own. It has no
    /// replica yet.
    pub(crate) fn emptied(&self) -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        for name in ["identity", "token", "zookeeper-auth"] {
            std::fs::copy(self.folder.path().join(name), folder.path().join(name)).expect("copy a file");
        }
        let targets = self.folder.path().join("targets");
        std::os::unix::fs::symlink(targets, folder.path().join("targets")).expect("link the targets");
        let place = Place { database: unique("it"), chroot: format!("/{}", unique("it")), ..self.place.clone() };
        Self { replicas: Vec::new(), mongod: None, zookeeper: None, token: self.token.clone(), place, folder }
    }

    /// Applies the migrations, and starts the replicas without insisting on a leader.
    pub(crate) async fn serve_anyhow(&mut self, settings: &Settings) {
        self.migrate(settings);
        for index in 0..settings.replicas {
            self.add_replica(settings, index);
        }
        for replica in &self.replicas {
            eventually("the replica is ready", Duration::from_mins(1), async || {
                self.is_ready(&replica.client).await.then_some(())
            })
            .await;
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make a folder");
    for entry in std::fs::read_dir(from).expect("list a folder") {
        let entry = entry.expect("list a folder");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("know its type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copy a file");
        }
    }
}
