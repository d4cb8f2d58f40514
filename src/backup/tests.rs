//! Tests of whole snapshots: written, read, damaged, repaired.

use futures::TryStreamExt;
use proptest::prelude::*;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use crate::domain::clock::{Clock, Timestamp};
use crate::domain::copies::{CopyState, TargetState};
use crate::domain::epoch::Epoch;
use crate::domain::history::{Chain, ClusterTime, Position, Sequence, Timeline};
use crate::domain::user::{Rev, User};
use crate::targets::Targets;

use super::chunker::Chunker;
use super::snapshot::Snapshot;
use super::state::Piece;
use super::testing::{golden_repository, identity, targets, user};
use super::write::{SnapshotOf, SnapshotWriter, Written};
use super::{BackupError, Repository};

pub(super) struct Place {
    pub(super) dir: tempfile::TempDir,
    pub(super) repository: Repository,
    pub(super) targets: Targets,
}

impl Place {
    pub(super) fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let urls: Vec<String> = (0..count).map(|n| format!("file://{}/t{n}", dir.path().display())).collect();
        Self { targets: targets(&urls, None), repository: golden_repository(), dir }
    }

    pub(super) fn file(&self, target: usize, path: &str) -> std::path::PathBuf {
        self.dir.path().join(format!("t{target}")).join(path)
    }

    pub(super) async fn write(&self, users: Vec<User>, previous: Option<&Written>) -> Result<Written, BackupError> {
        let writer = SnapshotWriter {
            repository: self.repository.clone(),
            targets: self.targets.clone(),
            chunk_records: 16,
            clock: Clock::System,
        };
        let position = Position {
            sequence: Sequence(7),
            chain: Chain::GENESIS,
            time: Timestamp::from_millis(0),
            closed: false,
            cluster_time: ClusterTime { seconds: 1, ordinal: 2 },
            balance: 0,
            token: None,
        };
        let of = SnapshotOf { department: "eng".parse().unwrap(), timeline: Timeline(1), position, epoch: Epoch(3) };
        let batches = futures::stream::iter(
            users.chunks(10).map(|batch| Ok::<_, BackupError>(Piece::Users(batch.to_vec()))).collect::<Vec<_>>(),
        );
        let previous = match previous {
            Some(written) => Some(Snapshot::open(&self.repository, &self.targets, &written.path).await?),
            None => None,
        };
        writer.write(&of, batches, previous.as_ref(), &CancellationToken::new(), |_| {}).await
    }

    async fn read(&self, written: &Written) -> Result<Vec<User>, BackupError> {
        let snapshot = Snapshot::open(&self.repository, &self.targets, &written.path).await?;
        Ok(snapshot.users(None).try_collect::<Vec<_>>().await?.concat())
    }
}

pub(super) fn users(count: u32) -> Vec<User> {
    (0..count).map(user).collect()
}

#[tokio::test]
async fn what_was_written_is_read_back_also_when_it_is_nothing() {
    for count in [0, 1, 300] {
        let place = Place::new(3);
        let written = place.write(users(count), None).await.unwrap();
        assert!(written.copies.iter().filter(|c| c.state == CopyState::Present).count() >= 2);
        assert_eq!(place.read(&written).await.unwrap(), users(count));
        let snapshot = Snapshot::open(&place.repository, &place.targets, &written.path).await.unwrap();
        let rest: Vec<User> = snapshot.users(Some(user(100).id)).try_collect::<Vec<_>>().await.unwrap().concat();
        assert_eq!(rest, users(count).into_iter().filter(|u| u.id > user(100).id).collect::<Vec<_>>());
        assert_eq!(snapshot.manifest().bytes, written.manifest.bytes);
    }
}

#[tokio::test]
async fn an_unchanged_chunk_is_not_written_again() {
    let place = Place::new(2);
    let first = place.write(users(300), None).await.unwrap();
    let mut changed = users(300);
    changed[150].version = 2;
    let second = place.write(changed, Some(&first)).await.unwrap();
    let new = second.manifest.chunks.iter().filter(|c| !first.manifest.chunks.contains(c)).count();
    assert_eq!(new, 1);
    assert_eq!(first.manifest.root, second.manifest.root);
}

#[tokio::test]
async fn a_damaged_copy_is_refused_and_another_one_is_read() {
    let place = Place::new(2);
    let written = place.write(users(300), None).await.unwrap();
    let paths: Vec<String> =
        written.manifest.chunks.iter().map(|c| written.manifest.chunk_path(c).as_str().to_owned()).collect();
    let whole = std::fs::read(place.file(0, &paths[0])).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let swapped = std::fs::read(place.file(0, &paths[1])).unwrap();
    for bytes in [whole[..whole.len() - 1].to_vec(), flipped, swapped, Vec::new()] {
        std::fs::write(place.file(0, &paths[0]), &bytes).unwrap();
        assert_eq!(place.read(&written).await.unwrap(), users(300));
        std::fs::write(place.file(1, &paths[0]), &bytes).unwrap();
        let refused = place.read(&written).await;
        assert!(matches!(refused, Err(BackupError::Damaged { .. })), "{refused:?}");
        std::fs::write(place.file(1, &paths[0]), &whole).unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_forged_with_another_secret_or_read_with_another_key_is_refused() {
    let place = Place::new(1);
    let written = place.write(users(20), None).await.unwrap();
    let (own, recipient) = identity();
    let other_key = Repository::from_secret("golden", [7; 32], std::slice::from_ref(&recipient), &own).unwrap();
    let refused = Snapshot::open(&other_key, &place.targets, &written.path).await;
    assert!(matches!(refused, Err(BackupError::WrongKey { .. })), "{refused:?}");

    let stranger = Repository::from_secret("golden", [8; 32], std::slice::from_ref(&recipient), &own).unwrap();
    let mut forged = Place::new(1);
    forged.repository = stranger;
    let planted = forged.write(users(20), None).await.unwrap();
    let refused = Snapshot::open(&other_key, &forged.targets, &planted.path).await;
    assert!(matches!(refused, Err(BackupError::Damaged { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_target_that_is_gone_owes_its_copy_and_two_gone_are_too_many() {
    let place = Place::new(3);
    std::fs::remove_dir_all(place.file(2, "")).unwrap();
    let written = place.write(users(300), None).await.unwrap();
    assert_eq!(written.copies[2].state, CopyState::Owed);
    assert!(written.copies[2].cause.is_some());
    std::fs::remove_dir_all(place.file(1, "")).unwrap();
    let refused = place.write(users(300), None).await;
    let Err(BackupError::QuorumNotReached { reached: 1, needed: 2, details }) = refused else { panic!("{refused:?}") };
    assert!(details.contains("t1:") && details.contains("t2:"), "{details}");
}

#[tokio::test]
async fn a_target_of_another_repository_becomes_foreign() {
    let place = Place::new(2);
    place.write(users(3), None).await.unwrap();
    let (own, recipient) = identity();
    let other = Repository::from_secret("other", [9; 32], &[recipient], &own).unwrap();
    for target in place.targets.iter() {
        assert!(matches!(other.admit(target).await, Err(BackupError::OtherRepository(_))));
        assert_eq!(target.status().state, TargetState::Foreign);
    }
}

#[tokio::test]
async fn a_person_with_the_key_reads_a_chunk_with_stock_tools() {
    let mut place = Place::new(1);
    let (own, recipient) = identity();
    place.repository = Repository::from_secret("golden", [7; 32], &[recipient], &own).unwrap();
    let written = place.write(users(5), None).await.unwrap();
    let key = place.dir.path().join("key");
    std::fs::write(&key, own.expose_secret()).unwrap();
    let chunk = place.file(0, written.manifest.chunk_path(&written.manifest.chunks[0]).as_str());
    let command = format!("age -d -i {} {} | zstd -d", key.display(), chunk.display());
    let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\"id\":\"u-00000000\"") && text.lines().last().unwrap().contains("\"mac\""), "{text}");
}

fn roots(records: &[User]) -> (Vec<[u8; 32]>, [u8; 32]) {
    let repository = golden_repository();
    let mut chunker = Chunker::new(&repository, 16);
    let mut chunks: Vec<_> = records.iter().filter_map(|user| chunker.push(user).unwrap()).collect();
    chunks.extend(chunker.finish());
    let digests: Vec<_> = chunks.iter().map(|chunk| chunk.digest).collect();
    (chunks.iter().map(|chunk| chunk.content_id).collect(), repository.merkle_root(&digests))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_root_commits_to_the_content_and_not_to_revisions(count in 1_u32..300, at in 0_usize..300) {
        let records = users(count);
        let mut rewritten = records.clone();
        for user in &mut rewritten {
            user.version += 9;
            user.rev = Rev::from_bits(user.rev.bits() + 9);
            user.updated_at = Timestamp::from_millis(9);
        }
        prop_assert_eq!(roots(&records).1, roots(&rewritten).1);
        let at = at % records.len();
        rewritten[at].locked = true;
        prop_assert_ne!(roots(&records).1, roots(&rewritten).1);
    }
}

#[test]
fn content_ids_and_roots_are_frozen() {
    let (ids, root) = roots(&users(40));
    assert_eq!(hex::encode(root), "98d0920e6b6d0ee2bfda40dddff00458fad7de4cae40c47f3e3fd7db46b6fcce");
    assert_eq!(hex::encode(ids[0]), "35088cd2b654ec2e7ff45bf0496d7edd50402fbaf6376bc587be357a33aeb237");
}
