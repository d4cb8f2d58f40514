//! Lists of jobs, newest first.

use serde_json::Value;

use super::{Failure, Service};
use crate::cli::output::{self, Output};

/// Which jobs, and how many.
pub(in crate::cli) struct Asked<'a> {
    pub(in crate::cli) department: Option<&'a str>,
    /// All that the service lists by itself where there is none.
    pub(in crate::cli) states: &'a [String],
    /// 0 for all.
    pub(in crate::cli) limit: usize,
}

/// Prints the jobs below a path; the exit code.
pub(in crate::cli) async fn list(
    service: &Service,
    path: &str,
    asked: Asked<'_>,
    how: Output,
    table: fn(&[Value]) -> String,
) -> Result<u8, Failure> {
    let states = asked.states.join(",");
    let mut query: Vec<(&str, &str)> = asked.department.map(|name| ("department", name)).into_iter().collect();
    if !asked.states.is_empty() {
        query.push(("state", &states));
    }
    let (jobs, more) = service.list(path, &query, asked.limit).await?;
    let code = if how == Output::Json { output::json(&jobs) } else { output::line(&table(&jobs)) };
    tell_of_more(more);
    Ok(code)
}

/// Says that not all was listed.
pub(in crate::cli) fn tell_of_more(more: bool) {
    if more {
        output::progress("there are more; --limit says how many are listed");
    }
}
