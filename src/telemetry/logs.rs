//! Logs: JSON or text, to standard error, without secrets.
//!
//! Rule: standard output belongs to what a command was asked for; logs never go there.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::telemetry::{LogFormat, TelemetryConfig};

/// Filter where the configured one cannot be read.
const FALLBACK: &str = "info";

/// Starts the logs. Where they run already, as in tests, it changes nothing.
pub fn init(config: &TelemetryConfig) {
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new(FALLBACK));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Json => logs.json().flatten_event(true).finish().try_init(),
        LogFormat::Text => logs.with_ansi(false).finish().try_init(),
    };
    if started.is_err() {
        tracing::debug!("logs run already");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_twice_and_a_bad_filter_are_harmless() {
        let level = "in=fo=x".to_owned();
        init(&TelemetryConfig { format: LogFormat::Text, level, ..TelemetryConfig::default() });
        init(&TelemetryConfig::default());
        assert!(tracing::dispatcher::has_been_set());
    }
}
