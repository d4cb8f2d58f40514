//! `[telemetry]`: logs, metrics and traces.

use std::net::SocketAddr;

use serde::Deserialize;

/// Logs, metrics and traces.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Form of a log line. Default `json`.
    pub format: LogFormat,
    /// Filter in the syntax of `tracing-subscriber`. Default `warn,rollkeeper=info`:
    /// what libraries tell at `info` is told by us already.
    pub level: String,
    /// Address of a listener that has nothing but `/metrics`, without a token. Default none.
    pub metrics_listen: Option<SocketAddr>,
    /// Whether `/metrics` of the service needs no token. Default false.
    pub metrics_public: bool,
    /// Collector that the spans of requests are sent to, as OTLP over HTTP: `http://host:4318`, or a whole URL with a path.
    /// Default none: no traces.
    pub otlp_endpoint: Option<String>,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            level: "warn,rollkeeper=info".to_owned(),
            metrics_listen: None,
            metrics_public: false,
            otlp_endpoint: None,
        }
    }
}
