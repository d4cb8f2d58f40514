//! What a test may choose about its stack, and the configuration file that comes of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::network::Home;

/// What a test chooses; the defaults let nothing happen by itself.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) replicas: usize,
    pub(crate) targets: usize,
    pub(crate) session_timeout: String,
    pub(crate) backup_every: String,
    pub(crate) range_records: usize,
    /// More keys of `[restore]`, in TOML, separated by commas.
    pub(crate) restore_extra: String,
    pub(crate) chunk_records: u32,
    /// More of `[backup]`, each key with a comma before it.
    pub(crate) backup: String,
    /// More lines of `[targets]`.
    pub(crate) targets_extra: String,
    /// More targets after the directories, as `Bucket::target` has them.
    pub(crate) more_targets: String,
    /// More of `[http]`, each key with a comma before it.
    pub(crate) http: String,
    pub(crate) extra: String,
    pub(crate) binary: PathBuf,
    pub(crate) own_mongod: bool,
    /// Megabytes that the oplog of an own mongod remembers.
    pub(crate) oplog_mb: u32,
    pub(crate) own_zookeeper: bool,
    pub(crate) zookeeper_of: HashMap<usize, String>,
    /// More lines of `[zookeeper]`.
    pub(crate) zookeeper_extra: String,
    /// Servers of an ensemble that the test has, instead of the shared one.
    pub(crate) zookeeper: Option<String>,
    /// URI of a MongoDB that the test has, instead of the shared one.
    pub(crate) mongodb: Option<String>,
    /// Where replicas run that do not run on the loopback device.
    pub(crate) homes: HashMap<usize, Home>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            replicas: 1,
            targets: 2,
            session_timeout: "2s".to_owned(),
            backup_every: "1h".to_owned(),
            range_records: 1000,
            restore_extra: String::new(),
            chunk_records: 4096,
            backup: String::new(),
            targets_extra: String::new(),
            more_targets: String::new(),
            http: String::new(),
            extra: String::new(),
            binary: PathBuf::from(env!("CARGO_BIN_EXE_rollkeeper")),
            own_mongod: false,
            oplog_mb: 128,
            own_zookeeper: false,
            zookeeper_of: HashMap::new(),
            zookeeper_extra: String::new(),
            zookeeper: None,
            mongodb: None,
            homes: HashMap::new(),
        }
    }
}

/// Where the stack of a test lies.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) mongodb: String,
    pub(crate) database: String,
    pub(crate) zookeeper: String,
    pub(crate) chroot: String,
    pub(crate) recipient: String,
}

impl Settings {
    /// Where the replica with that index runs.
    pub(super) fn home(&self, index: usize) -> Home {
        self.homes.get(&index).cloned().unwrap_or_default()
    }

    /// The configuration file of the replica with that index.
    pub(crate) fn toml(&self, place: &Place, folder: &Path, index: usize, port: u16) -> String {
        let Place { mongodb, database, chroot, recipient, .. } = place;
        let zookeeper = self.zookeeper_of.get(&index).unwrap_or(&place.zookeeper);
        let Self {
            session_timeout,
            backup_every,
            range_records,
            restore_extra,
            chunk_records,
            backup,
            targets_extra,
            more_targets,
            http,
            zookeeper_extra,
            extra,
            ..
        } = self;
        let mut restore = format!("range_records = {range_records}");
        if !restore_extra.is_empty() {
            restore.extend([", ", restore_extra]);
        }
        // Most tests have no client that would need one.
        let notice = if http.contains("drain_notice") { "" } else { ", drain_notice = \"0s\"" };
        let id = index + 1;
        let host = self.home(index).host;
        let folder = folder.display();
        let target = |n| format!("[[targets.list]]\nname = \"t{n}\"\nurl = \"file://{folder}/targets/t{n}\"\n");
        let targets = (1..=self.targets).map(target).collect::<Vec<_>>().concat();
        format!(
            "replica = {{ id = \"r{id}\", url = \"http://{host}:{port}\" }}\n\
             http = {{ listen = \"{host}:{port}\"{notice}{http} }}\n\
             mongodb = {{ uri = \"{mongodb}\", database = \"{database}\" }}\n\
             keys = {{ recipients = [\"{recipient}\"], identity_file = \"{folder}/identity\" }}\n\
             backup = {{ backup_every = \"{backup_every}\", chunk_records = {chunk_records}{backup} }}\n\
             restore = {{ {restore} }}\n\
             auth = {{ bootstrap_token_file = \"{folder}/token\" }}\n\
             [zookeeper]\nconnect = \"{zookeeper}\"\nchroot = \"{chroot}\"\nsession_timeout = \"{session_timeout}\"\n\
             auth_file = \"{folder}/zookeeper-auth\"\n{zookeeper_extra}\n\
             [targets]\n{targets_extra}\n{targets}{more_targets}{extra}\n"
        )
    }
}
