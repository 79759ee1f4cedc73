//! The proxy of LiteLLM 1.110.2. Its page was read while it ran; the counter of all requests and
//! the histograms are from `litellm/integrations/prometheus.py` of that version.

use super::{GatewayProfile, UnfitSeries};
use crate::{
    definition::{Alternative, IdleRule, SignalDef, Term},
    engine::EngineProfile,
    kind::Fold,
    signal::Signal,
};

pub(super) const PROFILE: GatewayProfile = GatewayProfile {
    table: EngineProfile {
        name: "LiteLLM",
        display: "LiteLLM's proxy",
        metrics_path: "/metrics/",
        port_names: &["http", "metrics"],
        port: Some(4000),
        enabling: "It publishes metrics with `callbacks: [prometheus]`, and answers 401 without a key, unless `require_auth_for_metrics_endpoint` is `false`: set `authorization`.",
        prefixes: &["litellm_"],
        repeat_labels: &[],
        sleep: None,
        progress: None,
        lengths: None,
        step: Err("it is no engine"),
        signals: &[
            SignalDef {
                signal: Signal::InFlightRequests,
                // The scrape is a request of its own.
                terms: &[Term(&[Alternative::always("litellm_in_flight_requests").less(1)])],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::ArrivalRate,
                terms: &[Term(&[Alternative::always("litellm_proxy_total_requests_metric_total")])],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::TimeToFirstToken,
                terms: &[Term(&[Alternative::always(
                    "litellm_llm_api_time_to_first_token_metric",
                )])],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::RequestLatency,
                terms: &[Term(&[Alternative::always("litellm_request_total_latency_metric")])],
                fold: Fold::Sum,
            },
        ],
        idle_rules: &[
            // A counter that is not there has counted nothing.
            IdleRule {
                signals: &[Signal::ArrivalRate],
                prefix: Some("litellm_"),
                ..IdleRule::NONE
            },
        ],
    },
    holds_requests: false,
    versions: "1.110.2; requests in flight by hand, the rest from its source",
    notes: &[
        "Its gauge counts the scrape itself, which is subtracted, and probes while they last.",
        "`ArrivalRate` counts a request when it ends, successfully or not: one without an engine \
         after four to five seconds.",
        "`InFlightRequests` has no label of the model: a proxy of several models gives each target \
         the load of all of them. The counter has `requested_model`, for a `series`.",
    ],
    unfit: &[UnfitSeries {
        series: "litellm_in_flight_requests",
        why: "counts the scrape itself, so that it is never 0",
        instead: Signal::InFlightRequests,
    }],
    missing: "LiteLLM publishes metrics only with callbacks: [prometheus]",
};
