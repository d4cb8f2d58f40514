//! The recovery window of a department: which moments can be read and restored, and which lie outside or in a gap.
//!
//! Rule: a moment is admitted only where a base and every change after it were captured, so what is admitted is exact.

use super::clock::Timestamp;
use super::history::{Gap, Sequence, Timeline};

/// A place in a department's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line of history.
    pub timeline: Timeline,
    /// Changes up to and including this one.
    pub sequence: Sequence,
    /// The department's time there.
    pub time: Timestamp,
}

/// What is asked of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Every change with a time up to this one.
    Time(Timestamp),
    /// Every change up to this number.
    Sequence(Sequence),
}

/// A run of history without a break: every moment of it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its earliest place.
    pub from: Place,
    /// Its latest place, on the same timeline.
    pub through: Place,
}

impl Stretch {
    fn holds(&self, moment: Moment) -> bool {
        match moment {
            Moment::Time(at) => self.from.time <= at && at <= self.through.time,
            Moment::Sequence(at) => self.from.sequence <= at && at <= self.through.sequence,
        }
    }

    fn begins_after(&self, moment: Moment) -> bool {
        match moment {
            Moment::Time(at) => self.from.time > at,
            Moment::Sequence(at) => self.from.sequence > at,
        }
    }

    fn ends_before(&self, moment: Moment) -> bool {
        match moment {
            Moment::Time(at) => self.through.time < at,
            Moment::Sequence(at) => self.through.sequence < at,
        }
    }
}

/// Which moments of a department can be read and restored: stretches, oldest first, with a gap between two neighbours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryWindow {
    /// The stretches. None before the first backup of a department whose beginning nobody saw.
    pub stretches: Vec<Stretch>,
    /// Every gap at or after the earliest stretch, oldest first.
    pub gaps: Vec<Gap>,
}

/// Why a moment cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutsideReason {
    /// Nothing can be restored yet: there is no complete backup.
    NoHistory,
    /// It is before the recovery window.
    BeforeWindow,
    /// It is after what was captured, or in the future.
    AfterWindow,
    /// It lies in a gap.
    InGap,
}

/// A moment that cannot be read, and the nearest ones that can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outside {
    /// Why.
    pub reason: OutsideReason,
    /// The nearest place before it.
    pub before: Option<Place>,
    /// The nearest place after it.
    pub after: Option<Place>,
}

impl RecoveryWindow {
    /// The earliest place that can be restored.
    pub fn from(&self) -> Option<Place> {
        self.stretches.first().map(|stretch| stretch.from)
    }

    /// The latest place that can be restored.
    pub fn through(&self) -> Option<Place> {
        self.stretches.last().map(|stretch| stretch.through)
    }

    /// Where a gap ends: the first place that can be restored after it.
    pub fn end_of(&self, gap: &Gap) -> Option<Place> {
        self.stretches.iter().map(|stretch| stretch.from).find(|from| from.timeline > gap.timeline)
    }

    /// The stretch that a moment lies in. Where two hold it (nothing changed over a gap), the older one.
    ///
    /// # Errors
    /// The nearest places, when it lies in none.
    pub fn admit(&self, moment: Moment) -> Result<Stretch, Outside> {
        if let Some(stretch) = self.stretches.iter().find(|stretch| stretch.holds(moment)) {
            return Ok(*stretch);
        }
        let before = self.stretches.iter().rev().find(|stretch| stretch.ends_before(moment));
        let after = self.stretches.iter().find(|stretch| stretch.begins_after(moment));
        let gap_at_the_end = || match (self.gaps.last(), self.through()) {
            (Some(gap), Some(through)) => gap.timeline >= through.timeline,
            _ => false,
        };
        let reason = match (before, after) {
            (None, None) => OutsideReason::NoHistory,
            (None, Some(_)) => OutsideReason::BeforeWindow,
            (Some(_), Some(_)) => OutsideReason::InGap,
            (Some(_), None) if gap_at_the_end() => OutsideReason::InGap,
            (Some(_), None) => OutsideReason::AfterWindow,
        };
        let (before, after) = (before.map(|stretch| stretch.through), after.map(|stretch| stretch.from));
        Err(Outside { reason, before, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(timeline: i64, sequence: i64, time: i64) -> Place {
        Place { timeline: Timeline(timeline), sequence: Sequence(sequence), time: Timestamp::from_millis(time) }
    }

    fn gap(timeline: i64, after: i64, time: i64) -> Gap {
        Gap {
            timeline: Timeline(timeline),
            after: Sequence(after),
            goes_on_after: Sequence(after),
            time: Timestamp::from_millis(time),
            found_at: Timestamp::from_millis(time),
            cause: "collection_dropped".to_owned(),
        }
    }

    fn window() -> RecoveryWindow {
        RecoveryWindow {
            stretches: vec![
                Stretch { from: place(1, 0, 100), through: place(1, 10, 200) },
                Stretch { from: place(2, 10, 300), through: place(2, 15, 400) },
            ],
            gaps: vec![gap(1, 10, 200)],
        }
    }

    fn time(millis: i64) -> Moment {
        Moment::Time(Timestamp::from_millis(millis))
    }

    #[test]
    fn a_moment_of_a_stretch_is_admitted_on_its_timeline() {
        let timeline = |moment| window().admit(moment).unwrap().from.timeline;
        assert_eq!(timeline(time(100)), Timeline(1));
        assert_eq!(timeline(time(200)), Timeline(1));
        assert_eq!(timeline(time(300)), Timeline(2));
        assert_eq!(timeline(Moment::Sequence(Sequence(10))), Timeline(1), "before the gap");
        assert_eq!(timeline(Moment::Sequence(Sequence(11))), Timeline(2));
    }

    #[test]
    fn a_moment_outside_is_refused_with_the_nearest_places() {
        let outside = |moment| {
            let outside = window().admit(moment).unwrap_err();
            (outside.reason, outside.before.map(|place| place.time.as_millis()), outside.after)
        };
        assert_eq!(outside(time(99)), (OutsideReason::BeforeWindow, None, Some(place(1, 0, 100))));
        assert_eq!(outside(time(250)), (OutsideReason::InGap, Some(200), Some(place(2, 10, 300))));
        assert_eq!(outside(time(401)), (OutsideReason::AfterWindow, Some(400), None));
        let late = window().admit(Moment::Sequence(Sequence(16))).unwrap_err();
        assert_eq!(late.reason, OutsideReason::AfterWindow);
    }

    #[test]
    fn after_a_gap_without_a_backup_nothing_is_admitted_yet() {
        let mut open = window();
        open.stretches.pop();
        assert_eq!(open.admit(time(250)).unwrap_err().reason, OutsideReason::InGap);
        assert_eq!(open.through(), Some(place(1, 10, 200)));
        assert_eq!(open.end_of(&open.gaps[0]), None);
        assert_eq!(window().end_of(&open.gaps[0]), Some(place(2, 10, 300)));
    }

    #[test]
    fn without_any_backup_there_is_no_history() {
        let none = RecoveryWindow::default();
        assert_eq!(none.admit(time(1)).unwrap_err().reason, OutsideReason::NoHistory);
        assert_eq!((none.from(), none.through()), (None, None));
    }
}
