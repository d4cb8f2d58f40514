//! `rollkeeper.json` and `rollkeeper.key`: what says, on a target, whose it is.
//!
//! Rules: a new repository is made only when every target has said that it holds none; a target that is away may hold the
//! one that counts. One that has a history is never adopted by an empty MongoDB.

use age::x25519;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::repository::StoredRepository;
use crate::targets::layout::ObjectPath;
use crate::targets::{Target, TargetError, Targets};

use super::BackupError;

/// The format that this program reads and writes.
const FORMAT: u32 = 1;

/// What `rollkeeper.json` says. Nothing in it is authenticated.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Marker {
    format: u32,
    pub(super) repository_id: String,
    pub(super) recipients: Vec<String>,
}

/// The bytes of `rollkeeper.json`.
pub(super) fn format(id: &str, recipients: &[x25519::Recipient]) -> Result<Bytes, BackupError> {
    let recipients = recipients.iter().map(ToString::to_string).collect();
    let marker = Marker { format: FORMAT, repository_id: id.to_owned(), recipients };
    serde_json::to_vec(&marker).map(Bytes::from).map_err(|error| BackupError::Keys(error.to_string()))
}

/// The repository id in `rollkeeper.json`, or what is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<String, &'static str> {
    parse(bytes).map(|marker| marker.repository_id)
}

/// The repository id and the recipients in `rollkeeper.json`, or what is wrong with it.
///
/// # Errors
/// Half a sentence, when it cannot be read or is of another format.
pub fn marker_of(bytes: &[u8]) -> Result<(String, Vec<String>), &'static str> {
    parse(bytes).map(|marker| (marker.repository_id, marker.recipients))
}

/// The whole of `rollkeeper.json`, or what is wrong with it.
pub(super) fn parse(bytes: &[u8]) -> Result<Marker, &'static str> {
    let marker: Marker = serde_json::from_slice(bytes).map_err(|_| "cannot be read")?;
    let known = marker.format == FORMAT;
    known.then_some(marker).ok_or("is of a format that this version does not know")
}

/// The repository that the targets hold, when MongoDB knows none.
pub(super) async fn found_on(targets: &Targets) -> Result<Option<StoredRepository>, BackupError> {
    let asked = targets.iter().map(|target| held_by(target));
    let mut found: Option<StoredRepository> = None;
    let mut silent = None;
    for answer in futures::future::join_all(asked).await {
        match answer {
            Ok(None) => {}
            Ok(Some(held)) if found.as_ref().is_some_and(|other| other.id != held.id) => {
                return Err(BackupError::OtherRepository(
                    "the targets hold different repositories and MongoDB knows none; leave only targets of one"
                        .to_owned(),
                ));
            }
            Ok(Some(held)) => found = Some(found.unwrap_or(held)),
            Err(BackupError::Target(error)) => silent = Some(error),
            Err(error) => return Err(error),
        }
    }
    match (found, silent) {
        (None, Some(error)) => Err(BackupError::Undecided(format!(
            "MongoDB knows no repository, and a target that may hold one does not answer: {error}; mend it, or take it \
             out of targets.list"
        ))),
        (None, None) => Ok(None),
        (Some(found), _) => refuse_history(targets, &found.id).await.map(|()| Some(found)),
    }
}

/// Refuses a repository that something was written to by another database than this empty one.
async fn refuse_history(targets: &Targets, id: &str) -> Result<(), BackupError> {
    for target in targets.by_health() {
        // One that does not answer now is looked at by the leaders.
        if target.holds_any(ObjectPath::DEPARTMENTS).await.unwrap_or(false) {
            return Err(BackupError::History(format!(
                "MongoDB is empty, and target `{}` holds the history of repository {id}; nothing is written over it. \
                 Run `rollkeeper vault restore` to get it back into this MongoDB, configure the MongoDB that it belongs \
                 to, or configure empty targets to begin anew.",
                target.name()
            )));
        }
    }
    Ok(())
}

/// The repository that one target holds.
async fn held_by(target: &Target) -> Result<Option<StoredRepository>, BackupError> {
    let marker = match target.get(&ObjectPath::repository()).await {
        Err(error) if error.is_not_found() => return Ok(None),
        outcome => outcome?,
    };
    let id = read(&marker).map_err(|reason| {
        BackupError::OtherRepository(format!("target `{}`: rollkeeper.json {reason}", target.name()))
    })?;
    // Not there yet, while another replica is making the repository: asked again.
    let key = target.get(&ObjectPath::repository_key()).await?;
    Ok(Some(StoredRepository { id, sealed_secret: key.to_vec() }))
}

/// Reads an object, and writes it first where there is none.
pub(super) async fn get_or_put(target: &Target, path: &ObjectPath, bytes: Bytes) -> Result<Bytes, TargetError> {
    match target.get(path).await {
        Err(error) if error.is_not_found() => match target.put(path, bytes.clone()).await {
            // Another replica was faster: what it wrote counts.
            Err(TargetError::Differs { .. }) => target.get(path).await,
            outcome => outcome.map(|()| bytes),
        },
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::testing::{golden_repository, targets};

    #[tokio::test]
    async fn no_repository_is_made_while_a_target_that_may_hold_one_is_away() {
        let dir = tempfile::tempdir().unwrap();
        let urls: Vec<String> = (0..3).map(|n| format!("file://{}/t{n}", dir.path().display())).collect();
        let all = targets(&urls, None);
        assert!(found_on(&all).await.unwrap().is_none());

        std::fs::remove_dir(dir.path().join("t1")).unwrap();
        assert!(matches!(found_on(&all).await, Err(BackupError::Undecided(text)) if text.contains("t1")));

        golden_repository().admit(all.iter().next().unwrap()).await.unwrap();
        assert_eq!(found_on(&all).await.unwrap().unwrap().id, "golden", "one that answers is enough to find it");
    }

    #[tokio::test]
    async fn a_repository_with_a_history_is_not_adopted() {
        let all = targets(&["memory:///".to_owned()], None);
        let only = all.iter().next().unwrap();
        golden_repository().admit(only).await.unwrap();
        assert!(found_on(&all).await.unwrap().is_some());
        let object = ObjectPath::from_stored("departments/eng/1/chunks/ab".to_owned());
        only.put(&object, Bytes::from_static(b"x")).await.unwrap();
        let refused = found_on(&all).await;
        assert!(matches!(refused, Err(BackupError::History(text)) if text.contains("vault restore")));
    }

    #[tokio::test]
    async fn a_marker_that_cannot_be_read_is_not_taken_for_an_empty_target() {
        let all = targets(&["memory:///".to_owned()], None);
        let only = all.iter().next().unwrap();
        only.put(&ObjectPath::repository(), Bytes::from_static(b"{\"format\": 2}")).await.unwrap();
        assert!(matches!(found_on(&all).await, Err(BackupError::OtherRepository(_))));
    }
}
