//! What a killed writer leaves in a directory: files that never got the name of their object.
//!
//! `object_store` writes a file as `NAME#N` beside its place, N from 1 up, and then gives it its name
//! (`staged_upload_path` in its `local` module). Its listings hide such names (`is_valid_file_path` there), so nobody who goes
//! through a target by them ever meets one.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::place::Place;
use super::target::Act;
use super::{Target, TargetError};
use crate::domain::clock::Timestamp;

impl Target {
    /// Removes the files below a folder of the target that a writer left unfinished before a moment; tells how many. There
    /// are none on a target that is no directory.
    ///
    /// # Errors
    /// `Failed` or `Timeout`.
    pub async fn remove_unfinished(&self, folder: &str, before: Timestamp) -> Result<usize, TargetError> {
        let Place::Directory(root) = &self.place else { return Ok(0) };
        let place = root.path().join(folder);
        let removing = async move {
            let walked = tokio::task::spawn_blocking(move || remove_below(place, before)).await;
            let source: Box<dyn std::error::Error + Send + Sync> = match walked {
                Ok(Ok(removed)) => return Ok(removed),
                Ok(Err(error)) => error.into(),
                Err(error) => error.into(),
            };
            Err(object_store::Error::Generic { store: "LocalFileSystem", source })
        };
        self.run(Act::Read, folder, removing).await
    }
}

/// Goes through a folder and all below it. What is gone meanwhile, or stays, is no error.
fn remove_below(place: PathBuf, before: Timestamp) -> std::io::Result<usize> {
    let (mut removed, mut open) = (0, vec![place]);
    while let Some(folder) = open.pop() {
        let Some(entries) = unless_gone(std::fs::read_dir(folder))? else { continue };
        for entry in entries {
            let entry = entry?;
            let Some(meta) = unless_gone(entry.metadata())? else { continue };
            if meta.is_dir() {
                open.push(entry.path());
            } else if meta.is_file() && is_unfinished(&entry.path()) && millis(meta.modified()?) < before.as_millis() {
                // One that cannot be removed says nothing about the objects beside it.
                removed += usize::from(std::fs::remove_file(entry.path()).is_ok());
            }
        }
    }
    Ok(removed)
}

fn unless_gone<T>(outcome: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.rsplit_once('#'));
    name.is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A time before 1970 is as old as 1970.
fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::config::targets::TargetConfig;
    use crate::domain::clock::Clock;
    use crate::targets::layout::ObjectPath;

    const DAY: Duration = Duration::from_hours(24);

    #[tokio::test]
    async fn what_a_writer_left_unfinished_goes_when_it_is_old_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let config = TargetConfig::at("one", format!("file://{}", dir.path().display()));
        let target = Target::open(&config, Duration::from_secs(5), Clock::System).unwrap();
        let object = ObjectPath::from_stored("departments/eng/1/chunks/ab".to_owned());
        target.put(&object, Bytes::from_static(b"whole")).await.unwrap();
        let now = Clock::System.now();
        let ago = |age: Duration| {
            let since = Duration::from_millis(now.as_millis().unsigned_abs());
            SystemTime::UNIX_EPOCH + since.checked_sub(age).unwrap()
        };
        let folder = dir.path().join("departments/eng/1/chunks");
        let leave = |name: &str, age: Duration| {
            let file = std::fs::File::create(folder.join(name)).unwrap();
            file.set_modified(ago(age)).unwrap();
        };
        std::fs::File::open(folder.join("ab")).unwrap().set_modified(ago(DAY * 9)).unwrap();
        leave("ab#1", DAY * 2);
        leave("cd#12", DAY * 2);
        leave("cd#13", DAY / 2);
        leave("ef#x1", DAY * 2);
        let listed: Vec<String> =
            target.list("departments").await.unwrap().iter().map(|path| path.hash().to_owned()).collect();
        assert!(!listed.iter().any(|name| name.contains("#1")), "a listing hides them: {listed:?}");

        let before = Timestamp::from_millis(millis(ago(DAY)));
        assert_eq!(target.remove_unfinished("departments/ops", before).await.unwrap(), 0, "another department");
        assert_eq!(target.remove_unfinished("departments/eng", before).await.unwrap(), 2);
        let left = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<String> = left.collect();
        left.sort();
        assert_eq!(left, ["ab", "cd#13", "ef#x1"]);
    }

    #[tokio::test]
    async fn a_target_that_is_no_directory_has_nothing_unfinished() {
        let config = TargetConfig::at("one", "memory:///");
        let target = Target::open(&config, Duration::from_secs(5), Clock::System).unwrap();
        assert_eq!(target.remove_unfinished("departments/eng", Timestamp::from_millis(i64::MAX)).await.unwrap(), 0);
    }
}
