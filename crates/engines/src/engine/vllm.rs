//! vLLM. Names are from `vllm/v1/metrics/loggers.py` of 0.8.5 to 0.32.0, checked on pages of 0.15.1
//! and 0.32.0.
//!
//! Every series has the labels `engine` (data-parallel engines publish one series each, which are
//! parts) and `model_name`; tensor- and pipeline-parallel ranks publish nothing.
//! `vllm:num_requests_waiting_by_reason` (0.20 and later) repeats the queue by reason and must not
//! be added to it. `vllm:request_time_per_output_token_seconds` is a mean per request, not the
//! former name of the inter-token latency.
//!
//! vLLM-Omni has the series of vLLM for each stage of its pipeline, and of the whole pipeline those
//! with `omni`, which count (`vllm_omni/metrics/prometheus.py`, pull requests 3362 and 3576 of
//! vllm-project/vllm-omni; not run). A request is in one stage or in several.
//!
//! With several API servers, which is the default with data parallelism, the gauges are not on the
//! page before they are first set, by the first request. Counters are there from the start.

use crate::{
    definition::{Alternative, IdleRule, SignalDef, Term},
    engine::{EngineProfile, LengthsDef, ProgressDef, SleepDef, StepDef},
    kind::Fold,
    signal::Signal,
};

pub(super) const PROFILE: EngineProfile = EngineProfile {
    name: "VLLM",
    display: "vLLM",
    metrics_path: "/metrics",
    port_names: &["http", "metrics"],
    port: Some(8000),
    enabling: "",
    prefixes: &["vllm:", "vllm_omni:"],
    repeat_labels: &[],
    sleep: Some(SLEEP),
    progress: Some(PROGRESS),
    lengths: Some(LengthsDef::of(
        &[Alternative::always("vllm:request_prompt_tokens")],
        &[Alternative::always("vllm:request_generation_tokens")],
    )),
    step: Ok(STEP),
    signals: &[
        SignalDef { signal: Signal::WaitingRequests, terms: &[WAITING], fold: Fold::Sum },
        SignalDef { signal: Signal::RunningRequests, terms: &[RUNNING], fold: Fold::Sum },
        SignalDef { signal: Signal::InFlightRequests, terms: &[RUNNING, WAITING], fold: Fold::Sum },
        // Data-parallel engines are of equal size, so the mean is the share of the replica's whole
        // cache, and falls in proportion when replicas are added. The fullest engine's share would
        // not.
        SignalDef { signal: Signal::KVCacheUsage, terms: &[KV_CACHE], fold: Fold::Mean },
        SignalDef {
            signal: Signal::RequestRate,
            terms: &[Term(&[
                Alternative::always("vllm:request_success_total"),
                Alternative::preferred("vllm_omni:requests_success_total", OMNI),
                Alternative::preferred("vllm:omni_requests_success_total", EARLY_OMNI),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::PromptTokenRate,
            terms: &[Term(&[Alternative::always("vllm:prompt_tokens_total")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::GenerationTokenRate,
            terms: &[Term(&[Alternative::always("vllm:generation_tokens_total")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::PreemptionRate,
            terms: &[Term(&[Alternative::always("vllm:num_preemptions_total")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::TimeToFirstToken,
            terms: &[Term(&[Alternative::always("vllm:time_to_first_token_seconds")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::InterTokenLatency,
            terms: &[Term(&[
                Alternative::current("vllm:inter_token_latency_seconds", "0.10.2 and later"),
                Alternative::former("vllm:time_per_output_token_seconds", "up to 0.11"),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::QueueTime,
            terms: &[Term(&[
                Alternative::always("vllm:request_queue_time_seconds"),
                Alternative::preferred("vllm_omni:request_queue_time_seconds", OMNI),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::RequestLatency,
            terms: &[Term(&[
                Alternative::always("vllm:e2e_request_latency_seconds"),
                Alternative::preferred("vllm_omni:e2e_request_latency_seconds", OMNI),
                Alternative::preferred("vllm:omni_e2e_request_latency_s", EARLY_OMNI),
            ])],
            fold: Fold::Sum,
        },
    ],
    idle_rules: IDLE_RULES,
};

const OMNI: &str = "vLLM-Omni";
const EARLY_OMNI: &str = "an earlier vLLM-Omni";

const WAITING: Term = Term(&[
    Alternative::always("vllm:num_requests_waiting"),
    Alternative::preferred("vllm_omni:num_requests_waiting", OMNI),
    Alternative::preferred("vllm:omni_num_requests_waiting", EARLY_OMNI),
]);
const RUNNING: Term = Term(&[
    Alternative::always("vllm:num_requests_running"),
    Alternative::preferred("vllm_omni:num_requests_running", OMNI),
    Alternative::preferred("vllm:omni_num_requests_running", EARLY_OMNI),
]);
const KV_CACHE: Term = Term(&[
    Alternative::current("vllm:kv_cache_usage_perc", "0.9.2 and later"),
    Alternative::former("vllm:gpu_cache_usage_perc", "up to 0.10"),
]);

/// `discard_all` is level 2 of sleeping, `weights_offloaded` level 1. With several API servers all
/// three are 0 before the first request.
pub(super) const SLEEP: SleepDef = SleepDef {
    awake: &[Term(&[SLEEP_STATE.with(&[("sleep_state", "awake")])])],
    asleep: &[
        Term(&[SLEEP_STATE.with(&[("sleep_state", "weights_offloaded")])]),
        Term(&[SLEEP_STATE.with(&[("sleep_state", "discard_all")])]),
    ],
};
const SLEEP_STATE: Alternative = Alternative::always("vllm:engine_sleep_state");

/// No prompt has been processed, and no gauge has been set.
const IDLE_RULES: &[IdleRule] = &[IdleRule {
    signals: &[
        Signal::WaitingRequests,
        Signal::RunningRequests,
        Signal::InFlightRequests,
        Signal::KVCacheUsage,
    ],
    zero: &[Alternative::always("vllm:prompt_tokens_total")],
    present: &[],
    without: &[
        Alternative::always("vllm:num_requests_running"),
        Alternative::always("vllm:num_requests_waiting"),
        Alternative::always("vllm:kv_cache_usage_perc"),
        Alternative::always("vllm:gpu_cache_usage_perc"),
    ],
    prefix: None,
}];

/// Both grow with each step of the engine. The prompt's tokens count when its first token is there.
pub(super) const PROGRESS: ProgressDef = ProgressDef {
    counters: &[
        Term(&[Alternative::always("vllm:prompt_tokens_total")]),
        Term(&[Alternative::always("vllm:generation_tokens_total")]),
    ],
    at_end: false,
    missing: "",
};

/// A step is counted by the histogram of its tokens. `num_gpu_blocks` is absent, `None`, before the
/// cache is allocated; later versions have the tokens of the cache in a label of their own, which
/// counts for models with layers of several kinds.
const STEP: StepDef = StepDef {
    steps: Term(&[Alternative::always("vllm:iteration_tokens_total_count")]),
    prompt_tokens: Term(&[Alternative::always("vllm:prompt_tokens_total")]),
    cached_tokens: Term(&[
        Alternative::current("vllm:prefix_cache_hits_total", "0.9 and later"),
        Alternative::former("vllm:gpu_prefix_cache_hits_total", "up to 0.9"),
    ]),
    generated_tokens: Term(&[Alternative::always("vllm:generation_tokens_total")]),
    first_tokens: Term(&[Alternative::always("vllm:time_to_first_token_seconds_count")]),
    finished: Term(&[Alternative::always("vllm:request_success_total")]),
    time_per_token: Term(&[Alternative::always("vllm:request_time_per_output_token_seconds")]),
    kv_capacity: Term(&[
        CACHE.except(&[("kv_cache_size_tokens", &["", "None"])]).times(&["kv_cache_size_tokens"]),
        CACHE.except(&[("num_gpu_blocks", &["", "None"])]).times(&["block_size", "num_gpu_blocks"]),
    ]),
    engines: Term(&[CACHE]),
    single_server: Term(&[
        Alternative::current("process_start_time_seconds", "not with several API servers"),
        Alternative::current("vllm:prompt_tokens_created", "not with several API servers"),
        Alternative::current("ray_vllm:num_requests_running", "under Ray Serve"),
    ]),
};
const CACHE: Alternative = Alternative::always("vllm:cache_config_info");
