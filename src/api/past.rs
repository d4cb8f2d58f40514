//! What every read of the past has in common: moments in queries, and the refusals.

use super::problem::{FieldProblem, Kind, NearestView, Problem};
use crate::backup::past::PastError;
use crate::domain::text::Invalid;
use crate::domain::window::{Outside, OutsideReason};

/// A moment outside the recovery window: 422 that names the field or parameter, and the nearest moments that can be read.
pub fn outside(pointer: Option<&str>, parameter: Option<&str>, outside: &Outside) -> Problem {
    let why = match outside.reason {
        OutsideReason::NoHistory => "The department has no history yet that can be read; its first backup begins it.",
        OutsideReason::BeforeWindow => "This is before the recovery window of the department.",
        OutsideReason::AfterWindow => {
            "This is after what the history of the department holds by now; POST /departments/{department}/sync moves it on."
        }
        OutsideReason::InGap => {
            "This lies in a gap of the history of the department; GET /departments/{department} says why."
        }
    };
    let field = FieldProblem {
        pointer: pointer.map(str::to_owned),
        parameter: parameter.map(str::to_owned),
        code: reason_code(outside.reason).to_owned(),
        message: why.to_owned(),
    };
    let nearest = NearestView { before: outside.before.map(Into::into), after: outside.after.map(Into::into) };
    Problem::new(Kind::Unprocessable, why).code("outside_recovery_window").field(field).nearest(nearest)
}

fn reason_code(reason: OutsideReason) -> &'static str {
    match reason {
        OutsideReason::NoHistory => "no_history",
        OutsideReason::BeforeWindow => "before_window",
        OutsideReason::AfterWindow => "after_window",
        OutsideReason::InGap => "in_gap",
    }
}

/// The refusal of a read of the past; `parameter` is the query parameter that named the moment.
pub fn refused(error: PastError, parameter: &str) -> Problem {
    match error {
        PastError::Outside(out) => outside(None, Some(parameter), &out),
        PastError::NotOpen => Problem::unavailable("The repository of backups is not open yet."),
        PastError::Backup(crate::backup::BackupError::Store(error)) => error.into(),
        PastError::Backup(error) => {
            let detail = "No target gives a good copy of what is needed to read this moment; \
                GET /departments/{department} shows the targets.";
            Problem::unavailable(detail).code("history_unreadable").source(error)
        }
    }
}

/// A parameter that has no meaning beside another one.
pub fn not_beside(parameter: &str, other: &str) -> Problem {
    let message = format!("{parameter} cannot be combined with {other}.");
    Problem::parameter_invalid(parameter, Invalid::new("not_combinable", message))
}
