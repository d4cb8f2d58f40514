//! What a replica says of itself: logs to standard error, and metrics for Prometheus.
//!
//! Rule: no password, hash, token or user id in either; what a label may say is bounded.

pub mod logs;
pub mod metrics;
mod trace_context;

pub use logs::init;
pub use metrics::Metrics;
pub use trace_context::TraceContext;
