//! A journal written through the library, as the service would have written it: what takes a day cannot be waited for.

use std::path::Path;

use rollkeeper::backup::Repository;
use rollkeeper::backup::chain::change_line;
use rollkeeper::backup::journal_read::{JournalPlace, Point};
use rollkeeper::backup::segment::Segment;
use rollkeeper::config::targets::{TargetConfig, TargetsConfig};
use rollkeeper::domain::clock::{Clock, Timestamp};
use rollkeeper::domain::epoch::Epoch;
use rollkeeper::domain::history::{Change, Sequence, Source, Timeline};
use rollkeeper::targets::Targets;

use crate::people::DEPARTMENT;

/// Plain bytes of a full segment.
const SEGMENT_BYTES: usize = 4 * 1024 * 1024;

/// The end of a journal that is being written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) place: JournalPlace,
    source: Source,
    /// The last change.
    pub(crate) at: Point,
    time: Timestamp,
    /// Where the open segment begins.
    begin: Point,
    lines: Vec<u8>,
}

impl Written {
    /// The empty journal of the department on the first target of a folder.
    pub(crate) fn begin(folder: &Path, repository: Repository, source: Source) -> Self {
        let place = JournalPlace {
            repository,
            targets: target(folder),
            department: DEPARTMENT.parse().expect("be a name"),
            timeline: Timeline(1),
        };
        let (at, time) = (Point::BEGINNING, Timestamp::from_millis(0));
        Self { place, source, at, time, begin: at, lines: Vec::new() }
    }

    /// Writes a change; ends the segment when it is full.
    pub(crate) async fn change(&mut self, change: &Change, time: Timestamp) {
        let sequence = Sequence(self.at.sequence.0 + 1);
        let line = change_line(sequence, time, change);
        let chain = self.place.repository.chain_after(&self.at.chain, &line);
        (self.at, self.time) = (Point { sequence, chain }, time);
        self.lines.extend_from_slice(&line);
        self.lines.push(b'\n');
        if self.lines.len() >= SEGMENT_BYTES {
            self.flush().await;
        }
    }

    /// Ends the segment, if there is anything in it.
    pub(crate) async fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let segment = Segment {
            department: self.place.department.clone(),
            timeline: self.place.timeline,
            first: Sequence(self.begin.sequence.0 + 1),
            last: self.at.sequence,
            before: self.begin.chain,
            after: self.at.chain,
            through: self.time,
            epoch: Epoch(1),
            source: self.source.clone(),
            lines: std::mem::take(&mut self.lines),
        };
        let (path, sealed) = self.place.repository.seal_segment(&segment).expect("seal a segment");
        for target in self.place.targets.iter() {
            target.put(&path, sealed.clone()).await.expect("write a segment");
        }
        self.begin = self.at;
    }
}

/// The first target of a stack's folder.
pub(crate) fn target(folder: &Path) -> Targets {
    let url = format!("file://{}", folder.join("targets/t1").display());
    let list = vec![TargetConfig::at("t1", url)];
    let config = TargetsConfig { write_quorum: None, operation_timeout: std::time::Duration::from_mins(1), list };
    Targets::open(&config, &Clock::System).expect("open a target")
}
