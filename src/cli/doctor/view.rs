//! What `rollkeeper doctor` prints. Fields of the JSON are only ever added.

use serde::Serialize;

use crate::domain::exam::{Exam, Grade};

/// Everything that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// `ok`, `warning` or `failed`: the worst of the checks; what could not be looked at does not count.
    verdict: &'static str,
    /// One for each thing that was looked at.
    checks: Vec<CheckView>,
}

#[derive(Debug, Serialize)]
struct CheckView {
    part: String,
    check: &'static str,
    /// `ok`, `unknown`, `warning` or `failed`.
    state: &'static str,
    found: String,
    /// Null where nothing is to be done.
    remedy: Option<String>,
}

fn verdict(exams: &[Exam]) -> &'static str {
    match exams.iter().map(|exam| exam.grade).max() {
        Some(worst @ (Grade::Warning | Grade::Failed)) => worst.name(),
        _ => Grade::Ok.name(),
    }
}

/// For programs.
pub(super) fn report(exams: &[Exam]) -> Report {
    let checks = exams.iter().map(|exam| CheckView {
        part: exam.part.clone(),
        check: exam.check,
        state: exam.grade.name(),
        found: exam.found.clone(),
        remedy: (!exam.remedy.is_empty()).then(|| exam.remedy.clone()),
    });
    Report { verdict: verdict(exams), checks: checks.collect() }
}

/// For people: the parts in their order, each remedy below what it mends.
pub(super) fn table(exams: &[Exam]) -> String {
    let width = exams.iter().map(|exam| exam.check.len()).max().unwrap_or(0);
    let line = |state: &str, check: &str, text: &str| format!("  {state:<7}  {check:<width$}  {text}");
    let (mut lines, mut part) = (Vec::new(), "");
    for exam in exams {
        if exam.part != part {
            part = &exam.part;
            lines.push(part.to_owned());
        }
        lines.push(line(exam.grade.name(), exam.check, &exam.found));
        if !exam.remedy.is_empty() {
            lines.push(line("", "", &format!("-> {}", exam.remedy)));
        }
    }
    lines.push(format!("\nverdict: {}", verdict(exams)));
    lines.join("\n")
}
