//! The export of traces to an OpenTelemetry collector, by OTLP over HTTP.
//!
//! The exporter has a thread of its own, and reads the variables of OpenTelemetry's specification,
//! such as `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_TRACES_SAMPLER`.

use std::time::Duration;

use anyhow::Context;
use llm_autoscaler_operator::SPAN_TARGET;
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use crate::cluster::install_tls;

/// The name of the service, and of the instrumentation, in traces.
const NAME: &str = "llm-autoscaler";
/// The timeout of one export.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The export of traces, if there is a collector.
pub(crate) struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Starts the exporter for the collector at a URL.
    ///
    /// # Errors
    /// The URL cannot be parsed.
    pub(crate) fn start(collector: Option<&str>) -> anyhow::Result<Self> {
        let Some(collector) = collector else { return Ok(Self(None)) };
        let url = traces_url(collector)?;
        install_tls();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .with_timeout(TIMEOUT)
            .build()
            .with_context(|| format!("--otlp-endpoint={collector}: traces cannot be exported"))?;
        let mut resource = Resource::builder()
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(NAME);
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Self(Some(provider)))
    }

    /// Returns the layer that makes traces of the operator's spans, and of nothing else.
    pub(crate) fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer = self.0.as_ref()?.tracer(NAME);
        let is_traced =
            filter_fn(|metadata| metadata.is_span() && metadata.target() == SPAN_TARGET)
                .with_max_level_hint(LevelFilter::INFO);
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false);
        Some(layer.with_filter(is_traced))
    }

    /// Exports the spans that wait, and ends the exporter. Called once the operator has ended.
    pub(crate) fn export_rest(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Returns the URL of a collector's receiver of traces.
fn traces_url(collector: &str) -> anyhow::Result<String> {
    let parsed = reqwest::Url::parse(collector);
    let is_http = parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    anyhow::ensure!(
        is_http,
        "--otlp-endpoint={collector} is no URL of a collector: write it as http://HOST:4318, or \
         https://HOST:4318"
    );
    Ok(format!("{}/v1/traces", collector.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_has_a_receiver_of_traces() {
        // the flag, the URL
        let table = [
            ("http://collector:4318", Some("http://collector:4318/v1/traces")),
            ("https://otlp.example/tenant/", Some("https://otlp.example/tenant/v1/traces")),
            ("collector:4318", None),
            ("grpc://collector:4317", None),
        ];
        for (collector, expected) in table {
            assert_eq!(traces_url(collector).ok().as_deref(), expected, "{collector}");
        }
    }
}
