//! The log of the operator, and its traces: two readers of the same spans and events.

use std::io::IsTerminal;

use clap::ValueEnum;
use llm_autoscaler_operator::SPAN_TARGET;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{one_line::OneLine, traces::Traces};

/// The options of the log and of traces.
#[derive(Debug, clap::Args)]
pub(crate) struct Logging {
    /// The format of the logs.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// The URL of an OpenTelemetry collector, to which traces are exported: OTLP by HTTP, as
    /// protobuf, for which the usual port is 4318. By default none are.
    #[arg(long, env = "OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Logging {
    /// Begins to log, and to export traces if there is a collector.
    ///
    /// # Errors
    /// The URL of the collector cannot be used.
    pub(crate) fn init(&self) -> anyhow::Result<Traces> {
        let traces = Traces::start(self.otlp_endpoint.as_deref())?;
        // Spans are for traces: where none are exported, nothing asks for them.
        let is_logged = filter_fn(|metadata| metadata.target() != SPAN_TARGET);
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let log = self.log_format.layer().with_filter(is_logged.and(filter));
        Registry::default().with(log).with(traces.layer()).try_init()?;
        Ok(traces)
    }
}

impl LogFormat {
    fn layer<S>(self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    {
        let colours = std::io::stderr().is_terminal();
        let log = tracing_subscriber::fmt::layer()
            .with_writer(move || OneLine { inner: std::io::stderr(), colours })
            .with_ansi(colours);
        match self {
            Self::Text => log.boxed(),
            Self::Json => log.json().boxed(),
        }
    }
}
