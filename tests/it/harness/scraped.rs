//! Metrics as Prometheus reads them.

use std::collections::BTreeMap;

use super::client::Client;

/// One value of one series.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// Everything that a replica exported.
#[derive(Debug, Clone)]
pub(crate) struct Scraped {
    pub(crate) text: String,
    pub(crate) samples: Vec<Sample>,
}

impl Scraped {
    /// What a replica exports now.
    pub(crate) async fn of(client: &Client) -> Self {
        Self::read(&client.get("/metrics").await.expect(200).text)
    }

    /// Reads the classic text form; a line that is none of it fails the test.
    pub(crate) fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self { text: text.to_owned(), samples: lines.map(sample).collect() }
    }

    /// The series of a metric with these labels, and others.
    pub(crate) fn of_metric<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|it| it == value))
        })
    }

    /// The sum of those series; none where there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.of_metric(name, labels).map(|sample| sample.value).peekable();
        found.peek()?;
        Some(found.sum())
    }

    /// Whether the sum is at least so much.
    pub(crate) fn has(&self, name: &str, labels: &[(&str, &str)], least: f64) -> bool {
        self.sum(name, labels).is_some_and(|sum| sum >= least)
    }

    /// Whether the sum is exactly that.
    #[expect(clippy::float_cmp, reason = "whole numbers")]
    pub(crate) fn is(&self, name: &str, labels: &[(&str, &str)], wanted: f64) -> bool {
        self.sum(name, labels).is_some_and(|sum| sum == wanted)
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line}"));
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => {
            (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("no end of labels in {line}")))
        }
        None => (series, ""),
    };
    let pairs = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
        let (label, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("a label of {line}"));
        (label.to_owned(), value.trim_end_matches('"').to_owned())
    });
    let value = value.parse().unwrap_or_else(|_| panic!("no number in {line}"));
    Sample { name: name.to_owned(), labels: pairs.collect(), value }
}
