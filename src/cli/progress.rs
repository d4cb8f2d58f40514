//! How far long work has come: one line that changes on a terminal, else a line now and then. Always on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::output;

/// How often the line on a terminal changes.
const TERMINAL_EVERY: Duration = Duration::from_millis(100);
/// How often there is a line where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// A rate over less than this says nothing.
const RATE_AFTER: Duration = Duration::from_millis(500);

/// How far work has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    /// What is going on.
    pub(super) what: &'a str,
    /// How much is done, of how much where that is known.
    pub(super) done: u64,
    pub(super) total: Option<u64>,
    /// Of what.
    pub(super) unit: &'a str,
    /// The share that is done, where that is known in another way than by the total.
    pub(super) share: Option<f64>,
}

/// Tells of one piece of work after the other.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
    /// What is going on, since when, and how much was done then.
    phase: Option<(String, Instant, u64)>,
    shown: Option<Instant>,
    /// Whether there is a line to wipe.
    drawn: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), phase: None, shown: None, drawn: false }
    }

    /// Tells of a step, unless the last one was told just now.
    pub(super) fn show(&mut self, step: Step<'_>) {
        let now = Instant::now();
        if self.phase.as_ref().is_none_or(|(what, ..)| what != step.what) {
            self.phase = Some((step.what.to_owned(), now, step.done));
            // Work that is over in a moment needs no line of its own in a log.
            self.shown = (!self.terminal && step.total.is_none()).then_some(now);
        }
        let every = if self.terminal { TERMINAL_EVERY } else { PLAIN_EVERY };
        if self.shown.is_some_and(|shown| now - shown < every) {
            return;
        }
        self.shown = Some(now);
        let Some((_, since, from)) = &self.phase else { return };
        let line = line(step, now - *since, step.done.saturating_sub(*from));
        if self.terminal {
            // To the first column, and wipe what stood there.
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K{line}").and_then(|()| std::io::stderr().flush());
            self.drawn = true;
        } else {
            output::progress(&line);
        }
    }

    /// Wipes the line, so that something else can be written.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K").and_then(|()| std::io::stderr().flush());
        }
        self.shown = None;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `what: 12000 of 60000 records, 5400/s, 9s left`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is rounded anyway, and never negative"
)]
fn line(step: Step<'_>, elapsed: Duration, since: u64) -> String {
    let Step { what, done, total, unit, share } = step;
    if done == 0 && total.is_none_or(|total| total == 0) {
        return what.to_owned();
    }
    let mut line = match total {
        Some(total) => format!("{what}: {done} of {total} {unit}"),
        None => format!("{what}: {done} {unit}"),
    };
    if elapsed < RATE_AFTER || since == 0 {
        return line;
    }
    let rate = since as f64 / elapsed.as_secs_f64();
    line.extend([format!(", {rate:.0}/s")]);
    let left = match (share, total) {
        (Some(share), _) if share > 0.0 => Some(elapsed.as_secs_f64() * (1.0 - share) / share),
        (None, Some(total)) => Some(total.saturating_sub(done) as f64 / rate),
        _ => None,
    };
    if let Some(left) = left.filter(|left| left.is_finite()) {
        let left = Duration::from_secs(left.max(0.0).round() as u64);
        line.extend([format!(", {} left", humantime::format_duration(left))]);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(total: Option<u64>, share: Option<f64>, seconds: u64) -> String {
        let step = Step { what: "import", done: 1000, total, unit: "records", share };
        line(step, Duration::from_secs(seconds), 1000)
    }

    #[test]
    fn a_line_tells_what_is_done_how_fast_and_how_long_it_takes() {
        assert_eq!(told(Some(4000), None, 10), "import: 1000 of 4000 records, 100/s, 30s left");
        assert_eq!(told(None, Some(0.1), 10), "import: 1000 records, 100/s, 1m 30s left");
        assert_eq!(told(None, None, 10), "import: 1000 records, 100/s");
        assert_eq!(told(Some(4000), None, 0), "import: 1000 of 4000 records");
        let idle = Step { what: "backup: queued", done: 0, total: Some(0), unit: "records", share: None };
        assert_eq!(line(idle, Duration::from_secs(9), 0), "backup: queued");
    }
}
