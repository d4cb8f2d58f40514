//! What the history last knew of users between the point of a restore and now: the journal of the recovery window, and before
//! that the backups that retention has kept.

use super::BackupError;
use super::journal_read::{JournalPlace, Point};
use super::kept_before::KeptBefore;
use super::known::{LastKnown, Span};
use super::past::PastPoint;
use super::sides::{Reads, Sides, Wanted, of_past};
use super::state::State;
use crate::domain::barrier::Receipt;
use crate::domain::clock::Timestamp;
use crate::domain::ids::DepartmentName;
use crate::domain::restore::Restore;
use crate::domain::window::{Moment, Place, Stretch};

impl Reads<'_> {
    /// What the two departments of a restore into another one know of users since its point: the one that the records come
    /// from up to a receipt, and the one that gets them up to the safety backup.
    ///
    /// # Errors
    /// When one of the histories cannot be read.
    pub async fn histories(
        &self,
        restore: &Restore,
        sides: &Sides,
        receipt: &Receipt,
    ) -> Result<Vec<LastKnown>, BackupError> {
        let (Wanted::State(wanted), Some(from)) = (&sides.wanted, &sides.from) else { return Ok(Vec::new()) };
        let point = Point { sequence: receipt.sequence, chain: receipt.chain };
        let until = PastPoint { timeline: receipt.timeline, point, time: receipt.time, ..from.clone() };
        let theirs = self.known(wanted, from, &until).await?;
        let (department, safety) = self.safety(restore).await?;
        let own = self.known_since(wanted, from.time, &PastPoint::of_backup(&department, &safety)).await?;
        Ok(vec![theirs, own])
    }

    /// The history of a department from a time to a point, with whoever was there at that time.
    async fn known_since(&self, wanted: &State, since: Timestamp, until: &PastPoint) -> Result<LastKnown, BackupError> {
        let department = &until.department;
        let place = JournalPlace::new(self.repository, self.targets.clone(), department, until.timeline);
        let mut spans = Vec::new();
        let window = self.store.windows.get(department).await?;
        let after = |stretch: &&Stretch| stretch.through.time >= since && stretch.from.timeline <= until.timeline;
        let before = match window.stretches.iter().find(after) {
            Some(first) if first.from.time > since => self.before(wanted, department, since, first.from).await?,
            _ => None,
        };
        for stretch in window.stretches.iter().filter(after) {
            let own = stretch.from.timeline;
            let reached = if own == until.timeline { until.point } else { self.end_of(until, stretch).await? };
            let begins = if stretch.from.time <= since {
                let found = self.past.locate(department, Moment::Time(since)).await.map_err(of_past)?;
                Some(found).filter(|found| found.timeline == own)
            } else {
                None
            };
            let (begin, at) = match begins {
                Some(found) => (self.past.state(&found).await.map_err(of_past)?, found.point),
                None => self.begin_of(until, stretch).await?,
            };
            if at.sequence <= reached.sequence {
                spans.push(Span { timeline: own, begin, begin_counts: true, from: at, to: reached });
            }
        }
        Ok(LastKnown { place, spans, before })
    }

    /// The history of a department between two points: every stretch of it that can be read, and the kept backups before.
    pub(super) async fn known(
        &self,
        wanted: &State,
        from: &PastPoint,
        until: &PastPoint,
    ) -> Result<LastKnown, BackupError> {
        let timeline = from.timeline;
        let place = JournalPlace::new(self.repository, self.targets.clone(), &from.department, timeline);
        let mut spans = Vec::new();
        let window = self.store.windows.get(&from.department).await?;
        let between = |stretch: &&Stretch| (from.timeline..=until.timeline).contains(&stretch.from.timeline);
        let holds =
            |stretch: &Stretch| stretch.from.timeline == timeline && stretch.from.sequence <= from.point.sequence;
        let before = match window.stretches.iter().find(between) {
            Some(first) if !holds(first) => self.before(wanted, &from.department, from.time, first.from).await?,
            _ => None,
        };
        for stretch in window.stretches.iter().filter(between) {
            let own = stretch.from.timeline;
            let reached = if own == until.timeline { until.point } else { self.end_of(from, stretch).await? };
            let begins_with_wanted = holds(stretch);
            let (begin, at) =
                if begins_with_wanted { (wanted.clone(), from.point) } else { self.begin_of(from, stretch).await? };
            if at.sequence <= reached.sequence {
                let begin_counts = !begins_with_wanted;
                spans.push(Span { timeline: own, begin, begin_counts, from: at, to: reached });
            }
        }
        Ok(LastKnown { place, spans, before })
    }

    /// The backups of a department that were kept from after a time and before the recovery window, where there are any.
    async fn before(
        &self,
        wanted: &State,
        department: &DepartmentName,
        after: Timestamp,
        window: Place,
    ) -> Result<Option<KeptBefore>, BackupError> {
        let backups = self.store.windows.kept_between(department, after, window).await?;
        let (repository, targets) = (self.repository.clone(), self.targets.clone());
        let (department, wanted) = (department.clone(), wanted.clone());
        let kept = KeptBefore { repository, targets, department, wanted, backups: backups.into() };
        Ok(Some(kept).filter(|kept| !kept.backups.is_empty()))
    }

    /// Where a stretch ends that a gap follows.
    async fn end_of(&self, of: &PastPoint, stretch: &Stretch) -> Result<Point, BackupError> {
        let last = Moment::Sequence(stretch.through.sequence);
        Ok(self.past.locate(&of.department, last).await.map_err(of_past)?.point)
    }

    /// The state that a stretch begins with.
    async fn begin_of(&self, of: &PastPoint, stretch: &Stretch) -> Result<(State, Point), BackupError> {
        let first = Moment::Sequence(stretch.from.sequence);
        match self.store.windows.newest_at(&of.department, stretch.from.timeline, first).await? {
            Some(content) => {
                let point = Point::from(&content);
                Ok((self.state_of(&of.department, &content).await?, point))
            }
            None => Ok((State::empty(), Point::BEGINNING)),
        }
    }
}
