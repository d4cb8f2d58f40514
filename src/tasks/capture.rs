//! Makes what a backup consists of: a snapshot scanned from the records, a snapshot folded from the last one and the
//! journal, or the last snapshot as it is with the journal after it.
//!
//! Rule: a snapshot only shortens the replay; whatever hinders the use of an older one, the records are scanned.

use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::watch;
use tracing::{info, warn};

use super::halt::Halt;
use super::leader::Leading;
use crate::backup::journal;
use crate::backup::journal_read::{JournalPlace, Point};
use crate::backup::require_quorum;
use crate::backup::state::{Piece, State};
use crate::backup::write::{SnapshotOf, SnapshotWriter};
use crate::backup::{BackupError, Snapshot};
use crate::domain::backup::{Backup, BackupContent, BackupProgress, Base};
use crate::domain::basis::{Basis, basis};
use crate::domain::cause::Cause;
use crate::domain::copies::{Copy, CopyState};
use crate::domain::history::{Position, Sequence, Timeline};
use crate::domain::ids::{BackupId, TargetName};
use crate::targets::layout::ObjectPath;

/// How often the progress of a running backup is written.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// What a backup holds, and who holds it.
#[derive(Debug)]
pub(super) struct Captured {
    pub(super) content: BackupContent,
    pub(super) copies: Vec<Copy>,
    /// Paths of the chunks of a new snapshot.
    pub(super) chunks: Vec<String>,
}

/// The backup that is being made.
struct Capture<'a> {
    leading: &'a Leading,
    id: &'a BackupId,
    timeline: Timeline,
    position: &'a Position,
    /// Where the backup before it is.
    last: Option<Sequence>,
}

/// Makes what a backup at a position consists of. The head covers the position.
pub(super) async fn capture(
    leading: &Leading,
    backup: &Backup,
    timeline: Timeline,
    position: &Position,
    previous: Option<&Backup>,
) -> Result<Captured, Halt> {
    let previous = previous.and_then(|previous| Some((previous, previous.content.as_ref()?)));
    let last = previous.filter(|(_, content)| content.timeline == timeline).map(|(_, content)| content.sequence);
    let capture = Capture { leading, id: &backup.id, timeline, position, last };
    // Of a snapshot that no target has whole, the chunks that nothing touches would be referred to again.
    let damaged = |(previous, _): &(&Backup, _)| previous.copies.iter().any(|copy| copy.state == CopyState::Damaged);
    if previous.as_ref().is_some_and(damaged) {
        info!("the last snapshot is damaged: the records are scanned");
        return capture.scan().await;
    }
    let outcome = match basis(backup.kind, previous.map(|(_, content)| content), timeline, position) {
        Basis::Scan => return capture.scan().await,
        Basis::Fold => capture.fold(previous.map(|(_, content)| content)).await,
        Basis::Journal => capture.journal(previous).await,
    };
    match outcome {
        Err(Halt::Failed(cause, _)) => {
            info!(cause = cause.message, "the last snapshot cannot be used: the records are scanned");
            capture.scan().await
        }
        outcome => outcome,
    }
}

impl Capture<'_> {
    fn place(&self) -> JournalPlace {
        self.leading.journal(self.timeline)
    }

    fn point(&self) -> Point {
        Point::from(self.position)
    }

    /// The last snapshot with the journal after it: what is new is read back from each target, nothing else is touched.
    async fn journal(&self, previous: Option<(&Backup, &BackupContent)>) -> Result<Captured, Halt> {
        let Some((previous, last)) = previous else { return self.scan().await };
        let from = Point::from(last);
        let place = self.place();
        let answers = self.leading.unless_ended(journal::verify(&place, from, self.point())).await?;
        let now = self.leading.parts.clock.now();
        let held = |target: &TargetName| previous.copies.iter().find(|copy| copy.target == *target);
        let copies: Vec<Copy> = place
            .targets
            .iter()
            .zip(answers)
            .map(|(target, answer)| {
                let before = held(target.name());
                let cause = match before {
                    Some(copy) if copy.state == CopyState::Present => answer.err(),
                    Some(copy) => Some(copy.cause.clone().unwrap_or_else(owed)),
                    None => Some(owed()),
                };
                let state = if cause.is_none() { CopyState::Present } else { CopyState::Owed };
                Copy { target: target.name().clone(), state, verified_at: cause.is_none().then_some(now), cause }
            })
            .collect();
        let failures: Vec<Option<Cause>> = copies.iter().map(|copy| copy.cause.clone()).collect();
        require_quorum(&place.targets, &failures)?;
        let grown = self.position.balance - last.balance;
        let records = last.records.saturating_add_signed(grown);
        Ok(Captured { content: self.content(last.base.clone(), records), copies, chunks: Vec::new() })
    }

    /// A new snapshot out of the last one and the journal after it; no record is read.
    async fn fold(&self, last: Option<&BackupContent>) -> Result<Captured, Halt> {
        let Some(last) = last else { return self.scan().await };
        let place = self.place();
        let path = ObjectPath::from_stored(last.base.snapshot.clone());
        let opening = async {
            let base = Snapshot::open(&place.repository, &place.targets, &path).await?;
            let from = base.manifest().point();
            let state = State::at(place, Some((base.clone(), from)), self.point()).await?;
            Ok::<_, BackupError>((base, state))
        };
        let (base, state) = self.leading.unless_ended(opening).await??;
        let records = last.records.saturating_add_signed(self.position.balance - last.balance);
        let captured = self.snapshot(state.pieces(), records, Some(&base)).await?;
        if captured.content.records != records {
            warn!(folded = captured.content.records, counted = records, "the snapshot has another number of records");
        }
        Ok(captured)
    }

    /// A new snapshot out of the records, as they are at the position's cluster time.
    async fn scan(&self) -> Result<Captured, Halt> {
        let parts = &self.leading.parts;
        let department = &self.leading.leadership.department;
        let total = parts.store.users.count(department).await?;
        let cursors = parts.config.backup.scan_cursors;
        let records = parts.store.users.scan_at(department, self.position.cluster_time, cursors);
        let pieces = records.map(|batch| batch.map(Piece::Users).map_err(BackupError::from));
        self.snapshot(pieces, total, None).await
    }

    async fn snapshot(
        &self,
        pieces: impl Stream<Item = Result<Piece, BackupError>> + Send,
        records_total: u64,
        previous: Option<&Snapshot>,
    ) -> Result<Captured, Halt> {
        let parts = &self.leading.parts;
        let (progress, reported) = watch::channel(BackupProgress { records_total, ..BackupProgress::default() });
        let writer = SnapshotWriter {
            repository: self.leading.repository.clone(),
            targets: parts.targets.clone(),
            chunk_records: parts.config.backup.chunk_records,
            clock: parts.clock.clone(),
        };
        let of = SnapshotOf {
            department: self.leading.leadership.department.clone(),
            timeline: self.timeline,
            position: self.position.clone(),
            epoch: self.leading.leadership.epoch,
        };
        let report = |done: BackupProgress| {
            progress.send_replace(BackupProgress { records_total, ..done });
        };
        let written = tokio::select! {
            written = writer.write(&of, pieces, previous, &self.leading.ended, report) => written?,
            halt = report_progress(self.leading, self.id, reported) => return Err(halt),
        };
        let manifest = &written.manifest;
        let chunks = manifest.chunks.iter().map(|chunk| manifest.chunk_path(chunk).to_string()).collect();
        let base = Base {
            snapshot: written.path.as_str().to_owned(),
            sequence: self.position.sequence,
            taken_at: self.position.time,
            records: written.manifest.records,
            bytes: written.manifest.bytes,
            root: written.manifest.root,
        };
        let records = base.records;
        Ok(Captured { content: self.content(base, records), copies: written.copies, chunks })
    }

    fn content(&self, base: Base, records: u64) -> BackupContent {
        BackupContent {
            timeline: self.timeline,
            sequence: self.position.sequence,
            chain: self.position.chain,
            taken_at: self.position.time,
            cluster_time: self.position.cluster_time,
            records,
            balance: self.position.balance,
            base,
            unchanged: self.last == Some(self.position.sequence),
        }
    }
}

fn owed() -> Cause {
    Cause::new("owed", "The target does not hold the snapshot yet; its copy is caught up later.")
}

/// Writes progress as it comes; ends only when the leadership has.
async fn report_progress(leading: &Leading, id: &BackupId, mut reported: watch::Receiver<BackupProgress>) -> Halt {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        if reported.changed().await.is_err() {
            return std::future::pending().await;
        }
        let progress = *reported.borrow_and_update();
        if let Err(error) = leading.parts.store.backups.set_progress(&leading.leadership, id, progress).await
            && let halt @ Halt::Ended = Halt::from(error)
        {
            return halt;
        }
    }
}
