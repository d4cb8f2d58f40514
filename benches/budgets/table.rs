//! The table of a run: what was measured, beside what, and what the budget says of it.

use std::fmt::Write as _;
use std::time::Duration;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    took: String,
    rate: String,
    ratio: String,
    budget: String,
    peak: String,
}

/// Measured lines, in their order.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

/// What a measurement is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// The ratio may be at most this.
    AtMost(f64),
    /// The ratio has to be at least this.
    AtLeast(f64),
}

impl Table {
    /// Adds something that took a time for a number of records.
    pub(crate) fn timed(&mut self, what: &str, took: Duration, records: usize) -> &mut Row {
        let rate = format!("{:.1} k/s", per_second(records, took) / 1000.0);
        self.add(what, format!("{:.2} s", took.as_secs_f64()), rate)
    }

    /// Adds a number of operations a second.
    pub(crate) fn rate(&mut self, what: &str, per_second: f64) -> &mut Row {
        self.add(what, String::new(), format!("{:.1} k/s", per_second / 1000.0))
    }

    /// Adds how long something took, most often and at worst; `most` is the budget of the 99th percentile.
    pub(crate) fn latency(&mut self, what: &str, took: &[Duration], most: Option<Duration>) -> &mut Row {
        let (half, worst) = (percentile(took, 50), percentile(took, 99));
        let row = self.add(what, format!("p50 {}, p99 {}", millis(half), millis(worst)), String::new());
        if let Some(most) = most {
            row.say(&format!("p99 ≤ {}", millis(most)), worst <= most);
        }
        row
    }

    /// Adds what many clients had at the same time: those that were answered, and those that were refused.
    pub(crate) fn loaded(&mut self, what: &str, answered: &[Duration], rate: f64, refused: &[Duration]) -> &mut Row {
        let [all, some] = [answered.len() + refused.len(), refused.len()].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let row = self.latency(what, answered, None);
        row.rate = format!("{:.1} k/s", rate / 1000.0);
        if some > 0 {
            let share = 100.0 * f64::from(some) / f64::from(all);
            row.ratio = format!("{share:.1} % refused (429, 503), p99 {}", millis(percentile(refused, 99)));
        }
        row
    }

    /// Adds something that is neither a time nor a rate.
    pub(crate) fn figure(&mut self, what: &str, figure: String) -> &mut Row {
        self.add(what, figure, String::new())
    }

    /// Adds a peer that is not there.
    pub(crate) fn absent(&mut self, what: &str) {
        self.add(what, "not on PATH".to_owned(), String::new());
    }

    fn add(&mut self, what: &str, took: String, rate: String) -> &mut Row {
        let row =
            Row { what: what.to_owned(), took, rate, ratio: String::new(), budget: String::new(), peak: String::new() };
        self.rows.push(row);
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }

    /// The table in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text =
            "| work | time | rate | ratio | budget | memory over idle |\n|---|--:|--:|---|---|--:|\n".to_owned();
        for Row { what, took, rate, ratio, budget, peak } in &self.rows {
            let _ = writeln!(text, "| {what} | {took} | {rate} | {ratio} | {budget} | {peak} |");
        }
        text
    }
}

impl Row {
    /// Sets the ratio to a peer, and what the budget says of it.
    pub(crate) fn against(&mut self, peer: &str, ratio: f64, limit: Option<Limit>) -> &mut Self {
        let shown = format!("{ratio:.2} × {peer}");
        self.ratio = if self.ratio.is_empty() { shown } else { format!("{}; {shown}", self.ratio) };
        if let Some(limit) = limit {
            let (text, met) = match limit {
                Limit::AtMost(most) => (format!("≤ {most:.2} ×"), ratio <= most),
                Limit::AtLeast(least) => (format!("≥ {least:.2} ×"), ratio >= least),
            };
            self.say(&format!("{text} {peer}"), met);
        }
        self
    }

    /// Sets what the budget says of the time itself.
    pub(crate) fn within(&mut self, took: Duration, most: Duration) -> &mut Self {
        self.say(&format!("≤ {:.0} s", most.as_secs_f64()), took <= most);
        self
    }

    /// Sets the memory in MiB, and what the budget says of it.
    pub(crate) fn memory(&mut self, mib: u64, most: u64) -> &mut Self {
        self.peak = format!("{mib} MiB{}", if mib <= most { "" } else { " (**missed**)" });
        self
    }

    fn say(&mut self, budget: &str, met: bool) {
        self.budget = format!("{budget}: {}", if met { "met" } else { "**missed**" });
    }
}

/// Records a second.
pub(crate) fn per_second(records: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(records).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

/// How many times the first duration is the second.
pub(crate) fn times(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// The time that so many in a hundred did not exceed.
pub(crate) fn percentile(took: &[Duration], percent: usize) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

/// Milliseconds, with a decimal where they are few.
pub(crate) fn millis(took: Duration) -> String {
    let millis = took.as_secs_f64() * 1000.0;
    if millis < 100.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}
