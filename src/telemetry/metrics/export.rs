//! The two text forms that Prometheus reads, and the documentation.

use std::fmt::Write as _;

use super::alerts::ALERTS;
use super::series::Described;

/// A text form of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `OpenMetrics` 1.0, for those that ask for it.
    OpenMetrics,
    /// The classic form, for everything else.
    Classic,
}

impl Form {
    /// What an `Accept` header asks for.
    pub fn accepted(accept: Option<&str>) -> Self {
        let asked = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
        if asked { Self::OpenMetrics } else { Self::Classic }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The form of a text of `OpenMetrics`. In the classic one a counter is described under the name that it is exported by.
    pub(super) fn of(self, open: &str) -> String {
        let mut text = String::with_capacity(open.len() + 1024);
        for line in open.lines() {
            let line = line.replacen("{} ", " ", 1);
            match self {
                Self::OpenMetrics => text.push_str(&line),
                Self::Classic if line == "# EOF" => continue,
                Self::Classic => text.push_str(&classic(&line, open)),
            }
            text.push('\n');
        }
        text
    }
}

fn classic(line: &str, open: &str) -> String {
    let Some((kind, name, rest)) = ["# HELP ", "# TYPE "].iter().find_map(|kind| {
        let (name, rest) = line.strip_prefix(kind)?.split_once(' ')?;
        Some((*kind, name, rest))
    }) else {
        return line.to_owned();
    };
    let counts = rest == "counter" || open.contains(&format!("# TYPE {name} counter\n"));
    let suffix = if counts { "_total" } else { "" };
    format!("{kind}{name}{suffix} {rest}")
}

/// The documentation: a table of metrics, and one of alerts.
pub(super) fn markdown(described: &[Described]) -> String {
    let mut text = String::from(
        "# Metrics and alerts\n\n\
         This file is written from the code: `ROLLKEEPER_WRITE_DOCS=1 cargo nextest run -E 'test(metrics_docs)'`.\n\n\
         `GET /metrics` on the service needs a token with the scope `cluster:read` that is not limited to a department, \
         unless `[telemetry] metrics_public` is true. With `[telemetry] metrics_listen` there is a listener of its own, which \
         has nothing but `/metrics`, asks for no token, and belongs into a network that only Prometheus reaches.\n\n\
         Departments are shown by the replica that leads them, so a query over all replicas sees each once: use `max by \
         (department)`, which also bridges the moment of a takeover.\n\n\
         ## Metrics\n\n| metric | type | labels | meaning | alerts |\n|---|---|---|---|---|\n",
    );
    for metric in described {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let used: Vec<&str> = ALERTS.iter().filter(|alert| alert.uses(&metric.name)).map(|alert| alert.name).collect();
        // Writing into a text does not fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.kind,
            labels.join(", "),
            metric.help,
            used.join(", ")
        );
    }
    text.push_str("\n## Alerts\n");
    for alert in ALERTS {
        let _ = write!(
            text,
            "\n### {}\n\n{}: for {}.\n\n```promql\n{}\n```\n\n{}\n",
            alert.name, alert.severity, alert.lasts, alert.expression, alert.remedy
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str =
        "# HELP a Counts a.\n# TYPE a counter\na_total{} 1\n# HELP b Is b.\n# TYPE b gauge\nb{x=\"y\"} 2\n# EOF\n";

    #[test]
    fn the_classic_form_names_a_counter_as_it_is_exported() {
        let classic = "# HELP a_total Counts a.\n# TYPE a_total counter\na_total 1\n# HELP b Is b.\n# TYPE b gauge\nb{x=\"y\"} 2\n";
        assert_eq!(Form::Classic.of(OPEN), classic);
        assert_eq!(Form::OpenMetrics.of(OPEN), OPEN.replace("{} ", " "));
    }

    #[test]
    fn open_metrics_is_for_those_that_ask_for_it() {
        assert_eq!(Form::accepted(None), Form::Classic);
        assert_eq!(Form::accepted(Some("text/plain")), Form::Classic);
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.2";
        assert_eq!(Form::accepted(Some(prometheus)), Form::OpenMetrics);
    }
}
