//! LMDeploy. Names are from `lmdeploy/metrics/loggers.py` of 0.9.2 to 0.18.0.
//!
//! Every data-parallel rank is a server of its own, so a page has one series of each family.
//! Requests beyond the batch size wait in front of the engine, in `num_api_requests_waiting`.
//! Versions before 0.12 do not count them, and so have no `WaitingRequests` and no
//! `InFlightRequests`, rather than numbers that are too small. Gauges are refreshed every 10 s.

use crate::{
    definition::{Alternative, SignalDef, Term},
    engine::{EngineProfile, LengthsDef, ProgressDef},
    kind::Fold,
    signal::Signal,
};

pub(super) const PROFILE: EngineProfile = EngineProfile {
    name: "LMDeploy",
    display: "LMDeploy",
    metrics_path: "/metrics",
    port_names: &["http", "metrics"],
    port: Some(23_333),
    enabling: "Before 0.11 it publishes metrics only with `--enable-metrics`. Each data-parallel rank has a port of its own.",
    prefixes: &["lmdeploy:"],
    repeat_labels: &[],
    sleep: None,
    progress: Some(PROGRESS),
    lengths: Some(LengthsDef::of(
        &[Alternative::always("lmdeploy:request_prompt_tokens")],
        &[Alternative::always("lmdeploy:request_generation_tokens")],
    )),
    step: Err(
        "its `iteration_tokens_total` counts the outputs of each request and not its steps, and it does not say how many tokens its KV cache holds",
    ),
    signals: &[
        SignalDef {
            signal: Signal::WaitingRequests,
            terms: &[
                Term(&[Alternative::always("lmdeploy:num_requests_waiting")]),
                BEFORE_THE_ENGINE,
            ],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::RunningRequests,
            terms: &[Term(&[Alternative::always("lmdeploy:num_requests_running")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::InFlightRequests,
            terms: &[
                Term(&[Alternative::current("lmdeploy:num_api_requests_routed", "0.12 and later")]),
                BEFORE_THE_ENGINE,
            ],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::KVCacheUsage,
            terms: &[Term(&[Alternative::always("lmdeploy:gpu_cache_usage_perc")])],
            fold: Fold::Mean,
        },
        SignalDef {
            signal: Signal::RequestRate,
            terms: &[Term(&[Alternative::always("lmdeploy:request_success_total")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::PromptTokenRate,
            terms: &[Term(&[Alternative::always("lmdeploy:prompt_tokens_total")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::GenerationTokenRate,
            terms: &[Term(&[Alternative::always("lmdeploy:generation_tokens_total")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::TimeToFirstToken,
            terms: &[Term(&[Alternative::always("lmdeploy:time_to_first_token_seconds")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::InterTokenLatency,
            terms: &[Term(&[
                Alternative::current("lmdeploy:iter_token_latency", "0.10 and later"),
                Alternative::former("lmdeploy:time_per_output_token_seconds", "before 0.10"),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::QueueTime,
            terms: &[Term(&[Alternative::always("lmdeploy:request_queue_time_seconds")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::RequestLatency,
            terms: &[Term(&[Alternative::always("lmdeploy:e2e_request_latency_seconds")])],
            fold: Fold::Sum,
        },
    ],
    idle_rules: &[],
};

const BEFORE_THE_ENGINE: Term =
    Term(&[Alternative::current("lmdeploy:num_api_requests_waiting", "0.12 and later")]);

/// Both grow with each step of the engine.
const PROGRESS: ProgressDef = ProgressDef {
    counters: &[
        Term(&[Alternative::always("lmdeploy:prompt_tokens_total")]),
        Term(&[Alternative::always("lmdeploy:generation_tokens_total")]),
    ],
    at_end: false,
    missing: "",
};
