//! The log of the operator, and its traces: two readers of the same spans and events.

use std::io::IsTerminal;

use clap::ValueEnum;
use llm_autoscaler_operator::SPAN_TARGET;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    layer::{Filter, SubscriberExt},
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
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let log = self.log_format.layer().with_filter(logged(filter));
        match traces.layer() {
            Some(layer) => Registry::default().with(log).with(layer).try_init()?,
            // A layer that is absent counts as one that wants everything: each event of each crate
            // would be made, and each step written down, for nothing.
            None => Registry::default().with(log).try_init()?,
        }
        Ok(traces)
    }
}

/// Returns the filter of the log, which has a hint of its most detailed level, so that what is more
/// detailed costs a comparison. Spans are for traces: where none are exported, nothing asks for
/// them.
fn logged<S>(filter: EnvFilter) -> impl Filter<S> {
    let is_logged = filter_fn(|metadata| metadata.target() != SPAN_TARGET);
    is_logged.with_max_level_hint(LevelFilter::TRACE).and(filter)
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

#[cfg(test)]
mod tests {
    use tracing::{Level, enabled, subscriber::with_default};

    use super::*;

    /// They used to be made at every level, and each step's whole case with them, because the hint
    /// was missing and the absent layer of traces wanted everything.
    #[test]
    fn what_is_not_logged_is_not_made() {
        for (directives, expected) in [("info", [true, false, false]), ("warn", [false; 3])] {
            let log =
                tracing_subscriber::fmt::layer().with_filter(logged(EnvFilter::new(directives)));
            with_default(Registry::default().with(log), || {
                let found = [
                    enabled!(Level::INFO),
                    enabled!(Level::DEBUG),
                    enabled!(target: "llm_autoscaler::steps", Level::TRACE),
                ];
                assert_eq!(found, expected, "{directives}");
                let most = if expected[0] { LevelFilter::INFO } else { LevelFilter::WARN };
                assert!(LevelFilter::current() <= most, "{directives}");
            });
        }
        let steps = EnvFilter::new("info,llm_autoscaler::steps=trace");
        let log = tracing_subscriber::fmt::layer().with_filter(logged(steps));
        with_default(Registry::default().with(log), || {
            assert!(enabled!(target: "llm_autoscaler::steps", Level::TRACE));
        });
    }
}
