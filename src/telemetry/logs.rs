//! Logs: JSON or text, to standard error, without secrets.
//!
//! Rule: standard output belongs to what a command was asked for; logs never go there.

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::Traces;
use crate::config::telemetry::{LogFormat, TelemetryConfig};

/// Filter where the configured one cannot be read.
const FALLBACK: &str = "info";

/// Starts the logs, and the traces of a replica if there is a collector. Where logs run already, as in tests, it changes nothing.
pub fn init(config: &TelemetryConfig, replica: Option<&str>) -> Traces {
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new(FALLBACK));
    let (traces, failed) = match Traces::begin(config, replica) {
        Ok(traces) => (traces, None),
        Err(sentence) => (Traces::default(), Some(sentence)),
    };
    // Requests alone, whatever is logged.
    let requests = filter_fn(|metadata| metadata.is_span() && metadata.name() == "request");
    let registry = tracing_subscriber::registry().with(traces.layer().map(|layer| layer.with_filter(requests)));
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Json => registry.with(logs.json().flatten_event(true).with_filter(filter)).try_init(),
        LogFormat::Text => registry.with(logs.with_ansi(false).with_filter(filter)).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logs run already");
    }
    if let Some(sentence) = failed {
        tracing::warn!("{sentence}");
    }
    traces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_twice_and_a_bad_filter_are_harmless() {
        let level = "in=fo=x".to_owned();
        init(&TelemetryConfig { format: LogFormat::Text, level, ..TelemetryConfig::default() }, None).end();
        init(&TelemetryConfig::default(), Some("r1")).end();
        assert!(tracing::dispatcher::has_been_set());
    }
}
