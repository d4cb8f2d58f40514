//! Metrics of the service: requests, hashing, MongoDB, the process.

use super::series::{Counters, Durations, Gauges, Register, Totals};

/// Requests and the hashing of passwords.
#[derive(Debug)]
pub struct HttpMetrics {
    /// Requests answered.
    pub requests: Counters<3>,
    /// How long they took.
    pub duration: Durations<2>,
    /// Requests that are being answered.
    pub in_flight: Gauges<0>,
    /// Passwords that wait to be hashed.
    pub hashing_waiting: Gauges<0>,
    /// Passwords refused because too many waited.
    pub hashing_refused: Totals<0>,
}

impl HttpMetrics {
    pub(super) fn new(register: &mut Register) -> Self {
        let metrics = Self {
            requests: Counters::counter(
                "rollkeeper_http_requests",
                ["method", "route", "status"],
                "Requests by route template and class of status (2xx to 5xx; `gone` when the client left before the answer).",
            ),
            duration: Durations::durations(
                "rollkeeper_http_request_duration_seconds",
                ["method", "route"],
                "Time to the head of the answer; what streams after it is not in it.",
            ),
            in_flight: Gauges::gauge("rollkeeper_http_requests_in_flight", [], "Requests that wait for their answer."),
            hashing_waiting: Gauges::gauge("rollkeeper_hashing_waiting", [], "Passwords that wait to be hashed."),
            hashing_refused: Totals::total(
                "rollkeeper_hashing_refused",
                [],
                "Passwords refused with 503 because `http.hash_queue` was full.",
            ),
        };
        register.take(&metrics.requests);
        register.take(&metrics.duration);
        register.take(&metrics.in_flight);
        register.take(&metrics.hashing_waiting);
        register.take(&metrics.hashing_refused);
        metrics.in_flight.set([], 0.0);
        metrics
    }
}

/// Operations on MongoDB. `store` makes it, since its operations are many and have no handle in common.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    /// How long operations took, retries of the driver included.
    pub duration: Durations<1>,
    /// Operations that failed.
    pub failures: Counters<2>,
    /// Transactions begun anew.
    pub retries: Counters<0>,
}

/// What an operation on MongoDB is.
const STORE_OPERATIONS: [&str; 3] = ["read", "write", "commit"];
/// How an operation on MongoDB fails.
const STORE_FAILURES: [&str; 4] = ["unavailable", "outcome_unknown", "taken", "refused"];

impl StoreMetrics {
    /// Metrics that are not exported yet.
    pub fn unregistered() -> Self {
        let metrics = Self {
            duration: Durations::durations(
                "rollkeeper_mongodb_operation_duration_seconds",
                ["operation"],
                "Time of operations on MongoDB as the service waits for them: read, write, commit of a transaction.",
            ),
            failures: Counters::counter(
                "rollkeeper_mongodb_failures",
                ["operation", "kind"],
                "Operations on MongoDB that failed: unavailable (nothing was done), outcome_unknown (a write that may have \
                 happened), taken (a unique field), refused (anything else that the server says).",
            ),
            retries: Counters::counter(
                "rollkeeper_mongodb_transaction_retries",
                [],
                "Transactions that were begun anew after a transient error, such as a write conflict.",
            ),
        };
        for operation in STORE_OPERATIONS {
            for kind in STORE_FAILURES {
                metrics.failures.add([operation.into(), kind.into()], 0);
            }
        }
        metrics.retries.add([], 0);
        metrics
    }

    pub(super) fn register(&self, register: &mut Register) {
        register.take(&self.duration);
        register.take(&self.failures);
        register.take(&self.retries);
    }
}

/// The process, under the names that every exporter uses.
#[derive(Debug)]
pub struct ProcessMetrics {
    /// Version of the program.
    pub build: Gauges<2>,
    /// Processor time.
    pub cpu_seconds: Totals<0>,
    /// Memory in use.
    pub resident_bytes: Gauges<0>,
    /// Open file descriptors.
    pub open_fds: Gauges<0>,
    /// Most file descriptors.
    pub max_fds: Gauges<0>,
    /// Threads.
    pub threads: Gauges<0>,
    /// When it started.
    pub started: Gauges<0>,
}

impl ProcessMetrics {
    pub(super) fn new(register: &mut Register) -> Self {
        let metrics = Self {
            build: Gauges::gauge(
                "rollkeeper_build_info",
                ["version", "replica"],
                "Always 1; says what runs, and its id.",
            ),
            cpu_seconds: Totals::total("process_cpu_seconds", [], "Processor time in seconds, user and system."),
            resident_bytes: Gauges::gauge(
                "process_resident_memory_bytes",
                [],
                "Memory of the process that is resident.",
            ),
            open_fds: Gauges::gauge("process_open_fds", [], "Open file descriptors."),
            max_fds: Gauges::gauge("process_max_fds", [], "Most file descriptors that may be open."),
            threads: Gauges::gauge("process_threads", [], "Threads of the process."),
            started: Gauges::gauge(
                "process_start_time_seconds",
                [],
                "When the process started, in seconds since 1970.",
            ),
        };
        register.take(&metrics.build);
        register.take(&metrics.cpu_seconds);
        register.take(&metrics.resident_bytes);
        register.take(&metrics.open_fds);
        register.take(&metrics.max_fds);
        register.take(&metrics.threads);
        register.take(&metrics.started);
        metrics
    }
}
