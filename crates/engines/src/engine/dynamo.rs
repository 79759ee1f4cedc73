//! NVIDIA Dynamo. Names are from `dynamo/prometheus_names.py` and the runtime's binaries of 0.2.1
//! to 1.6.1, checked on pages of 1.6.1.
//!
//! There are two kinds of pages, and one table serves both. A *worker* publishes on its system port
//! the series of its engine (vLLM, SGLang, TensorRT-LLM), and `dynamo_component_*` for each of its
//! endpoints, of which `generate` serves the requests. A *frontend* publishes `dynamo_frontend_*`,
//! which count the whole deployment. Its queue is the number of requests without a first token.
//!
//! Before its first request, a worker has no engine gauges, and a frontend has no gauges of its
//! own. The frontend's requests in flight are read from its request plane then, and are none. So
//! is its queue; a worker's requests are none while its endpoint `generate` has had no request.

use super::{sglang, tensorrt_llm, vllm};
use crate::{
    definition::{Alternative, IdleRule, SignalDef, Term},
    engine::{EngineProfile, LengthsDef, ProgressDef},
    kind::Fold,
    signal::Signal,
};

pub(super) const PROFILE: EngineProfile = EngineProfile {
    name: "Dynamo",
    display: "NVIDIA Dynamo, workers and frontends",
    metrics_path: "/metrics",
    port_names: &["system", "http", "metrics"],
    port: None,
    enabling: "A frontend serves it on its HTTP port (8000), a worker on `DYN_SYSTEM_PORT`, which is off by default.",
    prefixes: &["dynamo_", "nv_llm_http_service_"],
    repeat_labels: &["tp_rank", "pp_rank", "moe_ep_rank", "pid"],
    sleep: Some(vllm::SLEEP),
    progress: Some(PROGRESS),
    lengths: Some(LengthsDef::of(
        &[frontend("dynamo_frontend_input_sequence_tokens")],
        &[frontend("dynamo_frontend_output_sequence_tokens")],
    )),
    step: Err(
        "it has no counter of its steps, and none of the prompt tokens that it computes; name the engine that its workers run where their pages have its series",
    ),
    signals: &[
        SignalDef {
            signal: Signal::WaitingRequests,
            terms: &[Term(&[
                worker("vllm:num_requests_waiting"),
                sglang::WAITING.on("worker"),
                tensorrt_llm::WAITING.on("worker"),
                frontend("dynamo_frontend_queued_requests"),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::RunningRequests,
            terms: &[Term(&[
                worker("vllm:num_requests_running"),
                sglang::RUNNING.on("worker"),
                tensorrt_llm::RUNNING.on("worker"),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::InFlightRequests,
            terms: &[Term(&[
                worker("dynamo_component_inflight_requests").with(GENERATE),
                frontend("dynamo_frontend_inflight_requests"),
                Alternative::current(
                    "dynamo_request_plane_inflight_requests",
                    "frontend before its first request",
                ),
                Alternative::former(
                    "nv_llm_http_service_inflight_requests",
                    "frontend up to 0.4.0",
                ),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::KVCacheUsage,
            terms: &[Term(&[
                worker("vllm:kv_cache_usage_perc"),
                sglang::KV_CACHE.on("worker"),
                tensorrt_llm::KV_CACHE.on("worker"),
                Alternative::current(
                    "dynamo_component_gpu_cache_usage_percent",
                    "worker, 1.0 and later",
                ),
                Alternative::former(
                    "dynamo_component_kvstats_gpu_cache_usage_percent",
                    "worker up to 0.8",
                ),
                Alternative::former("vllm:gpu_cache_usage_perc", "worker with an older vLLM"),
            ])],
            fold: Fold::Mean,
        },
        SignalDef {
            signal: Signal::RequestRate,
            terms: &[Term(&[
                worker("dynamo_component_requests_total").with(GENERATE),
                frontend("dynamo_frontend_requests_total"),
                Alternative::former("nv_llm_http_service_requests_total", "frontend up to 0.4.0"),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::PromptTokenRate,
            terms: &[Term(&[
                worker("vllm:prompt_tokens_total"),
                worker("sglang:prompt_tokens_total"),
                worker("trtllm_prompt_tokens_total"),
                frontend("dynamo_frontend_input_sequence_tokens_sum"),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::GenerationTokenRate,
            terms: &[Term(&[
                worker("vllm:generation_tokens_total"),
                worker("sglang:generation_tokens_total"),
                worker("trtllm_generation_tokens_total"),
                frontend("dynamo_frontend_output_tokens_total"),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::TimeToFirstToken,
            terms: &[Term(&[
                worker("vllm:time_to_first_token_seconds"),
                sglang::TTFT.on("worker"),
                tensorrt_llm::TTFT.on("worker"),
                frontend("dynamo_frontend_time_to_first_token_seconds"),
                Alternative::former("trtllm:time_to_first_token_seconds", OLD_TENSORRT),
                Alternative::former(
                    "nv_llm_http_service_time_to_first_token_seconds",
                    "frontend up to 0.4.0",
                ),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::InterTokenLatency,
            terms: &[Term(&[
                worker("vllm:inter_token_latency_seconds"),
                sglang::ITL.on("worker"),
                tensorrt_llm::ITL.on("worker"),
                frontend("dynamo_frontend_inter_token_latency_seconds"),
                Alternative::former("trtllm:time_per_output_token_seconds", OLD_TENSORRT),
                Alternative::former(
                    "nv_llm_http_service_inter_token_latency_seconds",
                    "frontend up to 0.4.0",
                ),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::RequestLatency,
            terms: &[Term(&[
                worker("dynamo_component_request_duration_seconds").with(GENERATE),
                frontend("dynamo_frontend_request_duration_seconds"),
                Alternative::former(
                    "nv_llm_http_service_request_duration_seconds",
                    "frontend up to 0.4.0",
                ),
            ])],
            fold: Fold::Sum,
        },
    ],
    idle_rules: IDLE_RULES,
};

/// A worker has series for each of its endpoints; `generate` is the one that serves requests.
const GENERATE: &[(&str, &str)] = &[("dynamo_endpoint", "generate")];

/// A worker with TensorRT-LLM; Dynamo began its names in another way.
const OLD_TENSORRT: &str = "worker with TensorRT-LLM, up to 0.7";

const fn worker(series: &'static str) -> Alternative {
    Alternative::current(series, "worker")
}

const fn frontend(series: &'static str) -> Alternative {
    Alternative::current(series, "frontend")
}

const IDLE_RULES: &[IdleRule] = &[
    // A worker with an endpoint that has had no request.
    IdleRule {
        signals: &[
            Signal::WaitingRequests,
            Signal::RunningRequests,
            Signal::KVCacheUsage,
            Signal::TimeToFirstToken,
            Signal::InterTokenLatency,
        ],
        zero: &[
            worker("dynamo_component_requests_total").with(GENERATE),
            worker("dynamo_component_inflight_requests").with(GENERATE),
        ],
        ..IdleRule::NONE
    },
    // A frontend that has had no request.
    IdleRule {
        signals: &[
            Signal::WaitingRequests,
            Signal::RequestRate,
            Signal::TimeToFirstToken,
            Signal::InterTokenLatency,
            Signal::RequestLatency,
        ],
        zero: &[frontend("dynamo_request_plane_inflight_requests")],
        without: &[
            frontend("dynamo_frontend_inflight_requests"),
            frontend("dynamo_frontend_requests_total"),
            worker("dynamo_component_requests_total"),
        ],
        prefix: Some("dynamo_frontend_"),
        ..IdleRule::NONE
    },
];

/// Those of the worker's engine. TensorRT-LLM's grow only when a request ends.
const PROGRESS: ProgressDef = ProgressDef {
    counters: &[
        Term(&[worker("vllm:prompt_tokens_total"), sglang::REALTIME_TOKENS.on("worker")]),
        Term(&[worker("vllm:generation_tokens_total"), sglang::REALTIME_TOKENS.on("worker")]),
    ],
    at_end: false,
    missing: "They are those of a worker's engine: a worker with TensorRT-LLM is not found, nor is a frontend.",
};
