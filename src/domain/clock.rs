//! Moments and the clock that names them.
//!
//! Rule: a moment holds whole milliseconds, as MongoDB does, so that a time survives every round trip.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::text::Invalid;

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

fn millis_of(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl Timestamp {
    /// A moment from its milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The moment so much later.
    #[must_use]
    pub fn later_by(self, time: Duration) -> Self {
        Self(self.0.saturating_add(millis_of(time)))
    }

    /// The moment so much earlier.
    #[must_use]
    pub fn earlier_by(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(millis_of(time)))
    }

    /// The time that has passed since an earlier moment; none for a later one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// RFC 3339, UTC, with milliseconds; absent for a year that has not four digits. A backup writes millions of them.
    pub fn rfc3339(self) -> Option<[u8; RFC3339_LEN]> {
        let (days, of_day) = (self.0.div_euclid(DAY_MILLIS), self.0.rem_euclid(DAY_MILLIS));
        let (year, month, day) = civil(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        put(&mut text[0..4], u64::try_from(year).ok().filter(|year| *year <= 9999)?);
        put(&mut text[5..7], month);
        put(&mut text[8..10], day);
        let of_day = of_day.unsigned_abs();
        put(&mut text[11..13], of_day / 3_600_000);
        put(&mut text[14..16], of_day / 60_000 % 60);
        put(&mut text[17..19], of_day / 1000 % 60);
        put(&mut text[20..23], of_day % 1000);
        Some(text)
    }
}

impl Timestamp {
    /// Year, month and day of the moment in UTC.
    pub fn date(self) -> (i64, u64, u64) {
        civil(self.0.div_euclid(DAY_MILLIS))
    }
}

const RFC3339_LEN: usize = "2026-11-23T09:30:00.000Z".len();
const DAY_MILLIS: i64 = 86_400_000;

/// Writes a number in decimal digits, with zeros before it.
fn put(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar. Counts from 1 March of the
/// year 0, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, u64, u64) {
    let from_march = days + 719_468;
    let (era, of_era) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month.unsigned_abs(), (of_year - (153 * shifted + 2) / 5 + 1).unsigned_abs())
}

/// The number of days since 1970-01-01 of a day in the Gregorian calendar.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Reads exactly the form that `rfc3339` writes.
fn read_rfc3339(text: &[u8]) -> Option<Timestamp> {
    let text: &[u8; RFC3339_LEN] = text.try_into().ok()?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
    let number = |range: std::ops::Range<usize>| {
        text[range].iter().try_fold(0, |number, b| b.is_ascii_digit().then(|| number * 10 + i64::from(b - b'0')))
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let days = days_of(year, month, day);
    // A day that is not in the calendar comes back as another one.
    let exists =
        civil(days) == (year, month.unsigned_abs(), day.unsigned_abs()) && hour < 24 && minute < 60 && second < 60;
    let form = marks.iter().all(|(at, mark)| text[*at] == *mark);
    let millis = ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + number(20..23)?;
    (exists && form).then_some(Timestamp(millis))
}

impl fmt::Display for Timestamp {
    /// RFC 3339, UTC, always three digits of a second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.rfc3339()
            && let Ok(text) = std::str::from_utf8(&text)
        {
            return f.write_str(text);
        }
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Some(moment) = read_rfc3339(text.as_bytes()) {
            return Ok(moment);
        }
        let moment: jiff::Timestamp = text.parse().map_err(|_| {
            Invalid::new("invalid_time", "A time is RFC 3339 with an offset, for example 2026-11-23T09:30:00.000Z.")
        })?;
        Ok(Self(moment.as_millisecond()))
    }
}

/// Where the time comes from: the system, or a test that moves it.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The system's wall clock.
    System,
    /// A clock that stands still until it is told otherwise; holds milliseconds.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The present moment.
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of the wall clock")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp(jiff::Timestamp::now().as_millisecond()),
            Self::Manual(millis) => Timestamp(millis.load(Ordering::SeqCst)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_with_milliseconds_and_read_back() {
        let moment = Timestamp::from_millis(1_795_512_345_670);
        assert_eq!(moment.to_string().len(), "2026-11-24T05:25:45.670Z".len());
        assert_eq!(moment.to_string().parse::<Timestamp>(), Ok(moment));
    }

    #[test]
    fn the_short_way_reads_and_writes_what_the_calendar_library_does() {
        let leap_days = [951_782_400_000, 1_709_164_800_000, -2_203_891_200_000, 4_107_542_399_999];
        let steps = (-62_167_219_200_000..253_402_300_799_999).step_by(86_399_999 * 13 + 7);
        for millis in leap_days.into_iter().chain(steps) {
            let moment = Timestamp::from_millis(millis);
            let written = format!("{:.3}", jiff::Timestamp::from_millisecond(millis).unwrap());
            assert_eq!(moment.to_string(), written);
            assert_eq!(read_rfc3339(written.as_bytes()), Some(moment));
        }
    }

    #[test]
    fn a_day_that_is_not_in_the_calendar_is_refused() {
        for bad in [
            "2023-02-29T00:00:00.000Z",
            "2023-13-01T00:00:00.000Z",
            "2023-01-01T24:00:00.000Z",
            "2023-01-00T00:00:00.000Z",
            "2023-01-01 00:00:00.000Z",
            "2023-01-01T00:00:00.0x0Z",
            "2023-01-01T00:00:60.000Z",
        ] {
            assert_eq!(read_rfc3339(bad.as_bytes()), None, "{bad}");
        }
    }
}
