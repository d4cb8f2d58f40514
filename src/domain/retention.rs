//! Which backups a department keeps: a plan with every reason, as a function of the backups, the policy and the time.
//!
//! Rules: the order of backups is their order in the history and never a clock's; a time that goes back counts as the
//! one before it, so a wrong clock can only keep more. Periods are hours, days, weeks (from Monday), months and years of UTC.

use std::time::Duration;

use super::clock::Timestamp;
use super::history::{Sequence, Timeline};
use super::ids::{BackupId, RestoreId};
use super::text::Invalid;

/// Longest `keep_within`.
const WITHIN_MAX: Duration = Duration::from_hours(3650 * 24);
/// Most backups of one kind that a policy may count.
const COUNT_MAX: u32 = 100_000;

/// What a department keeps of its backups and its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Every point of so long stays: all backups, and the whole journal.
    pub keep_within: Duration,
    /// So many of the newest backups stay.
    pub keep_last: u32,
    /// The newest backup of each of so many hours that have one.
    pub keep_hourly: u32,
    /// The same by days.
    pub keep_daily: u32,
    /// The same by weeks.
    pub keep_weekly: u32,
    /// The same by months.
    pub keep_monthly: u32,
    /// The same by years.
    pub keep_yearly: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep_within: Duration::from_hours(24),
            keep_last: 0,
            keep_hourly: 24,
            keep_daily: 14,
            keep_weekly: 8,
            keep_monthly: 12,
            keep_yearly: 3,
        }
    }
}

impl Retention {
    /// Checks the limits of a policy.
    ///
    /// # Errors
    /// When `keep_within` is outside 1 s to 10 years or not in whole seconds, or a count is above 100,000.
    pub fn checked(self) -> Result<Self, Invalid> {
        let within = (Duration::from_secs(1)..=WITHIN_MAX).contains(&self.keep_within);
        if !within || self.keep_within.subsec_nanos() != 0 {
            let rule = "keep_within is a whole number of seconds from 1s to 3650d, for example \"24h\" or \"7d\".";
            return Err(Invalid::new("invalid_keep_within", rule));
        }
        if self.counts().iter().any(|(_, count)| *count > COUNT_MAX) {
            return Err(Invalid::new("invalid_keep_count", "Each keep_ count is a number from 0 to 100000."));
        }
        Ok(self)
    }

    /// Where the time begins of which every point stays.
    pub fn since(&self, now: Timestamp) -> Timestamp {
        now.earlier_by(self.keep_within)
    }

    /// How long the safety backup of a restore stays after its end, which stays at least so long.
    pub fn undo_lifetime(&self, least: Duration) -> Duration {
        self.keep_within.max(least)
    }

    /// The counts by period, each with the reason that it gives.
    fn counts(&self) -> [(Reason, u32); 6] {
        [
            (Reason::Last, self.keep_last),
            (Reason::Hourly, self.keep_hourly),
            (Reason::Daily, self.keep_daily),
            (Reason::Weekly, self.keep_weekly),
            (Reason::Monthly, self.keep_monthly),
            (Reason::Yearly, self.keep_yearly),
        ]
    }
}

/// A complete backup as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The backup.
    pub id: BackupId,
    /// Its line of history.
    pub timeline: Timeline,
    /// Its place on it.
    pub sequence: Sequence,
    /// The department's time at that place.
    pub taken_at: Timestamp,
    /// When it was complete: decides between two backups of the same place.
    pub finished_at: Timestamp,
    /// Whether somebody holds it.
    pub held: bool,
    /// Whether somebody asked to delete it.
    pub unwanted: bool,
    /// The restore that needs it.
    pub pinned_by: Option<Pin>,
}

/// A restore that needs a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The restore.
    pub restore: RestoreId,
    /// It has ended, and can be undone until then; absent while it is open.
    pub until: Option<Timestamp>,
}

impl Pin {
    /// By a restore that is open: what it reads begins with the backup, and goes on from there.
    pub const fn open(restore: RestoreId) -> Self {
        Self { restore, until: None }
    }

    /// Whether the restore is open.
    pub const fn is_open(&self) -> bool {
        self.until.is_none()
    }
}

/// Why a backup is kept or dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The newest complete backup always stays.
    Newest,
    /// It lies within `keep_within`.
    Within,
    /// The whole history of `keep_within` begins with it.
    BeginsWindow,
    /// One of the newest.
    Last,
    /// The newest of its hour.
    Hourly,
    /// The newest of its day.
    Daily,
    /// The newest of its week.
    Weekly,
    /// The newest of its month.
    Monthly,
    /// The newest of its year.
    Yearly,
    /// Somebody holds it.
    Held,
    /// An open restore needs it.
    Pinned(RestoreId),
    /// It is the safety backup of a restore that can still be undone.
    Undo(RestoreId),
    /// Dropped: somebody asked for that.
    Requested,
    /// Dropped: no rule keeps it.
    Expired,
}

/// What becomes of one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The backup.
    pub point: Point,
    /// Whether it stays.
    pub keep: bool,
    /// Every reason for that.
    pub reasons: Vec<Reason>,
}

/// What becomes of each backup of a department.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The decisions, oldest backup first.
    pub decisions: Vec<Decision>,
    /// The backup that the whole history begins with, no later than what a restore needs; none while all of it is kept.
    pub begin: Option<BackupId>,
}

impl Plan {
    /// The backups to drop, oldest first.
    pub fn dropped(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|decision| !decision.keep)
    }
}

/// Decides what stays. `now` is the department's present time.
pub fn plan(policy: &Retention, points: Vec<Point>, now: Timestamp) -> Plan {
    plan_of(policy, points, now, Standing::Goes)
}

/// Decides what stays of a department that was deleted a while ago: nothing for being the newest or one of the last, since
/// nothing comes after it, and the counts cover so many hours, days, weeks, months and years up to now.
pub fn plan_of_deleted(policy: &Retention, points: Vec<Point>, now: Timestamp) -> Plan {
    plan_of(policy, points, now, Standing::Ends)
}

/// Whether the history of a department goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Goes,
    Ends,
}

fn plan_of(policy: &Retention, mut points: Vec<Point>, now: Timestamp, standing: Standing) -> Plan {
    let ends = standing == Standing::Ends;
    let place = |point: &Point| (point.timeline, point.sequence, point.finished_at);
    points.sort_unstable_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.id.cmp(&b.id)));
    let times = steady(&points);
    let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); points.len()];
    // Who is not wanted takes nobody's place.
    let wanted: Vec<usize> = (0..points.len()).filter(|at| !points[*at].unwanted).collect();
    if let Some(newest) = points.len().checked_sub(1).filter(|_| !ends) {
        reasons[newest].push(Reason::Newest);
    }
    let window = policy.since(now);
    let begin = wanted.iter().rev().find(|at| times[**at] <= window && !ends).copied();
    for at in &wanted {
        if times[*at] > window {
            reasons[*at].push(Reason::Within);
        } else if Some(*at) == begin {
            reasons[*at].push(Reason::BeginsWindow);
        }
    }
    for (reason, count) in policy.counts() {
        let mut left = count;
        let mut last = None;
        for at in wanted.iter().rev() {
            let period = if reason == Reason::Last { i64::try_from(*at).ok() } else { period(&reason, times[*at]) };
            let present = self::period(&reason, now).zip(period).map(|(now, then)| now - then);
            let passed = ends && present.is_none_or(|periods| periods >= i64::from(count));
            if left > 0 && period != last && !passed {
                reasons[*at].push(reason.clone());
                left -= 1;
                last = period;
            }
        }
    }
    // An open restore also reads on from its backup; an undo reads the safety backup alone.
    let pinned = points.iter().position(|point| point.pinned_by.as_ref().is_some_and(Pin::is_open));
    let id = begin.map(|at| points[pinned.map_or(at, |pinned| pinned.min(at))].id.clone());
    let decisions = points.into_iter().zip(reasons).map(|(point, reasons)| decide(point, reasons)).collect();
    Plan { decisions, begin: id }
}

fn decide(point: Point, mut reasons: Vec<Reason>) -> Decision {
    if point.held {
        reasons.push(Reason::Held);
    }
    if let Some(pin) = &point.pinned_by {
        let reason = if pin.is_open() { Reason::Pinned } else { Reason::Undo };
        reasons.push(reason(pin.restore.clone()));
    }
    let keep = !reasons.is_empty();
    if !keep {
        reasons.push(if point.unwanted { Reason::Requested } else { Reason::Expired });
    }
    Decision { point, keep, reasons }
}

/// The times of points in the order of the history, none before the one before it.
fn steady(points: &[Point]) -> Vec<Timestamp> {
    let mut latest = None;
    let later = |point: &Point| {
        let time = latest.map_or(point.taken_at, |latest: Timestamp| latest.max(point.taken_at));
        latest = Some(time);
        time
    };
    points.iter().map(later).collect()
}

/// The number of the period that a moment lies in.
fn period(reason: &Reason, time: Timestamp) -> Option<i64> {
    let days = time.as_millis().div_euclid(86_400_000);
    let (year, month, _) = time.date();
    match reason {
        Reason::Hourly => Some(time.as_millis().div_euclid(3_600_000)),
        Reason::Daily => Some(days),
        // 1970-01-01 was a Thursday.
        Reason::Weekly => Some((days + 3).div_euclid(7)),
        Reason::Monthly => Some(year * 12 + i64::try_from(month).unwrap_or(0)),
        Reason::Yearly => Some(year),
        _ => None,
    }
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
