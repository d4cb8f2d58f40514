//! Checks the objects of snapshots on one target, and repairs what another target has whole.
//!
//! Rule: the name of an object commits to its bytes, and the name of a chunk comes out of a verified manifest, so an object is
//! whole when its bytes have its name; nothing is opened for that.

use crate::targets::layout::ObjectPath;
use crate::targets::{Target, Targets};

use super::BackupError;
use super::read_back::read_named;
use super::repair::{find_named, place};

/// What was found of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is as it was written.
    Whole,
    /// It was damaged or missing, and was brought from another target.
    Repaired(String),
    /// It is damaged or missing, and no target that answers has it whole. It stays as it is.
    Lost(String),
}

/// Checks an object on a target.
///
/// # Errors
/// When the target fails; then nothing can be said of it now.
pub async fn check(targets: &Targets, target: &Target, path: &ObjectPath) -> Result<Found, BackupError> {
    let why = match read_named(target, path).await {
        Ok(_) => return Ok(Found::Whole),
        Err(BackupError::Target(error)) if !error.is_not_found() => return Err(error.into()),
        Err(error) => error.to_string(),
    };
    let Ok(sealed) = find_named(targets, path).await else { return Ok(Found::Lost(why)) };
    place(target, path, sealed).await?;
    Ok(Found::Repaired(why))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::backup::testing::{golden_repository, targets};

    #[tokio::test]
    async fn an_object_is_whole_repaired_from_another_target_or_lost() {
        let dir = tempfile::tempdir().unwrap();
        let urls: Vec<String> = (0..2).map(|n| format!("file://{}/t{n}", dir.path().display())).collect();
        let (repository, all) = (golden_repository(), targets(&urls, None));
        let bytes = Bytes::from_static(b"sealed");
        let path = ObjectPath::from_stored(format!("departments/eng/1/chunks/{}", blake3::hash(&bytes).to_hex()));
        for target in all.iter() {
            repository.admit(target).await.unwrap();
            target.put(&path, bytes.clone()).await.unwrap();
        }
        let first = all.iter().next().unwrap();
        let file = |n: usize| dir.path().join(format!("t{n}")).join(path.as_str());
        assert_eq!(check(&all, first, &path).await.unwrap(), Found::Whole);
        std::fs::write(file(0), b"seaLed").unwrap();
        assert!(matches!(check(&all, first, &path).await.unwrap(), Found::Repaired(_)));
        std::fs::remove_file(file(0)).unwrap();
        assert!(matches!(check(&all, first, &path).await.unwrap(), Found::Repaired(_)));
        assert_eq!(std::fs::read(file(0)).unwrap(), bytes);

        for n in 0..2 {
            std::fs::write(file(n), b"seaLed").unwrap();
        }
        let lost = check(&all, first, &path).await.unwrap();
        assert!(matches!(&lost, Found::Lost(why) if why.contains(path.as_str())), "{lost:?}");
        std::fs::rename(dir.path().join("t0"), dir.path().join("away")).unwrap();
        check(&all, first, &path).await.unwrap_err();
    }
}
