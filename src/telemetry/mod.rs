//! What a replica says of itself: logs to standard error, metrics for Prometheus, and traces for who asks for them.
//!
//! Rule: no password, hash, token or user id in any of them, but for the paths of requests; what a label may say is bounded.

pub mod logs;
pub mod metrics;
mod trace_context;
mod traces;

pub use logs::init;
pub use metrics::Metrics;
pub use trace_context::TraceContext;
pub use traces::Traces;
