//! What a command writes for its user.

use std::fmt::Display;
use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Table,
    /// For programs; fields are only ever added.
    Json,
}

/// Writes a line to standard output; the exit code says whether it arrived.
pub(super) fn line(text: &str) -> u8 {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    u8::from(written.is_err())
}

/// Writes a value as JSON to standard output.
pub(super) fn json(value: &impl Serialize) -> u8 {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(&text),
        Err(error) => {
            problem(&error);
            1
        }
    }
}

/// Writes values to standard output, each as one line of JSON; false where nobody reads on.
pub(super) fn ndjson<'a>(values: impl IntoIterator<Item = &'a serde_json::Value>) -> bool {
    let lines: Vec<String> = values.into_iter().map(|value| format!("{value}\n")).collect();
    bytes(lines.concat().as_bytes())
}

/// Writes bytes to standard output; false where nobody reads on.
pub(super) fn bytes(bytes: &[u8]) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).is_ok()
}

/// Writes a line about work that goes on to standard error.
pub(super) fn progress(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes a problem to standard error. A terminal that is gone has no reader to tell.
pub(super) fn problem(problem: &dyn Display) {
    let _ = writeln!(std::io::stderr().lock(), "rollkeeper: {problem}");
}
