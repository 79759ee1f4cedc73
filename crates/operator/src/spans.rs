//! The spans of traces: a step, a scrape, a query, a write.
//!
//! They have a target of their own, which no filter of the log lets pass. Where traces are not
//! exported nothing wants them, and a span costs one load of a flag.

use tracing::{Span, field, info_span};

/// The target of all spans, by which an exporter selects them.
pub const TARGET: &str = "llm_autoscaler::trace";

/// Returns the span of a step of an autoscaler. [`record_decision`] completes it.
pub(crate) fn step(namespace: &str, name: &str, cause: &'static str) -> Span {
    info_span!(
        target: TARGET,
        "step",
        k8s.namespace.name = namespace,
        llm_autoscaler.name = name,
        llm_autoscaler.cause = cause,
        llm_autoscaler.decision = field::Empty,
        otel.status_code = field::Empty,
    )
}

/// Returns the span of a scrape. [`record_result`] completes it.
pub(crate) fn scrape(namespace: &str, address: std::net::IpAddr, port: u16) -> Span {
    info_span!(
        target: TARGET,
        "scrape",
        otel.kind = "client",
        k8s.namespace.name = namespace,
        server.address = %address,
        server.port = port,
        llm_autoscaler.result = field::Empty,
        otel.status_code = field::Empty,
    )
}

/// Returns the span of a query to a Prometheus server. [`record_result`] completes it.
pub(crate) fn query(namespace: &str, server: &str) -> Span {
    info_span!(
        target: TARGET,
        "query",
        otel.kind = "client",
        k8s.namespace.name = namespace,
        url.full = server,
        llm_autoscaler.result = field::Empty,
        otel.status_code = field::Empty,
    )
}

/// Returns the span of a request that changes something. [`record_result`] completes it.
pub(crate) fn write(kind: &'static str) -> Span {
    info_span!(
        target: TARGET,
        "write",
        otel.kind = "client",
        llm_autoscaler.kind = kind,
        llm_autoscaler.result = field::Empty,
        otel.status_code = field::Empty,
    )
}

/// Records the decision of a step, such as `computed: 1 -> 3`.
pub(crate) fn record_decision(span: &Span, decision: impl FnOnce() -> String) {
    if !span.is_disabled() {
        span.record("llm_autoscaler.decision", decision());
    }
}

/// Records the result of a scrape, a query or a write. Anything but `ok` is an error.
pub(crate) fn record_result(span: &Span, result: &'static str) {
    span.record("llm_autoscaler.result", result);
    if result != "ok" {
        span.record("otel.status_code", "ERROR");
    }
}
