//! Shepherd Model Gateway 1.13.0, and the SGLang router 0.3.2, which has the same prefix. Both were
//! run, with the policies `round_robin` and `cache_aware`.
//!
//! Series appear when they are first set. `smg_http_requests_total` and `smg_router_requests_total`
//! grow when a request arrives.

use super::{GatewayProfile, UnfitSeries};
use crate::{
    definition::{Alternative, IdleRule, SignalDef, Term},
    engine::EngineProfile,
    kind::Fold,
    signal::Signal,
};

pub(super) const PROFILE: GatewayProfile = GatewayProfile {
    table: EngineProfile {
        name: "SMG",
        display: "Shepherd Model Gateway (`smg`) and the SGLang router (`sglang-router`)",
        metrics_path: "/metrics",
        port_names: &["prometheus", "metrics"],
        port: Some(29_000),
        enabling: "",
        prefixes: &["smg_"],
        repeat_labels: &[],
        sleep: None,
        progress: None,
        lengths: None,
        step: Err("it is no engine"),
        signals: &[
            SignalDef {
                signal: Signal::WaitingRequests,
                terms: &[Term(&[QUEUE])],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::InFlightRequests,
                terms: &[Term(&[ADMITTED, ACTIVE]), Term(&[QUEUE])],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::RequestRate,
                terms: &[Term(&[Alternative::always("smg_router_upstream_responses_total")
                    .with(&[("status_code", "200")])])],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::ArrivalRate,
                terms: &[Term(&[Alternative::always("smg_http_requests_total")
                    .with(&[("method", "POST")])
                    .except(&[("path", &["other", "/workers", "/flush_cache"])])])],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::RequestLatency,
                terms: &[Term(&[Alternative::always("smg_router_request_duration_seconds")])],
                fold: Fold::Sum,
            },
        ],
        idle_rules: &[
            IdleRule {
                signals: &[Signal::WaitingRequests, Signal::InFlightRequests],
                without: &[
                    ADMITTED,
                    QUEUE,
                    ACTIVE,
                    Alternative::always("smg_router_requests_total"),
                ],
                prefix: Some("smg_"),
                ..IdleRule::NONE
            },
            // The queue has a series only once a request has waited.
            IdleRule {
                signals: &[Signal::WaitingRequests, Signal::InFlightRequests],
                present: &[ADMITTED],
                ..IdleRule::NONE
            },
            // The SGLang router has no queue.
            IdleRule { signals: &[Signal::InFlightRequests], present: &[ACTIVE], ..IdleRule::NONE },
            // A counter that is not there has counted nothing.
            IdleRule {
                signals: &[Signal::RequestRate, Signal::ArrivalRate],
                prefix: Some("smg_"),
                ..IdleRule::NONE
            },
        ],
    },
    holds_requests: false,
    versions: "smg 1.13.0, run; sglang-router 0.3.2, its page",
    notes: &[
        "Name its pods' port, or declare it as `prometheus`: the API's port has no such page.",
        "`smg` counts each request in flight; `sglang-router` does so only with the policy \
         `cache_aware`, its default, and with `round_robin` it has no `InFlightRequests`.",
        "`smg` queues only with `--max-concurrent-requests`; otherwise the engines do.",
        "The gauges have no label of the model: a gateway of several models gives each target the \
         load of all of them.",
        "The page of `sglang-router` is empty before its first HTTP request, of which a probe of \
         the kubelet is one; an empty page is no sample.",
    ],
    unfit: &[
        UnfitSeries {
            series: "smg_engine_waiting_requests",
            why: "keeps its last value when an engine dies, or becomes -1, so that it asks for replicas for ever",
            instead: Signal::WaitingRequests,
        },
        UnfitSeries {
            series: "smg_engine_running_requests",
            why: "keeps its last value when an engine dies, or becomes -1, so that it asks for replicas for ever",
            instead: Signal::InFlightRequests,
        },
        UnfitSeries {
            series: "smg_http_connections_active",
            why: "is left by the streams of sglang-router at their first byte, so that it shrinks a service at full load",
            instead: Signal::InFlightRequests,
        },
        UnfitSeries {
            series: "smg_http_inflight_request_age_count",
            why: "is sampled now and then, and counts requests that have ended",
            instead: Signal::InFlightRequests,
        },
    ],
    missing: "sglang-router publishes its requests in flight only with the policy cache_aware",
};

const ADMITTED: Alternative = Alternative::current("smg_admission_inflight", "smg");
const ACTIVE: Alternative = Alternative::current("smg_worker_requests_active", "sglang-router");
const QUEUE: Alternative = Alternative::always("smg_admission_queue_depth");
