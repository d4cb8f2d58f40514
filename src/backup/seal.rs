//! Sealing: `age(zstd(lines))` with a last line that is the MAC over the object's place and all other lines.
//!
//! Rule: nothing of an object is given out before its name, its MAC and its place have been checked.

use std::io::{self, Read, Write};

use age::{DecryptError, Decryptor, Encryptor, x25519};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::domain::history::Timeline;
use crate::domain::ids::DepartmentName;
use crate::targets::layout::ObjectPath;

use super::{BackupError, Repository};

/// Most plain bytes of one object; a bigger one is damaged (or made to fill the memory).
const PLAIN_BYTES_MAX: u64 = 128 * 1024 * 1024;
const MAC_LINE_BYTES: usize = "{\"mac\":\"\"}\n".len() + 64;
const ZSTD_LEVEL: i32 = 1;

/// What kind of object it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Chunk,
    Snapshot,
    Segment,
    Backup,
}

/// The first fields of the first line of every object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) format: u32,
    pub(super) kind: Kind,
    pub(super) department: String,
    pub(super) timeline: i64,
}

impl Header {
    pub(super) fn new(kind: Kind, department: &DepartmentName, timeline: Timeline) -> Self {
        Self { format: 1, kind, department: department.to_string(), timeline: timeline.0 }
    }
}

/// Plain lines of an object that passed every check.
#[derive(Debug)]
pub(super) struct Opened {
    /// All lines but the MAC, the header first.
    pub(super) plain: Vec<u8>,
}

impl Opened {
    /// The first line.
    pub(super) fn header(&self) -> &[u8] {
        self.plain.split(|b| *b == b'\n').next().unwrap_or_default()
    }

    /// Everything after the first line.
    pub(super) fn body(&self) -> &[u8] {
        self.plain.get(self.header().len() + 1..).unwrap_or_default()
    }
}

impl Repository {
    /// Seals lines (each with its line end, the header first) for a folder.
    pub(super) fn seal(&self, folder: &str, lines: &[u8]) -> Result<Bytes, BackupError> {
        let mac = self.mac(folder, lines).to_hex();
        let sealed = (|| {
            let encryptor = Encryptor::with_recipients(self.recipients().iter().map(|r| r as &dyn age::Recipient))
                .map_err(io::Error::other)?;
            let sealed = encryptor.wrap_output(Vec::with_capacity(lines.len() / 2))?;
            let mut packed = zstd::stream::write::Encoder::new(sealed, ZSTD_LEVEL)?;
            packed.write_all(lines)?;
            packed.write_all(format!("{{\"mac\":\"{mac}\"}}\n").as_bytes())?;
            packed.finish()?.finish()
        })();
        sealed.map(Bytes::from).map_err(|error: io::Error| BackupError::Keys(format!("cannot seal: {error}")))
    }

    /// Opens an object after checking its name, MAC and place.
    pub(super) fn unseal(&self, path: &ObjectPath, sealed: &[u8], place: &Header) -> Result<Opened, BackupError> {
        if !is_named_for(path, sealed) {
            return Err(damaged(path, "its bytes are not the ones that it is named for"));
        }
        let mut plain = Vec::new();
        decrypt(path, sealed, self.identity(), |reader| {
            let unpacked = zstd::stream::read::Decoder::new(reader)?;
            unpacked.take(PLAIN_BYTES_MAX + 1).read_to_end(&mut plain).map(|_| ())
        })?;
        if plain.len() as u64 > PLAIN_BYTES_MAX {
            return Err(damaged(path, "it is bigger than any object can be"));
        }
        let cut = plain.len().checked_sub(MAC_LINE_BYTES).ok_or_else(|| damaged(path, "it has no MAC line"))?;
        let expected = format!("{{\"mac\":\"{}\"}}\n", self.mac(path.folder(), &plain[..cut]).to_hex());
        if !bool::from(expected.as_bytes().ct_eq(&plain[cut..])) {
            return Err(damaged(path, "its MAC is not this repository's for this place"));
        }
        plain.truncate(cut);
        let opened = Opened { plain };
        let header: Header =
            serde_json::from_slice(opened.header()).map_err(|_| damaged(path, "its header cannot be read"))?;
        if header != *place {
            return Err(damaged(path, "its header names another place or a newer format"));
        }
        Ok(opened)
    }

    fn mac(&self, folder: &str, lines: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.keys().mac);
        hasher.update(&(folder.len() as u64).to_le_bytes());
        hasher.update(folder.as_bytes());
        hasher.update(lines);
        hasher.finalize()
    }

    /// Runs work that keeps a processor busy on a blocking thread, a few at a time.
    pub(super) async fn busy<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
    ) -> Result<T, BackupError> {
        let permit = self.sealing().acquire_owned().await.map_err(|_| BackupError::Stopped)?;
        let task = tokio::task::spawn_blocking(move || {
            let _held_until_it_ends = permit;
            work()
        });
        task.await.map_err(|_| BackupError::Stopped)?
    }
}

/// Whether sealed bytes hash to the name of their object.
pub(super) fn is_named_for(path: &ObjectPath, sealed: &[u8]) -> bool {
    path.hash() == blake3::hash(sealed).to_hex().as_str()
}

/// A refusal of an object.
pub(super) fn damaged(path: &ObjectPath, reason: &str) -> BackupError {
    BackupError::Damaged { path: path.to_string(), reason: reason.to_owned() }
}

/// Encrypts a short text to all recipients.
pub(super) fn encrypt(recipients: &[x25519::Recipient], plain: &[u8]) -> Result<Vec<u8>, BackupError> {
    let sealed = (|| {
        let encryptor = Encryptor::with_recipients(recipients.iter().map(|r| r as &dyn age::Recipient))
            .map_err(io::Error::other)?;
        let mut writer = encryptor.wrap_output(Vec::new())?;
        writer.write_all(plain)?;
        writer.finish()
    })();
    sealed.map_err(|error: io::Error| BackupError::Keys(format!("cannot seal: {error}")))
}

/// Decrypts and hands the plain bytes to `read`.
pub(super) fn decrypt(
    path: &ObjectPath,
    sealed: &[u8],
    identity: &x25519::Identity,
    read: impl FnOnce(&mut dyn Read) -> io::Result<()>,
) -> Result<(), BackupError> {
    let broken = |_| damaged(path, "it cannot be decrypted and unpacked");
    let decryptor = Decryptor::new_buffered(sealed).map_err(broken)?;
    match decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)) {
        Ok(mut reader) => read(&mut reader).map_err(|_| damaged(path, "it cannot be decrypted and unpacked")),
        Err(DecryptError::NoMatchingKeys) => Err(BackupError::WrongKey {
            path: path.to_string(),
            reason: "it is sealed to other recipients; configure the identity of one of them".to_owned(),
        }),
        Err(error) => Err(broken(error)),
    }
}
