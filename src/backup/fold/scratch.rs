//! A scratch file: encrypted to a key that only this process has, and without a name, so that it goes with the process.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;
use std::sync::PoisonError;

use age::x25519;

use crate::backup::BackupError;
use crate::backup::seal::{decrypt, encrypt};
use crate::targets::TargetError;
use crate::targets::layout::ObjectPath;

/// A scratch file of blocks.
pub(super) struct Scratch {
    file: File,
    end: Mutex<u64>,
    key: x25519::Identity,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Where a block lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    begin: u64,
    bytes: usize,
}

fn failed(action: &str, error: &io::Error) -> BackupError {
    let folder = std::env::temp_dir();
    let text = format!("cannot {action} a scratch file in {} (TMPDIR names another folder): {error}", folder.display());
    BackupError::Target(TargetError::Config(text))
}

impl Scratch {
    pub(super) fn create() -> Result<Self, BackupError> {
        let file = tempfile::tempfile().map_err(|error| failed("make", &error))?;
        Ok(Self { file, end: Mutex::new(0), key: x25519::Identity::generate() })
    }

    /// Appends a block.
    pub(super) fn append(&self, plain: &[u8]) -> Result<Extent, BackupError> {
        let sealed = encrypt(&[self.key.to_public()], plain)?;
        let extent = {
            let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            let extent = Extent { begin: *end, bytes: sealed.len() };
            *end += sealed.len() as u64;
            extent
        };
        self.file.write_all_at(&sealed, extent.begin).map_err(|error| failed("write", &error))?;
        Ok(extent)
    }

    /// Reads a block back.
    pub(super) fn read(&self, extent: Extent) -> Result<Vec<u8>, BackupError> {
        let mut sealed = vec![0; extent.bytes];
        self.file.read_exact_at(&mut sealed, extent.begin).map_err(|error| failed("read", &error))?;
        let mut plain = Vec::with_capacity(sealed.len());
        let nameless = ObjectPath::from_stored("a scratch file".to_owned());
        decrypt(&nameless, &sealed, &self.key, |reader| reader.read_to_end(&mut plain).map(drop))?;
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_back_and_does_not_lie_on_the_disk_as_it_is() {
        let scratch = Scratch::create().unwrap();
        let (one, two) = (scratch.append(b"a secret line").unwrap(), scratch.append(b"another").unwrap());
        assert_eq!(scratch.read(two).unwrap(), b"another");
        assert_eq!(scratch.read(one).unwrap(), b"a secret line");
        let mut raw = vec![0; usize::try_from(scratch.file.metadata().unwrap().len()).unwrap()];
        scratch.file.read_exact_at(&mut raw, 0).unwrap();
        assert!(!raw.windows(8).any(|window| window == b"a secret"));
    }
}
