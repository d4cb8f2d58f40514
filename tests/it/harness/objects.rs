//! The objects on directory targets, and what can happen to them.

use std::io::Write as _;
use std::path::PathBuf;

use rollkeeper::backup::Repository;
use rollkeeper::backup::chain::change_line;
use rollkeeper::backup::segment::Segment;
use rollkeeper::domain::clock::Timestamp;
use rollkeeper::domain::epoch::Epoch;
use rollkeeper::domain::history::{Chain, Change, Sequence, Source, Timeline};
use serde_json::Value;

use super::Stack;

/// What happens to one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Its second half is gone.
    Truncated,
    /// Nothing of it is left but its name.
    Emptied,
    /// One bit in the middle is another.
    Flipped,
    /// Another object of the repository lies under its name.
    Swapped,
    /// Somebody who knows the public recipient sealed other records and put them under its name.
    Forged,
    /// Bytes that are no age file at all.
    Garbage,
    /// It is gone.
    Deleted,
}

impl Damage {
    /// Every kind.
    pub(crate) const ALL: [Self; 7] =
        [Self::Truncated, Self::Emptied, Self::Flipped, Self::Swapped, Self::Forged, Self::Garbage, Self::Deleted];
}

/// One object by its path below a target.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    path: String,
    files: Vec<PathBuf>,
    bytes: Vec<u8>,
}

impl Object {
    /// The object at a path, on all of so many targets.
    pub(crate) fn at(stack: &Stack, targets: usize, path: &str) -> Self {
        let files: Vec<PathBuf> =
            (1..=targets).map(|n| stack.folder.path().join(format!("targets/t{n}")).join(path)).collect();
        let bytes = std::fs::read(&files[0]).expect("read the object");
        Self { path: path.to_owned(), files, bytes }
    }

    /// Its path below a target.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Damages the copy on one target, counted from 0; `other` is an object to take the place of it.
    pub(crate) fn damage(&self, on: usize, kind: Damage, other: &Self, recipient: &str) {
        let mut bytes = self.bytes.clone();
        let (half, file) = (bytes.len() / 2, &self.files[on]);
        match kind {
            Damage::Truncated => bytes.truncate(half),
            Damage::Emptied => bytes.clear(),
            Damage::Flipped => bytes[half] ^= 1,
            Damage::Swapped => bytes.clone_from(&other.bytes),
            Damage::Forged => bytes = forged(recipient, "{\"kind\":\"chunk\"}\n"),
            Damage::Garbage => bytes = vec![b'x'; 100_000],
            Damage::Deleted => return std::fs::remove_file(file).expect("delete the copy"),
        }
        std::fs::write(file, bytes).expect("damage the copy");
    }

    /// What it is.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the copy on one target, counted from 0, is as it was.
    pub(crate) fn is_whole(&self, on: usize) -> bool {
        std::fs::read(&self.files[on]).is_ok_and(|bytes| bytes == self.bytes)
    }

    /// Puts every copy back as it was.
    pub(crate) fn mend(&self) {
        for file in &self.files {
            std::fs::write(file, &self.bytes).expect("put the copy back");
        }
    }
}

/// The paths of the chunks of a backup's timeline on the first target, in order.
pub(crate) fn chunks(stack: &Stack, backup: &Value) -> Vec<String> {
    let snapshot = backup["snapshot"].as_str().expect("have a snapshot");
    let timeline = snapshot.split("/snapshots/").next().expect("have a timeline").to_owned();
    let folder = stack.folder.path().join("targets/t1").join(&timeline).join("chunks");
    let entries = std::fs::read_dir(folder).expect("list the chunks");
    let name =
        |entry: std::io::Result<std::fs::DirEntry>| entry.expect("list").file_name().into_string().expect("text");
    let mut paths: Vec<String> = entries.map(|entry| format!("{timeline}/chunks/{}", name(entry))).collect();
    paths.sort();
    paths
}

/// Lines sealed as rollkeeper seals them, with a MAC of somebody who does not know the repository's secret.
pub(crate) fn forged(recipient: &str, lines: &str) -> Vec<u8> {
    let plain = format!("{lines}{{\"mac\":\"{}\"}}\n", "0".repeat(64));
    let packed = zstd::encode_all(plain.as_bytes(), 1).expect("compress");
    let recipient: age::x25519::Recipient = recipient.parse().expect("be a recipient");
    let encryptor =
        age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient)).expect("have a recipient");
    let mut sealed = encryptor.wrap_output(Vec::new()).expect("begin to seal");
    sealed.write_all(&packed).expect("seal");
    sealed.finish().expect("seal to the end")
}

/// A segment of `default` at sequence 950 that is right in everything but the secret, and its path.
pub(crate) fn stranger(recipient: &str) -> (String, Vec<u8>) {
    let own = age::x25519::Identity::generate();
    let recipients = [own.to_public().to_string(), recipient.to_owned()];
    let secret = age::secrecy::ExposeSecret::expose_secret(&own.to_string()).to_owned();
    let repository = Repository::from_secret("theirs", [7; 32], &recipients, &secret.into()).expect("make it");
    let through = Timestamp::from_millis(4_000_000_000_000);
    let line = change_line(Sequence(950), through, &Change::Delete("user-0".parse().expect("be an id")));
    let segment = Segment {
        department: "default".parse().expect("be a name"),
        timeline: Timeline(1),
        first: Sequence(950),
        last: Sequence(950),
        before: Chain([7; 32]),
        after: repository.chain_after(&Chain([7; 32]), &line),
        through,
        epoch: Epoch(99),
        source: Source { replica_set_id: "theirs".to_owned(), users_uuid: "theirs".to_owned() },
        lines: [line, b"\n".to_vec()].concat(),
    };
    let (path, sealed) = repository.seal_segment(&segment).expect("seal");
    (path.to_string(), sealed.to_vec())
}
