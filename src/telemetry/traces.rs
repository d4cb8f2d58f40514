//! Traces: the spans of requests, sent to a collector as OTLP. Off unless `telemetry.otlp_endpoint` is set.
//!
//! Rule: nothing waits for the collector. Spans wait in a bounded queue, and what finds no room is dropped; only the end of the
//! process gives the last ones a moment. What is logged inside of a span does not leave with it.

use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::registry::LookupSpan;

use super::TraceContext;
use crate::config::telemetry::TelemetryConfig;

/// What collectors call the service.
const SERVICE: &str = "rollkeeper";
/// Where a collector takes spans, when its address has no path.
const PATH: &str = "/v1/traces";
/// How long a batch of spans may be on its way.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// How long the last spans have when the process ends.
const END_WITHIN: Duration = Duration::from_secs(2);

/// The spans that are on their way; `end` sends the last of them.
#[derive(Debug, Default)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Begins to send spans, if there is a collector.
    ///
    /// # Errors
    /// A sentence when spans can never be sent there.
    pub(super) fn begin(config: &TelemetryConfig, replica: Option<&str>) -> Result<Self, String> {
        let Some(endpoint) = &config.otlp_endpoint else { return Ok(Self(None)) };
        let exporter = SpanExporter::builder().with_http().with_endpoint(whole(endpoint)).with_timeout(SEND_WITHIN);
        let exporter = exporter.build().map_err(|error| format!("traces are off: {error}"))?;
        let mut resource = Resource::builder().with_service_name(SERVICE);
        resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        if let Some(replica) = replica {
            resource = resource.with_attribute(KeyValue::new("service.instance.id", replica.to_owned()));
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
        Ok(Self(Some(provider.build())))
    }

    /// What makes spans of the spans of requests.
    pub(super) fn layer<S>(&self) -> Option<OpenTelemetryLayer<S, Tracer>>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        let tracer = self.0.as_ref()?.tracer(SERVICE);
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        Some(layer.with_location(false).with_threads(false).with_tracked_inactivity(false))
    }

    /// Sends the last spans; waits for that no longer than a moment.
    pub fn end(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown_with_timeout(END_WITHIN)) {
            tracing::warn!(%error, "the last spans did not arrive");
        }
    }
}

impl TraceContext {
    /// Makes a span that has not begun yet a part of the caller's trace.
    pub fn adopt(&self, span: &Span) {
        let (Ok(trace), Ok(parent)) = (TraceId::from_hex(&self.trace_id), SpanId::from_hex(&self.parent_id)) else {
            return;
        };
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let caller = SpanContext::new(trace, parent, flags, true, TraceState::default());
        // An error says that nobody makes spans.
        let _ = span.set_parent(Context::new().with_remote_span_context(caller));
    }
}

/// The address with the path that collectors have, unless it has one.
fn whole(endpoint: &str) -> String {
    match url::Url::parse(endpoint) {
        Ok(url) if url.path() == "/" => format!("{}{PATH}", endpoint.trim_end_matches('/')),
        _ => endpoint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_gets_that_of_collectors() {
        assert_eq!(whole("http://otel:4318"), "http://otel:4318/v1/traces");
        assert_eq!(whole("http://otel:4318/"), "http://otel:4318/v1/traces");
        assert_eq!(whole("https://otel/here/v1/traces"), "https://otel/here/v1/traces");
    }

    #[test]
    fn without_a_collector_there_are_no_traces() {
        let traces = Traces::begin(&TelemetryConfig::default(), Some("r1")).unwrap();
        assert!(traces.layer::<tracing_subscriber::Registry>().is_none());
        traces.end();
    }
}
