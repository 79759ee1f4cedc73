//! TensorRT-LLM. Names are from `tensorrt_llm/metrics/collector.py` and `batch_metrics.py` of
//! commit 050f80d (2026).
//!
//! Each family has one series, with the labels `model_name`, `engine_type`, and `pid` on gauges.
//! Counters and latencies change when a request ends. Under attention data parallelism, each rank
//! in turn overwrites one gauge.

use crate::{
    definition::{Alternative, SignalDef, Term},
    engine::{EngineProfile, ProgressDef},
    kind::Fold,
    signal::Signal,
};

pub(super) const PROFILE: EngineProfile = EngineProfile {
    name: "TensorRTLLM",
    display: "TensorRT-LLM (`trtllm-serve`)",
    metrics_path: "/prometheus/metrics",
    port_names: &["http", "metrics"],
    port: Some(8000),
    enabling: "It publishes latencies only with `return_perf_metrics: true`, gauges with `enable_iter_perf_stats: true` as well; \
               its `/metrics` is JSON and not this page.",
    prefixes: &[
        "trtllm_",
        "trtllm:",
        "e2e_request_latency_seconds",
        "time_to_first_token_seconds",
        "time_per_output_token_seconds",
        "request_queue_time_seconds",
        "request_success_total",
    ],
    repeat_labels: &[],
    sleep: None,
    progress: Some(PROGRESS),
    lengths: None,
    step: Err("it has no counter of its steps"),
    signals: &[
        SignalDef { signal: Signal::WaitingRequests, terms: &[Term(&[WAITING])], fold: Fold::Sum },
        SignalDef { signal: Signal::RunningRequests, terms: &[Term(&[RUNNING])], fold: Fold::Sum },
        SignalDef {
            signal: Signal::InFlightRequests,
            terms: &[Term(&[RUNNING]), Term(&[WAITING])],
            fold: Fold::Sum,
        },
        SignalDef { signal: Signal::KVCacheUsage, terms: &[Term(&[KV_CACHE])], fold: Fold::Mean },
        SignalDef {
            signal: Signal::RequestRate,
            terms: &[Term(&[
                Alternative::always("trtllm_request_success_total"),
                Alternative::former("trtllm:request_success_total", DYNAMO),
                Alternative::former("request_success_total", BARE),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::PromptTokenRate,
            terms: &[Term(&[Alternative::always("trtllm_prompt_tokens_total")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::GenerationTokenRate,
            terms: &[Term(&[Alternative::always("trtllm_generation_tokens_total")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::TimeToFirstToken,
            terms: &[Term(&[
                TTFT,
                Alternative::former("trtllm:time_to_first_token_seconds", DYNAMO),
                Alternative::former("time_to_first_token_seconds", BARE),
            ])],
            fold: Fold::Sum,
        },
        // This is a mean per request; no series has the time between single tokens.
        SignalDef {
            signal: Signal::InterTokenLatency,
            terms: &[Term(&[
                ITL,
                Alternative::former("trtllm:time_per_output_token_seconds", DYNAMO),
                Alternative::former("time_per_output_token_seconds", BARE),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::QueueTime,
            terms: &[Term(&[
                Alternative::always("trtllm_request_queue_time_seconds"),
                Alternative::former("trtllm:request_queue_time_seconds", DYNAMO),
                Alternative::former("request_queue_time_seconds", BARE),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::RequestLatency,
            terms: &[Term(&[
                LATENCY,
                Alternative::former("trtllm:e2e_request_latency_seconds", DYNAMO),
                Alternative::former("e2e_request_latency_seconds", BARE),
            ])],
            fold: Fold::Sum,
        },
    ],
    idle_rules: &[],
};

/// The versions that have the names with a colon, and those that have them without any prefix.
const DYNAMO: &str = "under Dynamo up to 0.7";
const BARE: &str = "before the prefix";

pub(super) const WAITING: Alternative =
    Alternative::current("trtllm_num_requests_waiting", "1.3 and later");
pub(super) const RUNNING: Alternative =
    Alternative::current("trtllm_num_requests_running", "1.3 and later");
pub(super) const KV_CACHE: Alternative =
    Alternative::current("trtllm_kv_cache_utilization", "1.3 and later");
pub(super) const TTFT: Alternative = Alternative::always("trtllm_time_to_first_token_seconds");
pub(super) const ITL: Alternative = Alternative::always("trtllm_time_per_output_token_seconds");
pub(super) const LATENCY: Alternative = Alternative::always("trtllm_e2e_request_latency_seconds");

const PROGRESS: ProgressDef = ProgressDef {
    counters: &[
        Term(&[Alternative::always("trtllm_generation_tokens_total")]),
        Term(&[Alternative::always("trtllm_request_success_total")]),
    ],
    at_end: true,
    missing: "Before its first request has ended they are not on the page, and it is not found.",
};
