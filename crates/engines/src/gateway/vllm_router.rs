//! The router of vLLM's project, 0.1.17, which was run.
//!
//! Series appear when they are first set. `vllm_router_processed_requests_total` grows when a
//! request is sent to a worker, with every policy; `vllm_router_requests_total` when it ends. A
//! request without a worker is refused after four more tries, and each try is an error.

use super::{GatewayProfile, UnfitSeries};
use crate::{
    definition::{Alternative, IdleRule, SignalDef, Term},
    engine::EngineProfile,
    kind::Fold,
    signal::Signal,
};

pub(super) const PROFILE: GatewayProfile = GatewayProfile {
    table: EngineProfile {
        name: "VLLMRouter",
        display: "vLLM's router (`vllm-router`)",
        metrics_path: "/metrics",
        port_names: &["prometheus", "metrics"],
        port: Some(29_000),
        enabling: "It serves its page on 127.0.0.1 only, unless it is started with `--prometheus-host 0.0.0.0`.",
        prefixes: &["vllm_router_"],
        repeat_labels: &[],
        sleep: None,
        progress: None,
        lengths: None,
        step: Err("it is no engine"),
        signals: &[
            SignalDef {
                signal: Signal::InFlightRequests,
                terms: &[Term(&[RUNNING])],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::RequestRate,
                terms: &[Term(&[Alternative::always("vllm_router_requests_total")])],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::ArrivalRate,
                terms: &[
                    Term(&[SENT]),
                    Term(&[Alternative::always("vllm_router_request_errors_total")
                        .with(&[("error_type", "no_available_workers")])
                        .per(TRIES)]),
                ],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::RequestLatency,
                terms: &[Term(&[Alternative::always("vllm_router_generate_duration_seconds")])],
                fold: Fold::Sum,
            },
        ],
        idle_rules: &[
            IdleRule {
                signals: &[Signal::InFlightRequests],
                without: &[RUNNING, SENT],
                prefix: Some("vllm_router_"),
                ..IdleRule::NONE
            },
            // A counter that is not there has counted nothing.
            IdleRule {
                signals: &[Signal::RequestRate, Signal::ArrivalRate],
                prefix: Some("vllm_router_"),
                ..IdleRule::NONE
            },
        ],
    },
    holds_requests: false,
    versions: "0.1.17, run",
    notes: &[
        "It has `InFlightRequests` only with the policy `cache_aware`, its default.",
        "A request without a worker is counted once for each of its five tries, and `ArrivalRate` \
         divides by five; with other `--retry-max-retries` it is off by that.",
        "No series has a label of the model: a router of several models gives each target the load \
         of all of them.",
    ],
    unfit: &[UnfitSeries {
        series: "vllm_router_active_workers",
        why: "keeps counting workers that have died",
        instead: Signal::InFlightRequests,
    }],
    missing: "vllm-router publishes its requests in flight only with the policy cache_aware",
};

/// The number of tries of a request that finds no worker, by default.
const TRIES: u32 = 5;

const RUNNING: Alternative = Alternative::always("vllm_router_running_requests");
const SENT: Alternative = Alternative::always("vllm_router_processed_requests_total");
