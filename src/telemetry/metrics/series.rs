//! One metric with a fixed set of labels: what it is called, what it means, and its values.
//!
//! Rule: each is described where it is made, and nowhere else; `docs/metrics.md` is written from that.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// Bounds of durations, in seconds: from a look-up in memory to what a request or an operation on a target may take.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Bounds of durations of jobs, in seconds: from a backup of nothing to a restore of millions.
const JOB_SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0];

/// Value of a label.
pub type Value = Cow<'static, str>;
type Labels<const N: usize> = [(&'static str, Value); N];

/// What is known of a metric without its values.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its name, as it is exported.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Names of its labels.
    pub labels: Vec<&'static str>,
    /// What it means.
    pub help: &'static str,
}

/// One metric with `N` labels.
#[derive(Debug, Clone)]
pub struct Series<const N: usize, M> {
    name: &'static str,
    labels: [&'static str; N],
    help: &'static str,
    family: Family<Labels<N>, M, fn() -> M>,
}

/// Only grows, by events.
pub type Counters<const N: usize> = Series<N, Counter>;
/// Only grows, and is counted by somebody else.
pub type Totals<const N: usize> = Series<N, Counter<f64, AtomicU64>>;
/// Goes up and down.
pub type Gauges<const N: usize> = Series<N, Gauge<f64, AtomicU64>>;
/// Durations in seconds.
pub type Durations<const N: usize> = Series<N, Histogram>;

impl<const N: usize, M> Series<N, M> {
    fn made(name: &'static str, labels: [&'static str; N], help: &'static str, make: fn() -> M) -> Self {
        Self { name, labels, help, family: Family::new_with_constructor(make) }
    }

    fn labelled(&self, values: [Value; N]) -> Labels<N> {
        let mut values = values.into_iter();
        self.labels.map(|label| (label, values.next().unwrap_or_default()))
    }

    /// Forgets every value.
    pub fn clear(&self) {
        self.family.clear();
    }
}

impl<const N: usize> Counters<N> {
    /// Describes a counter; `_total` is put behind its name.
    pub fn counter(name: &'static str, labels: [&'static str; N], help: &'static str) -> Self {
        Self::made(name, labels, help, Counter::default)
    }

    /// Counts one event.
    pub fn inc(&self, values: [Value; N]) {
        self.add(values, 1);
    }

    /// Counts several. With 0, the series is there from now on, so that its first event is an increase.
    pub fn add(&self, values: [Value; N], by: u64) {
        self.family.get_or_create(&self.labelled(values)).inc_by(by);
    }
}

impl<const N: usize> Totals<N> {
    /// Describes a counter that is read from somewhere; `_total` is put behind its name.
    pub fn total(name: &'static str, labels: [&'static str; N], help: &'static str) -> Self {
        Self::made(name, labels, help, Counter::default)
    }

    /// Shows what was counted.
    pub fn set(&self, values: [Value; N], to: f64) {
        self.family.get_or_create(&self.labelled(values)).inner().store(to.to_bits(), Ordering::Relaxed);
    }
}

impl<const N: usize> Gauges<N> {
    /// Describes a gauge.
    pub fn gauge(name: &'static str, labels: [&'static str; N], help: &'static str) -> Self {
        Self::made(name, labels, help, Gauge::default)
    }

    /// Sets its value.
    pub fn set(&self, values: [Value; N], to: f64) {
        self.family.get_or_create(&self.labelled(values)).set(to);
    }

    /// Moves its value.
    pub fn move_by(&self, values: [Value; N], by: f64) {
        self.family.get_or_create(&self.labelled(values)).inc_by(by);
    }

    /// One series for each of `all`, which is 1 for `now` and 0 for the others; the state is the last label.
    pub fn set_state<const L: usize>(&self, labels: &[Value; L], all: &[&'static str], now: &str) {
        const { assert!(L + 1 == N, "the state is one more label") }
        for state in all {
            let mut values = labels.clone().into_iter().chain([Value::from(*state)]);
            let values = std::array::from_fn(|_| values.next().unwrap_or_default());
            self.set(values, if *state == now { 1.0 } else { 0.0 });
        }
    }
}

impl<const N: usize> Durations<N> {
    /// Describes a histogram of durations of requests and operations.
    pub fn durations(name: &'static str, labels: [&'static str; N], help: &'static str) -> Self {
        Self::made(name, labels, help, || Histogram::new(SECONDS))
    }

    /// Describes a histogram of durations of jobs.
    pub fn job_durations(name: &'static str, labels: [&'static str; N], help: &'static str) -> Self {
        Self::made(name, labels, help, || Histogram::new(JOB_SECONDS))
    }

    /// The series is there from now on.
    pub fn begin(&self, values: [Value; N]) {
        drop(self.family.get_or_create(&self.labelled(values)));
    }

    /// Notes how long something took.
    pub fn observe(&self, values: [Value; N], took: Duration) {
        self.family.get_or_create(&self.labelled(values)).observe(took.as_secs_f64());
    }
}

/// Takes metrics in.
#[derive(Debug, Default)]
pub(super) struct Register {
    pub(super) registry: Registry,
    pub(super) described: Vec<Described>,
}

impl Register {
    pub(super) fn take<const N: usize, M: TypedMetric>(&mut self, series: &Series<N, M>)
    where
        Family<Labels<N>, M, fn() -> M>: Metric,
    {
        let kind = M::TYPE.as_str().to_owned();
        let suffix = if kind == "counter" { "_total" } else { "" };
        self.described.push(Described {
            name: format!("{}{suffix}", series.name),
            kind,
            labels: series.labels.to_vec(),
            help: series.help,
        });
        self.registry.register(series.name, series.help.trim_end_matches('.'), series.family.clone());
    }
}
