//! vLLM. Names from `vllm/v1/metrics/loggers.py`, seen on pages of 0.15.1 and 0.32.0.
//!
//! Every series has the labels `engine` (one series per data-parallel engine) and `model_name`.
//! `vllm:num_requests_waiting_by_reason` (0.32) repeats the queue by reason and must not be added to it.

use crate::{Alternative, EngineProfile, Fold, Signal, SignalDef, TargetType, Term};

pub(super) const PROFILE: EngineProfile = EngineProfile {
    name: "VLLM",
    display: "vLLM",
    metrics_path: "/metrics",
    port_names: &["http", "metrics"],
    signals: &[
        SignalDef {
            signal: Signal::WaitingRequests,
            name: "WaitingRequests",
            short: "waiting",
            unit: "requests",
            doc: "Requests in the queue.",
            terms: &[WAITING],
            fold: Fold::Sum,
            targets: &[TargetType::AverageValue],
        },
        SignalDef {
            signal: Signal::RunningRequests,
            name: "RunningRequests",
            short: "running",
            unit: "requests",
            doc: "Requests in the running batch.",
            terms: &[RUNNING],
            fold: Fold::Sum,
            targets: &[TargetType::AverageValue],
        },
        SignalDef {
            signal: Signal::InFlightRequests,
            name: "InFlightRequests",
            short: "in-flight",
            unit: "requests",
            doc: "Running and waiting requests: a measure of demand that has no upper end.",
            terms: &[RUNNING, WAITING],
            fold: Fold::Sum,
            targets: &[TargetType::AverageValue],
        },
        SignalDef {
            signal: Signal::KvCacheUsage,
            name: "KVCacheUsage",
            short: "kv",
            unit: "share, 0 to 1",
            doc: "The share of the KV cache that is in use.",
            terms: &[KV_CACHE],
            // Data-parallel engines are of equal size, so the mean is the share of the replica's whole cache and
            // falls as 1/replicas when replicas are added. The fullest engine's share would not.
            fold: Fold::Mean,
            targets: &[TargetType::AverageValue],
        },
    ],
};

const WAITING: Term = Term(&[Alternative { series: "vllm:num_requests_waiting", versions: "all" }]);
const RUNNING: Term = Term(&[Alternative { series: "vllm:num_requests_running", versions: "all" }]);
const KV_CACHE: Term = Term(&[
    Alternative { series: "vllm:kv_cache_usage_perc", versions: "0.9 and later" },
    Alternative { series: "vllm:gpu_cache_usage_perc", versions: "before 0.9" },
]);
