//! Modular MAX. Names, types and units are from the exporter's own catalog of 26.7.0; no server was
//! run.
//!
//! Requests are counted as running from their arrival, so those in the queue are among them.
//! Latencies are in milliseconds. The KV cache has numbers of blocks, and no share. OpenTelemetry
//! publishes no series before it is first set.

use crate::{
    definition::{Alternative, IdleRule, SignalDef, Term},
    engine::EngineProfile,
    kind::Fold,
    signal::Signal,
};

pub(super) const PROFILE: EngineProfile = EngineProfile {
    name: "MAX",
    display: "Modular MAX",
    metrics_path: "/metrics",
    port_names: &["metrics", "http"],
    port: Some(8001),
    enabling: "Its page is on a port of its own, not on that of the API. From its source, not run.",
    prefixes: &["maxserve_"],
    repeat_labels: &[],
    sleep: None,
    progress: None,
    lengths: None,
    step: Err(
        "it has no counter of its steps, and no histogram of the mean time between two tokens of each request",
    ),
    signals: &[
        SignalDef {
            signal: Signal::WaitingRequests,
            terms: &[
                Term(&[QUEUED]),
                Term(&[Alternative::always("maxserve_num_requests_awaiting_admission")]),
            ],
            fold: Fold::Sum,
        },
        SignalDef { signal: Signal::InFlightRequests, terms: &[Term(&[RUNNING])], fold: Fold::Sum },
        SignalDef {
            signal: Signal::KVCacheUsage,
            terms: &[Term(&[Alternative::always("maxserve_cache_num_used_blocks")
                .over("maxserve_cache_num_total_blocks")])],
            fold: Fold::Mean,
        },
        SignalDef { signal: Signal::RequestRate, terms: &[Term(&[REQUESTS])], fold: Fold::Sum },
        SignalDef {
            signal: Signal::PromptTokenRate,
            terms: &[Term(&[Alternative::always("maxserve_num_input_tokens_total")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::GenerationTokenRate,
            terms: &[Term(&[Alternative::always("maxserve_num_output_tokens_total")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::PreemptionRate,
            terms: &[Term(&[Alternative::always("maxserve_cache_preemption_count_total")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::TimeToFirstToken,
            terms: &[Term(&[milliseconds("maxserve_time_to_first_token_milliseconds")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::InterTokenLatency,
            terms: &[Term(&[milliseconds("maxserve_itl_milliseconds")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::RequestLatency,
            terms: &[Term(&[milliseconds("maxserve_request_time_milliseconds")])],
            fold: Fold::Sum,
        },
    ],
    idle_rules: &[
        // A request is counted, and running, from its arrival on.
        IdleRule {
            signals: &[Signal::WaitingRequests, Signal::InFlightRequests, Signal::RequestRate],
            without: &[RUNNING, REQUESTS],
            prefix: Some("maxserve_"),
            ..IdleRule::NONE
        },
    ],
};

const fn milliseconds(series: &'static str) -> Alternative {
    Alternative::always(series).per(1000)
}

const QUEUED: Alternative = Alternative::always("maxserve_num_requests_queued");
const RUNNING: Alternative = Alternative::always("maxserve_num_requests_running");
const REQUESTS: Alternative = Alternative::always("maxserve_request_count_total");
