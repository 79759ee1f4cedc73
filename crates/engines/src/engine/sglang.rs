//! SGLang. Names are from `srt/observability/metrics_collector.py` (before 0.5.10:
//! `srt/metrics/collector.py`) of 0.4.0 to 0.5.23.
//!
//! The scheduler's families have the labels of its ranks. Tensor-, pipeline- and expert-parallel
//! ranks repeat a value (some families always, all of them with
//! `--enable-metrics-for-all-schedulers`); only `dp_rank` distinguishes parts. No rank is always
//! there: with data-parallel attention, for example, the ranks (dp 0, tp 0) and (dp 1, tp 2)
//! publish.
//!
//! With priority scheduling there is a series per priority beside the total. The label `priority`
//! of the total is empty.
//!
//! The tokenizer's families (latencies, tokens) have none of these labels, and all of their series
//! are parts.

use crate::{
    definition::{Alternative, SignalDef, Term},
    engine::{EngineProfile, LengthsDef, ProgressDef},
    kind::Fold,
    signal::Signal,
};

pub(super) const PROFILE: EngineProfile = EngineProfile {
    name: "SGLang",
    display: "SGLang",
    metrics_path: "/metrics",
    port_names: &["http", "metrics"],
    port: Some(30_000),
    enabling: "It publishes metrics only with `--enable-metrics`.",
    prefixes: &["sglang:"],
    repeat_labels: &["tp_rank", "pp_rank", "moe_ep_rank", "pid"],
    sleep: None,
    progress: Some(PROGRESS),
    lengths: Some(LengthsDef::of(
        &[Alternative::always("sglang:prompt_tokens_histogram")],
        &[Alternative::always("sglang:generation_tokens_histogram")],
    )),
    step: Err(
        "it has no counter of its steps, and no histogram of the mean time between two tokens of each request",
    ),
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
            terms: &[Term(&[Alternative::always("sglang:num_requests_total")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::PromptTokenRate,
            terms: &[Term(&[Alternative::always("sglang:prompt_tokens_total")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::GenerationTokenRate,
            terms: &[Term(&[
                // It grows while tokens are generated, the other one only when a request ends.
                Alternative::current("sglang:realtime_tokens_total", "0.5.7 and later")
                    .with(&[("mode", "decode")]),
                Alternative::current("sglang:generation_tokens_total", "before 0.5.7"),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::PreemptionRate,
            terms: &[Term(&[Alternative::current(
                "sglang:num_retracted_requests_total",
                "0.5.7 and later",
            )])],
            fold: Fold::Sum,
        },
        SignalDef { signal: Signal::TimeToFirstToken, terms: &[Term(&[TTFT])], fold: Fold::Sum },
        SignalDef {
            signal: Signal::InterTokenLatency,
            terms: &[Term(&[
                ITL,
                Alternative::former("sglang:time_per_output_token_seconds", "up to 0.4.4"),
            ])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::QueueTime,
            terms: &[Term(&[Alternative::current("sglang:queue_time_seconds", "0.5.3 and later")])],
            fold: Fold::Sum,
        },
        SignalDef { signal: Signal::RequestLatency, terms: &[Term(&[LATENCY])], fold: Fold::Sum },
        SignalDef {
            signal: Signal::PrefillHandoverRequests,
            terms: &[
                Term(&[
                    total("sglang:num_prefill_bootstrap_queue_reqs", "0.5.12 and later"),
                    Alternative::former("sglang:num_prefill_prealloc_queue_reqs", "before 0.5.12")
                        .with(TOTAL),
                ]),
                Term(&[
                    total("sglang:num_prefill_inflight_queue_reqs", "0.5.3 and later"),
                    Alternative::former("sglang:num_prefill_infight_queue_reqs", "up to 0.5.1")
                        .with(TOTAL),
                ]),
            ],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::DecodeHandoverRequests,
            terms: &[
                Term(&[total("sglang:num_decode_prealloc_queue_reqs", "all")]),
                Term(&[total("sglang:num_decode_transfer_queue_reqs", "all")]),
            ],
            fold: Fold::Sum,
        },
    ],
    idle_rules: &[],
};

/// The total of all priorities.
const TOTAL: &[(&str, &str)] = &[("priority", "")];

const fn total(series: &'static str, versions: &'static str) -> Alternative {
    Alternative::current(series, versions).with(TOTAL)
}

pub(super) const WAITING: Alternative = total("sglang:num_queue_reqs", "all");
pub(super) const RUNNING: Alternative = total("sglang:num_running_reqs", "all");
pub(super) const KV_CACHE: Alternative = Alternative::always("sglang:token_usage");
pub(super) const TTFT: Alternative = Alternative::always("sglang:time_to_first_token_seconds");
pub(super) const ITL: Alternative =
    Alternative::current("sglang:inter_token_latency_seconds", "0.4.3 and later");
pub(super) const LATENCY: Alternative = Alternative::always("sglang:e2e_request_latency_seconds");

/// It grows with each log interval, in all of its modes; the other counters of tokens grow only
/// when a request ends, and `sglang:token_usage` is rounded to hundredths. The series of a mode is
/// on the page from its first tokens on, such as those of the request that it warms up with.
const PROGRESS: ProgressDef = ProgressDef {
    counters: &[Term(&[REALTIME_TOKENS])],
    at_end: false,
    missing: "Before 0.5.7, and before its first tokens, the counter is not on the page, and it is not found.",
};
pub(super) const REALTIME_TOKENS: Alternative =
    Alternative::current("sglang:realtime_tokens_total", "0.5.7 and later");
