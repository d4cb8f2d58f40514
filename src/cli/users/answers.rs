//! What became of the lines of an import.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::cli::table::fields;

/// What can be done with a line.
const STATUSES: [&str; 5] = ["created", "replaced", "skipped", "unchanged", "failed"];

/// The counts of an import, and the first lines that were refused.
#[derive(Debug, Serialize)]
pub(super) struct Answers {
    /// Lines that have their answer.
    pub(super) lines: u64,
    #[serde(flatten)]
    counts: BTreeMap<&'static str, u64>,
    /// Refused lines as the API answers them, with their numbers in the file.
    errors: Vec<Value>,
    /// Refused lines that are not among them.
    errors_left_out: u64,
    /// Whether the whole file was read.
    pub(super) complete: bool,
    #[serde(skip)]
    errors_max: usize,
}

impl Answers {
    pub(super) fn new(errors_max: usize) -> Self {
        let counts = STATUSES.map(|status| (status, 0)).into();
        Self { lines: 0, counts, errors: Vec::new(), errors_left_out: 0, complete: false, errors_max }
    }

    /// Counts an answer; a refused line in words, unless there were too many.
    pub(super) fn add(&mut self, mut answer: Value, number: u64) -> Option<String> {
        self.lines += 1;
        let status = STATUSES.into_iter().find(|status| answer["status"] == *status).unwrap_or("failed");
        *self.counts.entry(status).or_default() += 1;
        if status != "failed" {
            return None;
        }
        if self.errors.len() >= self.errors_max {
            self.errors_left_out += 1;
            return None;
        }
        answer["line"] = number.into();
        let told = words(&answer);
        self.errors.push(answer);
        Some(told)
    }

    pub(super) fn refused(&self) -> u64 {
        self.counts.get("failed").copied().unwrap_or_default()
    }

    pub(super) const fn left_out(&self) -> u64 {
        self.errors_left_out
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![("lines", self.lines.to_string())];
        lines.extend(STATUSES.map(|status| (status, self.counts.get(status).copied().unwrap_or_default().to_string())));
        fields(&lines)
    }
}

fn words(answer: &Value) -> String {
    let error = &answer["error"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let places = error["errors"].as_array().into_iter().flatten();
    let places: Vec<String> =
        places.map(|field| format!("{} {}", text(&field["pointer"]), text(&field["message"]))).collect();
    let why = if places.is_empty() { text(&error["message"]) } else { places.join("; ") };
    format!("line {}: {} ({why})", answer["line"], text(&error["code"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refused_lines_are_told_up_to_a_limit_and_counted_all() {
        let refused = || {
            json!({ "line": 1, "status": "failed", "error": { "code": "invalid", "message": "Wrong.",
                "errors": [{ "pointer": "/name", "code": "x", "message": "A name is short." }] } })
        };
        let mut answers = Answers::new(1);
        assert_eq!(answers.add(json!({ "line": 9, "id": "a", "status": "unchanged" }), 9), None);
        assert_eq!(answers.add(refused(), 17).as_deref(), Some("line 17: invalid (/name A name is short.)"));
        assert_eq!(answers.add(refused(), 18), None);
        assert_eq!((answers.refused(), answers.left_out()), (2, 1));
        let json = serde_json::to_value(&answers).unwrap();
        assert_eq!((&json["lines"], &json["unchanged"], &json["failed"]), (&json!(3), &json!(1), &json!(2)));
        assert_eq!(json["errors"][0]["line"], 17);
        assert!(answers.text().contains("unchanged  1"));
    }
}
