//! Metrics: what a replica tells Prometheus, each described once.
//!
//! Rule: the registry is a value that is passed around. A label has few values: route templates and not paths, targets of
//! the configuration, codes of causes, and departments only while this replica leads them.

pub mod alerts;
mod export;
mod leading;
mod process;
mod series;
mod service;
mod work;

use prometheus_client::encoding::text::encode;

pub use export::Form;
pub use leading::{ClusterMetrics, DepartmentMetrics, SESSION_STATES};
pub use series::{Counters, Described, Durations, Gauges, Series, Totals, Value};
pub use service::{HttpMetrics, ProcessMetrics, StoreMetrics};
pub use work::{TARGET_STATES, TargetMetrics, WorkMetrics};

use series::Register;

/// Every metric of a replica.
#[derive(Debug)]
pub struct Metrics {
    register: Register,
    /// Requests and hashing.
    pub http: HttpMetrics,
    /// ZooKeeper and leaderships.
    pub cluster: ClusterMetrics,
    /// Departments that this replica leads.
    pub departments: DepartmentMetrics,
    /// What leaders do.
    pub work: WorkMetrics,
    /// Targets.
    pub targets: TargetMetrics,
    /// The process.
    process: ProcessMetrics,
}

impl Metrics {
    /// The metrics of a replica; those of the store are its own.
    pub fn new(replica: &str, store: &StoreMetrics) -> Self {
        let mut register = Register::default();
        let process = ProcessMetrics::new(&mut register);
        process.build.set([env!("CARGO_PKG_VERSION").into(), replica.to_owned().into()], 1.0);
        let http = HttpMetrics::new(&mut register);
        store.register(&mut register);
        let cluster = ClusterMetrics::new(&mut register);
        let departments = DepartmentMetrics::new(&mut register);
        let work = WorkMetrics::new(&mut register);
        let targets = TargetMetrics::new(&mut register);
        Self { register, http, cluster, departments, work, targets, process }
    }

    /// Every metric with what it means, in the order of the documentation.
    pub fn described(&self) -> &[Described] {
        &self.register.described
    }

    /// Everything as text; what the process uses is read now.
    pub fn export(&self, form: Form) -> String {
        self.process.read();
        let mut text = String::new();
        // Writing into a text does not fail.
        if encode(&mut text, &self.register.registry).is_err() {
            tracing::error!("the metrics could not be written");
        }
        form.of(&text)
    }

    /// The documentation of all metrics and alerts.
    pub fn markdown(&self) -> String {
        export::markdown(&self.register.described)
    }
}
